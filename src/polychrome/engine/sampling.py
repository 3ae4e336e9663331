"""From logits to a token: temperature, top-k, nucleus and min-p sampling, exact, by one uniform number a draw.

Nucleus sampling: Holtzman et al. 2020 (arXiv 1904.09751), section 3.1: the smallest set of most probable tokens whose
probability is at least p; of equally probable tokens the first in the vocabulary. Min-p: Nguyen et al. 2024 (arXiv
2407.01082), section 3: the tokens at least min_p times as probable as the most probable. Drawing by inverse
distribution from a number that belongs to the request makes a reply independent of what else is in the batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

CANDIDATES = 512  # most probable tokens that are sorted; the whole vocabulary only for rows that they do not settle


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """How replies are drawn."""

    temperature: float  # > 0
    max_new_tokens: int  # tokens, end included, >= 1
    top_p: float = 1.0  # in (0, 1]; 1 keeps the whole distribution
    top_k: int = 0  # >= 0; 0 keeps the whole distribution
    min_p: float = 0.0  # in [0, 1]; 0 keeps the whole distribution


@dataclass(frozen=True)
class RowSettings:
    """Settings of every row of a batch, each row's its own."""

    temperature: Tensor  # (B,) float32
    top_p: Tensor  # (B,) float64
    top_k: Tensor  # (B,) int64, the vocabulary's size or more where there is no limit
    min_p: Tensor  # (B,) float64

    @classmethod
    def of(cls, settings: Sequence[SamplingSettings], device: torch.device) -> "RowSettings":
        """One row for each of ``settings``."""
        return cls(
            torch.tensor([s.temperature for s in settings], dtype=torch.float32, device=device),
            torch.tensor([s.top_p for s in settings], dtype=torch.float64, device=device),
            torch.tensor([s.top_k or torch.iinfo(torch.int64).max for s in settings], device=device),
            torch.tensor([s.min_p for s in settings], dtype=torch.float64, device=device),
        )

    def __getitem__(self, rows: Tensor) -> "RowSettings":
        return RowSettings(self.temperature[rows], self.top_p[rows], self.top_k[rows], self.min_p[rows])


def draw(logits: Tensor, uniforms: Tensor, settings: RowSettings) -> tuple[Tensor, Tensor]:
    """Draw one token a row.

    Args: ``logits`` (B, V); ``uniforms`` (B,) in [0, 1). Returns token ids (B,) and their log-probabilities (B,) under
    the temperature-scaled distribution before top-k, top-p and min-p, which is what training scores.
    """
    logp = (logits.float() / settings.temperature[:, None]).log_softmax(-1)
    tokens = torch.empty(len(logp), dtype=torch.long, device=logp.device)
    restricted = (settings.top_p < 1) | (settings.top_k < logp.shape[-1]) | (settings.min_p > 0)
    if bool(restricted.any()):
        tokens[restricted] = _restricted(logp[restricted], uniforms[restricted], settings[restricted], CANDIDATES)
    if not bool(restricted.all()):
        tokens[~restricted] = _invert(logp[~restricted].exp(), uniforms[~restricted])
    return tokens, logp.gather(-1, tokens[:, None]).squeeze(-1)


def _restricted(logp: Tensor, uniforms: Tensor, settings: RowSettings, width: int) -> Tensor:
    """By the ``width`` most probable tokens, where these settle the draw, else by all."""
    size = logp.shape[-1]
    if width < size:  # ids in order, so that the sort leaves equally probable ones in it
        ids = logp.topk(width, dim=-1).indices.sort(dim=-1).values
        values, order = logp.gather(-1, ids).sort(dim=-1, descending=True, stable=True)
        ids = ids.gather(-1, order)
    else:
        values, ids = logp.sort(dim=-1, descending=True, stable=True)
    place = torch.arange(values.shape[-1], device=logp.device)
    probabilities = values.double().exp() * (place < settings.top_k[:, None])
    before = probabilities.cumsum(-1) - probabilities
    # top-p looks at what top-k left, as is customary; without top-k that is everything, whose mass is 1.
    total = torch.where(settings.top_k <= values.shape[-1], probabilities.sum(-1), 1.0)
    kept = probabilities * ((before < (settings.top_p * total)[:, None]) | (place == 0))
    kept = kept * (probabilities >= settings.min_p[:, None] * probabilities[:, :1])
    tokens = ids.gather(-1, _invert(kept, uniforms)[:, None]).squeeze(-1)
    if width < size:
        # Settled: the cut lies above the least candidate, so that nothing beyond them, nor a tie with it, takes part.
        settled = ((kept == 0) & (values > values[:, -1:])).any(-1)
        settled &= (settings.top_k <= width) | (settings.top_k >= size)  # else the mass that top-k leaves is not known
        if not bool(settled.all()):
            rest = ~settled
            tokens[rest] = _restricted(logp[rest], uniforms[rest], settings[rest], size)
    return tokens


def _invert(probabilities: Tensor, uniforms: Tensor) -> Tensor:
    """The index at which the running sum of ``probabilities`` (B, w), any scale, first exceeds u times the total.

    Rounding never takes an index of zero probability.
    """
    running = probabilities.cumsum(-1, dtype=torch.float64)
    total = running[:, -1:].contiguous()
    index = torch.searchsorted(running, uniforms.double()[:, None] * total, right=True)
    return torch.minimum(index, torch.searchsorted(running, total)).squeeze(-1)
