"""From logits to a token: temperature, top-k and nucleus sampling, exact, driven by one uniform number a draw.

Nucleus sampling: Holtzman et al. 2020 (arXiv 1904.09751), section 3.1: the smallest set of most probable tokens whose
probability is at least p. Drawing by inverse distribution from a number that belongs to the request makes a reply
independent of what else is in the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

CANDIDATES = 512  # most probable tokens looked at first; the whole vocabulary is sorted only where they do not suffice


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """How replies are drawn."""

    temperature: float  # > 0
    max_new_tokens: int  # tokens, end included, >= 1
    top_p: float = 1.0  # in (0, 1]; 1 keeps the whole distribution
    top_k: int = 0  # >= 0; 0 keeps the whole distribution


def draw(logits: torch.Tensor, uniforms: torch.Tensor, settings: SamplingSettings) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw one token a row.

    Args: ``logits`` (B, V); ``uniforms`` (B,) in [0, 1). Returns token ids (B,) and their log-probabilities (B,) under
    the temperature-scaled distribution before top-k and top-p, which is what training scores.
    """
    logp = (logits.float() / settings.temperature).log_softmax(-1)
    if settings.top_p >= 1.0 and settings.top_k == 0:
        tokens = _invert(logp.exp(), uniforms)
    else:
        tokens = _restricted(logp, uniforms, settings)
    return tokens, logp.gather(-1, tokens[:, None]).squeeze(-1)


def _restricted(logp: torch.Tensor, uniforms: torch.Tensor, settings: SamplingSettings) -> torch.Tensor:
    vocabulary = logp.shape[-1]
    width = min(vocabulary, max(CANDIDATES, settings.top_k))
    values, ids = logp.topk(width, dim=-1)
    tokens = ids.gather(-1, _invert(_kept(values, settings), uniforms)[:, None]).squeeze(-1)
    short = (values.exp().sum(-1) < settings.top_p) & (settings.top_k == 0)
    if width < vocabulary and bool(short.any()):
        values, ids = logp[short].sort(dim=-1, descending=True, stable=True)
        chosen = _invert(_kept(values, settings), uniforms[short])
        tokens = tokens.masked_scatter(short, ids.gather(-1, chosen[:, None]).squeeze(-1))
    return tokens


def _kept(values: torch.Tensor, settings: SamplingSettings) -> torch.Tensor:
    """Probabilities of tokens sorted by falling log-probability ``values``, zero where top-k and top-p cut."""
    if settings.top_k:
        values = values[:, : settings.top_k].log_softmax(-1)  # top-p then looks at what top-k left, as is customary
    probabilities = values.exp()
    before = probabilities.cumsum(-1) - probabilities
    return probabilities * ((before < settings.top_p) | (torch.arange(values.shape[-1], device=values.device) == 0))


def _invert(probabilities: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """The index at which the running sum of ``probabilities`` (B, V), any scale, first exceeds u times the total."""
    running = probabilities.double().cumsum(-1)
    point = uniforms.double()[:, None] * running[:, -1:]
    index = torch.searchsorted(running, point, right=True).squeeze(-1)
    last = probabilities.shape[-1] - 1 - (probabilities.flip(-1) > 0).int().argmax(-1)  # rounding never picks a zero
    return torch.minimum(index, last)
