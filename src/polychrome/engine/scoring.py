"""Log-probabilities of completions under a policy: one forward pass over packed groups, logits only where needed."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from polychrome.engine.attention import PackedAttention
from polychrome.engine.backend import Backend
from polychrome.engine.compute import chosen
from polychrome.engine.packing import Packed
from polychrome.engine.recording import Replay
from polychrome.engine.stack import Stack, bare, has_stack, head_of, mask_for

LOGIT_ROWS = 256  # completion tokens whose vocabulary logits exist at one time


def tokens_within(memory_mib: int, policy: Any) -> int:
    """How many tokens may be forwarded together, so that what their backward pass needs is about ``memory_mib``.

    Not counted are keys and values that attention gathers, a prompt's once for each of its completions.
    """
    config = bare(policy).config
    layers = config.num_hidden_layers - (Stack(policy, Backend()).trunk_depth if has_stack(policy) else 0)
    # Kept a token and layer: inputs of norms and projections, queries, keys, values, gate, up and their product.
    named = (getattr(config, name, None) for name in ("intermediate_size", "ffn_dim", "n_inner"))
    inner_size = next(filter(None, named), 4 * config.hidden_size)
    kept = layers * (6 * config.hidden_size + 4 * inner_size)
    return max(1, memory_mib * 2**20 // (kept * torch.float32.itemsize))


class CompletionScorer(nn.Module):
    """Wraps a policy so that its forward pass is what training needs; this is the module that DDP wraps.

    ``backend`` is by default what the process has chosen.
    """

    def __init__(self, policy: Any, backend: Backend | None = None):
        super().__init__()
        self.policy, self.backend = policy, backend or chosen()

    def forward(
        self,
        packed: Packed,
        temperature: float = 1.0,
        trunk: Tensor | None = None,
        replay: Replay | None = None,
        with_entropy: bool = True,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Score every completion token.

        ``temperature`` divides the logits as in sampling, so the log-probabilities are those of what was sampled.
        ``trunk`` is what an earlier call returned for the same pack: layers below the adapters are not computed again;
        ``replay`` is what the policy computed when it sampled these completions: neither are the others' projections.
        Returns log-probabilities (N, Lc), differentiable, and entropies (N, Lc) in nats, detached, both zero beyond an
        end; and the trunk's output (T, hidden), None where there is none. Entropies that are not asked for may be NaN.
        """
        inner = bare(self.policy)
        if has_stack(inner):
            stack = Stack(inner, self.backend)
            attention = PackedAttention(packed, stack.dtype, self.backend)
            hidden, trunk = stack(packed.input_ids, packed.position_ids, attention, trunk, replay=replay)
        else:
            hidden, trunk = _transformers_states(inner, packed), None
        states, head = hidden.index_select(0, packed.predictors), head_of(inner)
        if type(head) is nn.Linear and head.bias is None:
            asked = states, head.weight, packed.targets, temperature, LOGIT_ROWS, with_entropy
            logps, entropies = self.backend.token_scores(*asked)
        else:
            logps, entropies = _score_in_parts(head, states, packed.targets, temperature)
        return packed.spread(logps), packed.spread(entropies), trunk


def _transformers_states(inner: Any, packed: Packed) -> Tensor:
    """Final hidden states (T, hidden) as transformers computes them: any architecture, one row, a dense mask."""
    ids, positions, mask = packed.input_ids[None], packed.position_ids[None], mask_for(inner, packed.mask())
    found = inner.base_model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False)
    return found.last_hidden_state[0]


def _score_in_parts(head: nn.Module, states: Tensor, targets: Tensor, temperature: float) -> list[Tensor]:
    """By autograd, for heads that are more than a matrix; the backward pass computes a part's logits again."""
    parts = [
        checkpoint(_score, head, *part, temperature, use_reentrant=False)
        for part in zip(states.split(LOGIT_ROWS), targets.split(LOGIT_ROWS), strict=True)
    ]
    return [torch.cat(part) for part in zip(*parts, strict=True)]


def _score(head: nn.Module, states: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    logp = (head(states).float() / temperature).log_softmax(-1)  # (m, vocabulary)
    entropy = -(logp.detach().exp() * logp.detach()).sum(-1)
    return logp.gather(-1, targets[:, None]).squeeze(-1), entropy
