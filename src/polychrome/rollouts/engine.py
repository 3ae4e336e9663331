"""The one sampling engine: prompts in, groups of completions out.

A prompt is prefilled once and its cache shared out to its samples; rows that have ended leave the batch; every request
draws from its own random stream, so what it gets does not depend on its neighbours (up to floating-point rounding).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from transformers import DynamicCache

from polychrome.models.policy import merged
from polychrome.randomness import torch_generator
from polychrome.rollouts.sampling import SamplingSettings, draw

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
    answers: list[list[Completion]] = [[] for _ in requests]
    was_training = policy.training
    policy.eval()
    try:
        with torch.inference_mode(), merged(policy) as model:
            for chunk in _chunks(requests, rows):
                asked = [requests[i] for i in chunk]
                for i, completions in zip(chunk, _decode(model, asked, settings, stop_id, pad_id, seed), strict=True):
                    answers[i].extend(completions)
                progress(sum(request.count for request in asked))
    finally:
        policy.train(was_training)
    return answers


def _chunks(requests: Sequence[Request], rows: int) -> list[list[int]]:
    """Indices of requests decoded together: of like prompt length, at most ``rows`` completions or one request."""
    chunks: list[list[int]] = []
    used = rows
    for i in sorted(range(len(requests)), key=lambda i: (len(requests[i].prompt), i)):
        if used + requests[i].count > rows:
            chunks.append([])
            used = 0
        chunks[-1].append(i)
        used += requests[i].count
    return chunks


def _uniforms(requests: Sequence[Request], length: int, seed: int) -> torch.Tensor:
    """(total count, length) uniform numbers, each request's from its own stream."""
    return torch.cat(
        [
            torch.rand(r.count, length, generator=torch_generator(seed, "sample", *r.key), dtype=torch.float64)
            for r in requests
        ]
    )


def _decode(
    model: Any, requests: Sequence[Request], settings: SamplingSettings, stop_id: int, pad_id: int, seed: int
) -> list[list[Completion]]:
    device = model.get_output_embeddings().weight.device
    longest = max(len(request.prompt) for request in requests)
    ids = torch.full((len(requests), longest), pad_id)
    mask = torch.zeros((len(requests), longest), dtype=torch.long)
    for row, request in enumerate(requests):  # padded on the left: every row's next token has the same column
        ids[row, longest - len(request.prompt) :] = torch.as_tensor(list(request.prompt))
        mask[row, longest - len(request.prompt) :] = 1
    counts = torch.tensor([request.count for request in requests])
    cache = DynamicCache(config=model.config)
    logits = _forward(model, ids.to(device), mask.to(device), cache)
    spread = torch.arange(len(requests)).repeat_interleave(counts).to(device)
    cache.batch_select_indices(spread)
    logits, mask = logits[spread], mask.to(device)[spread]
    uniforms = _uniforms(requests, settings.max_new_tokens, seed).to(device)
    total = int(counts.sum())
    tokens = torch.full((total, settings.max_new_tokens), pad_id, device=device)
    logps = torch.zeros((total, settings.max_new_tokens), device=device)
    lengths = torch.zeros(total, dtype=torch.long, device=device)
    ended = torch.zeros(total, dtype=torch.bool, device=device)
    alive = torch.arange(total, device=device)  # which completion each row of the batch is
    for step in range(settings.max_new_tokens):
        drawn, logp = draw(logits, uniforms[alive, step], settings)
        tokens[alive, step], logps[alive, step], lengths[alive] = drawn, logp, step + 1
        stop = drawn == stop_id
        ended[alive] = stop
        if step + 1 == settings.max_new_tokens or bool(stop.all()):
            break
        if bool(stop.any()):
            keep = (~stop).nonzero().squeeze(-1)
            cache.batch_select_indices(keep)
            alive, drawn, mask = alive[keep], drawn[keep], mask[keep]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        logits = _forward(model, drawn[:, None], mask, cache)
    flat = [
        Completion(tokens[i, :n].tolist(), logps[i, :n].tolist(), bool(ended[i]))
        for i, n in enumerate(lengths.tolist())
    ]
    starts = [0, *counts.cumsum(0).tolist()]
    return [flat[a:b] for a, b in pairwise(starts)]


def _forward(model: Any, ids: torch.Tensor, mask: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
    """Logits (B, V) of the last column."""
    positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
    hidden = model.base_model(
        input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
    ).last_hidden_state
    return model.get_output_embeddings()(hidden[:, -1])
