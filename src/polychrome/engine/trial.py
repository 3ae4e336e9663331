"""Whether a base model can be scored, sampled and trained here: tried on random tokens, before any stage needs it."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from polychrome.engine.packing import Group, pack
from polychrome.engine.sampler import Request, sample
from polychrome.engine.sampling import SamplingSettings
from polychrome.engine.scoring import CompletionScorer, tokens_within
from polychrome.engine.stack import bare
from polychrome.errors import InputError, bad
from polychrome.models.policy import adapter_tensors, add_adapter, open_base, open_tokenizer, set_training

TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 3e-2}  # of the largest logit, at least of 1: what rounding explains
DRAWN = 2  # tokens that are sampled: one from the prompt, one from what decoding keeps of it
REMEDY = "Name another base model, or lower prompt.max_prompt_tokens if its window or its positions are too few."


def try_base(directory: Path, called: str, lora: Any, prompt: Any, dtype: torch.dtype, load_in_4bit: bool) -> None:
    """Open the base model in ``directory``, adapt it, draw a completion, score it, and take gradients.

    ``lora`` and ``prompt`` are those of params.yaml. Raises InputError, which calls the model ``called``, where any of
    it fails, or where a token's log-probability is not what transformers' whole model gives.
    """
    tokenizer, base = open_tokenizer(directory), _opened(directory, called, dtype, load_in_4bit)
    most, rows = max(tokenizer.get_vocab().values()) + 1, base.get_input_embeddings().weight.shape[0]
    if most > rows:
        remedy = "Enlarge it (`model.resize_token_embeddings`) and save both, or remove the tokens from the tokenizer."
        raise bad(f"{called}/tokenizer.json", f"{most} tokens", f"at most the {rows} of the embedding", remedy)
    policy = add_adapter(base, lora, seed=0)
    set_training(policy, False)
    of_model = f"{called}/config.json:model_type"
    try:
        gap, still = _differences(policy, most, tokenizer.pad_token_id, prompt)
    except Exception as error:  # whatever an architecture lacks: it is reported, not passed over
        found = f"{base.config.model_type}, which fails ({type(error).__name__}: {error})"
        raise bad(of_model, found, "a model that can be sampled and trained", REMEDY) from error
    if not gap <= TOLERANCE[dtype]:
        found = f"{base.config.model_type}, scored differently than by transformers ({gap:.2g} of the largest logit)"
        expected = "a decoder with full attention and a head, whose logits are at most scaled or capped"
        raise bad(of_model, found, expected, REMEDY)
    if still:
        found, expected = f"adapters that get no gradient ({still[0]})", "layers that the model's answers depend on"
        raise bad("params.yaml:lora.targets", found, expected, "Remove these targets.")


def _opened(directory: Path, called: str, dtype: torch.dtype, load_in_4bit: bool) -> Any:
    try:
        return open_base(directory, dtype, load_in_4bit)
    except InputError:
        raise
    except Exception as error:
        found = f"a model that does not open ({type(error).__name__}: {error})"
        raise bad(called, found, "a causal language model that transformers knows", "Name another.") from error


def _differences(policy: Any, vocabulary: int, pad_id: int, prompt: Any) -> tuple[float, list[str]]:
    """How far scorer and sampler are off the whole model, in its largest logit, and adapters without a gradient."""
    stream = torch.Generator().manual_seed(0)
    asked, reply = (
        torch.randint(vocabulary, (length,), generator=stream).tolist()
        for length in (prompt.max_prompt_tokens, prompt.max_reply_tokens)
    )
    tokens_within(1, policy)  # training asks it first, and fails on a config that lacks its sizes
    [[drawn]] = sample(policy, [Request(asked, 1, ("trial",), SamplingSettings(1.0, DRAWN))], pad_id=pad_id)
    completion = [*drawn.tokens, *reply]
    device = next(policy.parameters()).device
    scored, _, _ = CompletionScorer(policy)(pack([Group(asked, [completion])]).to(device))
    scored.sum().backward()
    still = [name for name, tensor in adapter_tensors(policy).items() if tensor.grad is None]
    logits = _logits(policy, torch.tensor([[*asked, *completion]], device=device))[len(asked) - 1 : -1]
    exact = logits.log_softmax(-1).gather(-1, torch.tensor(completion, device=device)[:, None]).squeeze(-1)
    found = torch.cat([torch.tensor(drawn.logps, device=device), scored[0].detach()])
    gap = (found - torch.cat([exact[:DRAWN], exact])).abs().max()  # NaN if any is
    return float(gap / logits.abs().max().clamp(min=1)), still


@torch.no_grad()
def _logits(policy: Any, ids: Tensor) -> Tensor:
    return bare(policy)(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[0].float()
