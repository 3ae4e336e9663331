"""From logits to a token: temperature, top-k and nucleus sampling, exact, driven by one uniform number a draw.

Nucleus sampling: Holtzman et al. 2020 (arXiv 1904.09751), section 3.1: the smallest set of most probable tokens whose
probability is at least p; of equally probable tokens the first in the vocabulary. Drawing by inverse distribution from
a number that belongs to the request makes a reply independent of what else is in the batch.

The vocabulary is never sorted where a few hundred of its tokens settle the draw: they are taken from the blocks with
the largest maxima, and more are looked at only for the rows whose nucleus reaches beyond them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from polychrome.engine.native import activations, drawing

CANDIDATES = (128, 2048)  # most probable tokens looked at, first for every row, then for rows that need more; then all
BLOCK = 64  # tokens of the vocabulary that are looked at together


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """How replies are drawn."""

    temperature: float  # > 0
    max_new_tokens: int  # tokens, end included, >= 1
    top_p: float = 1.0  # in (0, 1]; 1 keeps the whole distribution
    top_k: int = 0  # >= 0; 0 keeps the whole distribution


@dataclass(frozen=True)
class RowSettings:
    """Settings of every row of a batch, each row's its own."""

    temperature: torch.Tensor  # (B,) float32
    top_p: torch.Tensor  # (B,) float64
    top_k: torch.Tensor  # (B,) int64, the vocabulary's size or more where there is no limit

    @classmethod
    def of(cls, settings: Sequence[SamplingSettings], device: torch.device) -> RowSettings:
        """One row for each of ``settings``."""
        return cls(
            torch.tensor([s.temperature for s in settings], dtype=torch.float32, device=device),
            torch.tensor([s.top_p for s in settings], dtype=torch.float64, device=device),
            torch.tensor([s.top_k or torch.iinfo(torch.int64).max for s in settings], device=device),
        )

    def __getitem__(self, rows: torch.Tensor) -> RowSettings:
        return RowSettings(self.temperature[rows], self.top_p[rows], self.top_k[rows])


def draw(logits: torch.Tensor, uniforms: torch.Tensor, settings: RowSettings) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw one token a row.

    Args: ``logits`` (B, V); ``uniforms`` (B,) in [0, 1). Returns token ids (B,) and their log-probabilities (B,) under
    the temperature-scaled distribution before top-k and top-p, which is what training scores.
    """
    if activations.usable(logits):
        return drawing.draw(logits, uniforms, settings.temperature, settings.top_p, settings.top_k)
    logp = (logits.float() / settings.temperature[:, None]).log_softmax(-1)
    restricted = (settings.top_p < 1) | (settings.top_k < logp.shape[-1])
    if bool(restricted.all()):
        tokens = _restricted(logp, uniforms, settings)
    elif not bool(restricted.any()):
        tokens = _whole(logp, uniforms)
    else:
        tokens = torch.empty(len(logp), dtype=torch.long, device=logp.device)
        tokens[restricted] = _restricted(logp[restricted], uniforms[restricted], settings[restricted])
        tokens[~restricted] = _whole(logp[~restricted], uniforms[~restricted])
    return tokens, logp.gather(-1, tokens[:, None]).squeeze(-1)


def _restricted(logp: torch.Tensor, uniforms: torch.Tensor, settings: RowSettings) -> torch.Tensor:
    tokens = torch.empty(len(logp), dtype=torch.long, device=logp.device)
    rows = torch.arange(len(logp), device=logp.device)
    for width in (*CANDIDATES, logp.shape[-1]):
        part = logp if len(rows) == len(logp) else logp[rows]
        own = settings[rows]
        values, ids, whole = _most_probable(part, width)
        kept = _kept(values, own)
        # Settled: the cut lies above the least candidate, so that nothing beyond them, nor a tie with it, takes part.
        cut = ((kept == 0) & (values > values[:, -1:])).any(-1)
        counted = (own.top_k <= width) | (own.top_k >= logp.shape[-1])  # else the mass that top-k leaves is not known
        settled = (cut & counted) | whole
        chosen = ids.gather(-1, _invert(kept, uniforms[rows])[:, None]).squeeze(-1)
        tokens[rows[settled]] = chosen[settled]
        rows = rows[~settled]
        if not len(rows):
            break
    return tokens


def _most_probable(logp: torch.Tensor, width: int) -> tuple[torch.Tensor, torch.Tensor, bool]:
    """Values and ids (B, w) of the most probable tokens, sorted by falling value and then by id; whether that is all.

    The w largest of a row lie in the w blocks with the largest maxima: any other block's tokens are at most its
    maximum, which w tokens reach.
    """
    size = logp.shape[-1]
    if width >= size:
        values, ids = logp.sort(dim=-1, descending=True, stable=True)
        return values, ids, True
    blocks = -(-size // BLOCK)
    if blocks <= width:
        values, ids = logp.topk(width, dim=-1)
    else:
        padded = logp if size % BLOCK == 0 else torch.nn.functional.pad(logp, (0, -size % BLOCK), value=-torch.inf)
        blocked = padded.view(len(logp), blocks, BLOCK)
        taken = blocked.amax(-1).topk(width, dim=-1, sorted=False).indices  # (B, w)
        inside = blocked.gather(1, taken[..., None].expand(-1, -1, BLOCK)).flatten(1)
        values, places = inside.topk(width, dim=-1)
        ids = taken.gather(1, places // BLOCK) * BLOCK + places % BLOCK
    by_id = ids.argsort(dim=-1)
    values, order = values.gather(-1, by_id).sort(dim=-1, descending=True, stable=True)
    return values, ids.gather(-1, by_id).gather(-1, order), False


def _kept(values: torch.Tensor, settings: RowSettings) -> torch.Tensor:
    """Probabilities (B, w) of tokens sorted by falling log-probability ``values``, zero where top-k and top-p cut."""
    place = torch.arange(values.shape[-1], device=values.device)
    probabilities = values.double().exp() * (place < settings.top_k[:, None])
    before = probabilities.cumsum(-1) - probabilities
    # top-p looks at what top-k left, as is customary; without top-k that is everything, whose mass is 1.
    total = torch.where(settings.top_k <= values.shape[-1], probabilities.sum(-1), 1.0)
    return probabilities * ((before < (settings.top_p * total)[:, None]) | (place == 0))


def _whole(logp: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """Draw from the whole distribution: first the block of the vocabulary, then the token in it."""
    size = logp.shape[-1]
    probabilities = logp.exp()
    if size % BLOCK:
        probabilities = torch.nn.functional.pad(probabilities, (0, -size % BLOCK))
    blocked = probabilities.view(len(logp), -1, BLOCK)
    mass = blocked.sum(-1, dtype=torch.float64)
    running = mass.cumsum(-1)
    block = _first_above(running, uniforms.double() * running[:, -1], mass)
    before = running.gather(-1, block[:, None]).squeeze(-1) - mass.gather(-1, block[:, None]).squeeze(-1)
    inside = blocked[torch.arange(len(logp), device=logp.device), block].double()
    left = uniforms.double() * running[:, -1] - before
    return block * BLOCK + _first_above(inside.cumsum(-1), left, inside)


def _invert(probabilities: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """The index at which the running sum of ``probabilities`` (B, w), any scale, first exceeds u times the total."""
    running = probabilities.cumsum(-1)
    return _first_above(running, uniforms.double() * running[:, -1], probabilities)


def _first_above(running: torch.Tensor, points: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """(B,) where ``running`` (B, w) first exceeds ``points`` (B,); rounding never takes an index of zero weight."""
    index = torch.searchsorted(running, points[:, None], right=True).squeeze(-1)
    place = torch.arange(weights.shape[-1], device=weights.device)
    last = torch.where(weights > 0, place, 0).amax(-1)
    return torch.minimum(index, last)
