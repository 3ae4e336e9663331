"""The one sampling engine: prompts in, groups of completions out.

A prompt is prefilled once and its cache shared out to its samples; rows that have ended leave the batch, and requests
that wait take their place; every request draws from its own random stream, so what it gets does not depend on its
neighbours (up to floating-point rounding).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from transformers import Cache, DynamicCache

from polychrome.models.policy import merged
from polychrome.randomness import torch_generator
from polychrome.rollouts.sampling import SamplingSettings, draw
from polychrome.rollouts.slab import Slab

ROWS = 96  # completions decoded side by side


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled completion."""

    tokens: list[int]  # with the end token when it ended by itself
    logps: list[float]  # under the temperature-scaled policy
    ended: bool  # False when cut at max_new_tokens


@dataclass(frozen=True, slots=True)
class Request:
    """Ask for ``count`` completions of ``prompt``; ``key`` names its random stream together with the seed."""

    prompt: Sequence[int]
    count: int
    key: tuple[object, ...]


def sample(
    policy: Any,
    requests: Sequence[Request],
    settings: SamplingSettings,
    *,
    stop_id: int,
    pad_id: int,
    seed: int,
    rows: int = ROWS,
    progress: Callable[[int], None] = lambda done: None,
) -> list[list[Completion]]:
    """Sample completions for every request, in the order asked. ``progress`` is called with completions finished."""
    if not requests:  # as for a process that has no part in a batch
        return []
    was_training = policy.training
    policy.eval()
    try:
        with torch.inference_mode(), merged(policy) as model:
            return _Decoding(model, requests, settings, stop_id, pad_id, seed, rows).run(progress)
    finally:
        policy.train(was_training)


@dataclass(frozen=True, slots=True)
class _Unit:
    """A request, or as much of it as is decoded side by side: completions ``first`` to ``first + count - 1``."""

    prompt: Sequence[int]
    first: int  # place among all completions, in the order asked
    count: int


def _units(requests: Sequence[Request], rows: int) -> deque[_Unit]:
    """By falling prompt length, so that one that joins is never longer than the rows that are under way."""
    units, first = [], 0
    for request in requests:
        for taken in range(0, request.count, rows):
            units.append(_Unit(request.prompt, first + taken, min(rows, request.count - taken)))
        first += request.count
    return deque(sorted(units, key=lambda unit: (-len(unit.prompt), unit.first)))


def _uniforms(requests: Sequence[Request], length: int, seed: int) -> torch.Tensor:
    """(total count, length) uniform numbers, each request's from its own stream."""
    return torch.cat(
        [
            torch.rand(r.count, length, generator=torch_generator(seed, "sample", *r.key), dtype=torch.float64)
            for r in requests
        ]
    )


class _Decoding:
    """Completions of ``requests`` under way: row r of the slab is completion ``which[r]``, in the order asked."""

    def __init__(
        self,
        model: Any,
        requests: Sequence[Request],
        settings: SamplingSettings,
        stop_id: int,
        pad_id: int,
        seed: int,
        rows: int,
    ):
        self.model, self.settings, self.stop_id, self.pad_id = model, settings, stop_id, pad_id
        self.device = model.get_output_embeddings().weight.device
        self.counts = [request.count for request in requests]
        self.waiting = _units(requests, rows)
        total, length = sum(self.counts), settings.max_new_tokens
        # Twice the tokens drawn: then rows are moved to the left only once in so many steps.
        columns = max(len(request.prompt) for request in requests) + 2 * length
        self.slab = Slab(model.config.num_hidden_layers, min(rows, total), columns, self.device)
        self.which = torch.zeros(0, dtype=torch.long, device=self.device)
        self.uniforms = _uniforms(requests, length, seed).to(self.device)
        self.tokens = torch.full((total, length), pad_id, device=self.device)
        self.logps = torch.zeros((total, length), device=self.device)
        self.lengths = torch.zeros(total, dtype=torch.long, device=self.device)

    def run(self, progress: Callable[[int], None]) -> list[list[Completion]]:
        """Decode to the end, telling ``progress`` how many completions have finished."""
        while self.waiting or len(self.which):
            logits, drawing = self._refill() if self._worth_refilling() else self._forward()
            progress(self._draw(logits, drawing))
        return self._completions()

    def _worth_refilling(self) -> bool:
        """A prefill costs about as much as a step: it waits until a third of the rows is free."""
        if not self.waiting or not len(self.which):
            return bool(self.waiting)
        return self.slab.rows - len(self.which) >= max(self.waiting[0].count, self.slab.rows // 3)

    def _refill(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Prefill the prompts of as many units as fit, each once. Returns new rows' logits and completions."""
        units, free = [], self.slab.rows - len(self.which)
        while self.waiting and self.waiting[0].count <= free:
            units.append(self.waiting.popleft())
            free -= units[-1].count
        longest = max(len(unit.prompt) for unit in units)
        ids = torch.full((len(units), longest), self.pad_id)
        mask = torch.zeros((len(units), longest), dtype=torch.long)
        for row, unit in enumerate(units):  # padded on the left: every row's next token has the same column
            ids[row, longest - len(unit.prompt) :] = torch.as_tensor(list(unit.prompt))
            mask[row, longest - len(unit.prompt) :] = 1
        ids, mask = ids.to(self.device), mask.to(self.device)
        cache = DynamicCache(config=self.model.config)
        logits = _next_logits(self.model, ids, mask, (mask.cumsum(-1) - 1).clamp(min=0), cache)
        counts = torch.tensor([unit.count for unit in units], device=self.device)
        spread = torch.arange(len(units), device=self.device).repeat_interleave(counts)
        self.slab.admit(cache, mask.sum(-1), spread)
        drawing = torch.cat([torch.arange(unit.first, unit.first + unit.count) for unit in units]).to(self.device)
        self.which = torch.cat([self.which, drawing])
        return logits[spread], drawing

    def _forward(self) -> tuple[torch.Tensor, torch.Tensor]:
        """One step of every row. Returns their logits and completions."""
        newest = self.tokens[self.which, self.lengths[self.which] - 1]
        positions = self.slab.lengths[:, None]
        self.slab.advance()
        return _next_logits(self.model, newest[:, None], self.slab.mask(), positions, self.slab), self.which

    def _draw(self, logits: torch.Tensor, drawing: torch.Tensor) -> int:
        """Draw the next token of the completions ``drawing``; returns how many of them it finished."""
        place = self.lengths[drawing]
        drawn, logp = draw(logits, self.uniforms[drawing, place], self.settings)
        self.tokens[drawing, place], self.logps[drawing, place], self.lengths[drawing] = drawn, logp, place + 1
        finished = drawing[(drawn == self.stop_id) | (place + 1 == self.settings.max_new_tokens)]
        if len(finished):
            self.which = self.which[self.slab.drop(torch.isin(self.which, finished))]
        return len(finished)

    def _completions(self) -> list[list[Completion]]:
        lengths = self.lengths.tolist()
        rows = zip(self.tokens.tolist(), self.logps.tolist(), lengths, strict=True)
        flat = iter([Completion(t[:n], p[:n], t[n - 1] == self.stop_id) for t, p, n in rows])
        return [list(islice(flat, count)) for count in self.counts]


def _next_logits(
    model: Any, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: Cache
) -> torch.Tensor:
    """Logits (B, V) after the last column of ``ids`` (B, L)."""
    hidden = model.base_model(
        input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
    ).last_hidden_state
    return model.get_output_embeddings()(hidden[:, -1])
