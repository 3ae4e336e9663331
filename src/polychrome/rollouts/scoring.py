"""Log-probabilities of completions under a policy: one forward over packed groups, logits only where needed."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from polychrome.models.trunk import replayed
from polychrome.rollouts.packing import Packed

LOGIT_ROWS = 2048  # completion tokens whose vocabulary logits exist at one time


class CompletionScorer(nn.Module):
    """Wraps a policy so that its forward pass is what training needs; this is the module that DDP or FSDP wraps."""

    def __init__(self, policy: Any):
        super().__init__()
        self.policy = policy

    def forward(
        self, packed: Packed, temperature: float = 1.0, trunk: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Score every completion token.

        ``temperature`` divides the logits as in sampling, so the log-probabilities are those of what was sampled.
        ``trunk`` (R, L, hidden) is what :func:`polychrome.models.trunk.recorded` kept of the same pack.
        Returns log-probabilities (N, T), differentiable, and entropies (N, T) in nats, detached; zero beyond an end.
        """
        inner = self.policy.get_base_model() if hasattr(self.policy, "get_base_model") else self.policy
        with replayed(inner, trunk):
            hidden = inner.base_model(
                input_ids=packed.input_ids,
                attention_mask=packed.mask,
                position_ids=packed.position_ids,
                use_cache=False,
            ).last_hidden_state  # (R, L, hidden)
        picked = hidden[packed.rows, packed.columns]  # (M, hidden)
        head = inner.get_output_embeddings()
        parts = []
        for states, targets in zip(picked.split(LOGIT_ROWS), packed.targets.split(LOGIT_ROWS), strict=True):
            if len(picked) > LOGIT_ROWS and torch.is_grad_enabled():
                parts.append(checkpoint(_score, head, states, targets, temperature, use_reentrant=False))
            else:
                parts.append(_score(head, states, targets, temperature))
        logps, entropies = (torch.cat(part) for part in zip(*parts, strict=True))
        return packed.spread(logps), packed.spread(entropies)


def _score(head: nn.Module, states: torch.Tensor, targets: torch.Tensor, temperature: float):
    logits = head(states).float()  # (m, vocabulary)
    if temperature != 1.0:
        logits = logits / temperature
    logp = logits.log_softmax(-1)
    with torch.no_grad():
        entropy = -(logp.exp() * logp).sum(-1)
    return logp.gather(-1, targets[:, None]).squeeze(-1), entropy
