"""The one sampling engine: prompts in, groups of completions out.

A prompt is prefilled once, what prompts prefilled together begin with once for all, and its cache shared out to its
samples; rows that have ended leave the batch, and requests that wait take their place; every request has its own
settings and its own random stream, so what it gets does not depend on its neighbours (up to floating-point rounding).
Behind the same :func:`sample` a vLLM server stands in where the process has chosen one
(:mod:`polychrome.engine.served`): requests in, completions with their log-probabilities out.
"""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache

from polychrome.engine.attention import PrefillAttention, SlabAttention
from polychrome.engine.backend import Backend
from polychrome.engine.compute import chosen, server
from polychrome.engine.packing import pack_prompts
from polychrome.engine.recording import Recording
from polychrome.engine.sampling import RowSettings, SamplingSettings
from polychrome.engine.slab import Slab
from polychrome.engine.stack import Stack, bare, head_of, in_shards, mask_for, stack_of
from polychrome.models.policy import merged, set_training
from polychrome.randomness import torch_generator

MEMORY_MIB = 1024  # of keys, values and logits
MOST_ROWS = 128  # completions decoded side by side; beyond, a step only takes longer


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled completion."""

    tokens: list[int]  # with the end token when it ended by itself
    logps: list[float]  # under the temperature-scaled policy; a server's are those of what it drew from
    ended: bool  # False when cut at max_new_tokens


@dataclass(frozen=True, slots=True)
class Request:
    """Ask for ``count`` completions of ``prompt``; ``key`` names its random stream together with the seed."""

    prompt: Sequence[int]
    count: int
    key: tuple[object, ...]
    settings: SamplingSettings
    stop_ids: tuple[int, ...] = ()  # tokens that end a completion
    seed: int = 0


def sample(
    policy: Any,
    requests: Sequence[Request],
    *,
    pad_id: int,
    memory_mib: int = MEMORY_MIB,
    recording: Recording | None = None,
    progress: Callable[[int], None] = lambda done: None,
    backend: Backend | None = None,
) -> list[list[Completion]]:
    """Sample completions for every request, in the order asked. ``progress`` is called with completions finished.

    ``recording``, made for these requests, is given what training on them need not compute again. ``memory_mib`` bounds
    what rows under way take, by their number: at least one, however long its prompt. ``backend`` is by default what the
    process has chosen; where that is a server, the other keywords have no meaning.
    """
    if not requests:  # as for a process that has no part in a batch
        return []
    was_training = policy.training
    set_training(policy, False)
    if backend is None and (served := server()) is not None:
        try:
            return served.sample(policy, requests, progress)
        finally:
            set_training(policy, was_training)
    backend = backend or chosen()
    stack = stack_of(policy, backend)
    rows = min(rows_within(memory_mib, policy, requests, stack), sum(request.count for request in requests))
    compiled = stack is not None and backend.decodes(stack)  # it merges the adapter into weights of its own
    inference = torch.no_grad if in_shards(policy) else torch.inference_mode  # training gathers into the same tensors
    try:
        with inference(), nullcontext(policy) if compiled else merged(policy) as model:
            device = bare(model).get_output_embeddings().weight.device
            slab = Slab(bare(model).config.num_hidden_layers, rows, _columns(requests), device)
            forward: Any
            if compiled:
                forward = _StackForward(stack, recording, backend.decoder(stack, rows, slab, recording))
            elif stack is not None:
                forward = _StackForward(Stack(model, backend), recording)
            else:
                forward = _TransformersForward(model, pad_id)
            return _Decoding(forward, backend, requests, pad_id, slab).run(progress)
    finally:
        set_training(policy, was_training)


def recording_of(
    policy: Any, requests: Sequence[Request], memory_mib: int, backend: Backend | None = None
) -> Recording | None:
    """A recording for :func:`sample` to fill.

    None where it would not fit ``memory_mib``, where a prompt would be forwarded twice, and where the policy is none
    that :class:`Stack` computes with matrices of its own (4-bit weights are none).
    """
    stack = stack_of(policy, backend or chosen()) if requests else None
    if stack is None or any(weight is None for weight in stack.weights[1:]):
        return None
    counts = [request.count for request in requests]
    asked = (stack, [r.prompt for r in requests], counts, max(r.settings.max_new_tokens for r in requests))
    if Recording.mebibytes(*asked) > memory_mib or rows_within(memory_mib, policy, requests, stack) < max(counts):
        return None
    return Recording(*asked)


def rows_within(memory_mib: int, policy: Any, requests: Sequence[Request], stack: Stack | None) -> int:
    """How many completions of ``requests`` may be decoded side by side, 1 to MOST_ROWS; ``stack`` is the policy's."""
    config = bare(policy).config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    kept = 2 * config.num_hidden_layers * heads * size * _columns(requests)
    kept *= (bare(policy) if stack is None else stack).dtype.itemsize
    logits = 4 * config.vocab_size * torch.float32.itemsize  # as they come, scaled, as probabilities, and to spare
    return max(1, min(MOST_ROWS, memory_mib * 2**20 // (kept + logits)))


def _columns(requests: Sequence[Request]) -> int:
    """Columns of the slab: twice the tokens drawn, so that rows are moved to the left only once in so many steps."""
    return max(len(r.prompt) for r in requests) + 2 * max(r.settings.max_new_tokens for r in requests)


class _Unit(NamedTuple):
    """A request, or as much of it as is decoded side by side."""

    request: int
    prompt: Sequence[int]
    completions: range  # places among all, in the order asked


def _units(requests: Sequence[Request], rows: int) -> deque[_Unit]:
    """By falling prompt length, so that one that joins is never longer than the rows that are under way."""
    units, first = [], 0
    for i, request in enumerate(requests):
        own = range(first, first + request.count)
        units += [_Unit(i, request.prompt, own[taken : taken + rows]) for taken in range(0, len(own), rows)]
        first += request.count
    return deque(sorted(units, key=lambda unit: (-len(unit.prompt), unit.completions.start)))


def _uniforms(requests: Sequence[Request], length: int) -> Tensor:
    """(total count, length) uniform numbers, each request's from its own stream."""
    rows = []
    for r in requests:
        drawn, generator = r.settings.max_new_tokens, torch_generator(r.seed, "sample", *r.key)
        own = torch.rand(r.count, drawn, generator=generator, dtype=torch.float64)
        rows.append(torch.nn.functional.pad(own, (0, length - drawn)))
    return torch.cat(rows)


class _Decoding:
    """Completions of ``requests`` under way: row r of the slab is completion ``which[r]``, in the order asked."""

    def __init__(self, forward: Any, backend: Backend, requests: Sequence[Request], pad_id: int, slab: Slab):
        self.forward, self.backend, self.slab, self.recording = forward, backend, slab, forward.recording
        device = slab.starts.device
        self.counts = [request.count for request in requests]
        self.waiting = _units(requests, slab.rows)
        each = [request for request in requests for _ in range(request.count)]
        self.settings = RowSettings.of([request.settings for request in each], device)
        self.limits = torch.tensor([request.settings.max_new_tokens for request in each], device=device)
        width = max(1, *(len(request.stop_ids) for request in requests))
        stops = [(*r.stop_ids, *(-1,) * (width - len(r.stop_ids))) for r in each]
        self.stops = torch.tensor(stops, device=device)  # (total, width), filled up with no token
        total, length = len(each), int(self.limits.max())
        self.which = torch.zeros(0, dtype=torch.long, device=device)
        self.uniforms = _uniforms(requests, length).to(device)
        self.tokens = torch.full((total, length), pad_id, device=device)
        self.logps = torch.zeros((total, length), device=device)
        self.lengths = torch.zeros(total, dtype=torch.long, device=device)
        self.ended = torch.zeros(total, dtype=torch.bool, device=device)

    def run(self, progress: Callable[[int], None]) -> list[list[Completion]]:
        """Decode to the end; ``progress`` is called with how many completions have finished."""
        while self.waiting or len(self.which):
            states, drawing = self._refill() if self._worth_refilling() else self._advance()
            progress(self._draw(self.forward.logits(states), drawing))
        return self._completions()

    def _worth_refilling(self) -> bool:
        """A prefill costs about as much as a step: it waits until a third of the rows is free."""
        if not self.waiting or not len(self.which):
            return bool(self.waiting)
        return self.slab.rows - len(self.which) >= max(len(self.waiting[0].completions), self.slab.rows // 3)

    def _refill(self) -> tuple[Tensor, Tensor]:
        """Prefill the prompts of as many units as fit, each once. Returns new rows' last states and completions."""
        units, free = [], self.slab.rows - len(self.which)
        while self.waiting and len(self.waiting[0].completions) <= free:
            units.append(self.waiting.popleft())
            free -= len(units[-1].completions)
        device = self.which.device
        spread = torch.tensor([i for i, unit in enumerate(units) for _ in unit.completions], device=device)
        lengths = torch.tensor([len(unit.prompt) for unit in units], device=device)
        self.slab.admit(lengths[spread], spread)
        states = self.forward.prefill(units, self.slab, spread)
        drawing = torch.tensor([place for unit in units for place in unit.completions], device=device)
        self.which = torch.cat([self.which, drawing])
        return states[spread], drawing

    def _advance(self) -> tuple[Tensor, Tensor]:
        """One step of every row. Returns their last states and completions."""
        place = self.lengths[self.which] - 1
        newest = self.tokens[self.which, place]
        if self.recording is not None:
            self.recording.expect_tokens(self.which, place)
        positions = self.slab.lengths
        self.slab.advance()
        return self.forward.step(newest, positions, self.slab), self.which

    def _draw(self, logits: Tensor, drawing: Tensor) -> int:
        """Draw the next token of the completions ``drawing``; returns how many of them it finished."""
        place = self.lengths[drawing]
        drawn, logp = self.backend.draw(logits, self.uniforms[drawing, place], self.settings[drawing])
        self.tokens[drawing, place], self.logps[drawing, place], self.lengths[drawing] = drawn, logp, place + 1
        self.ended[drawing] = (drawn[:, None] == self.stops[drawing]).any(-1)
        finished = drawing[self.ended[drawing] | (place + 1 == self.limits[drawing])]
        if len(finished):
            self.which = self.which[self.slab.drop(torch.isin(self.which, finished))]
        return len(finished)

    def _completions(self) -> list[list[Completion]]:
        rows = zip(*(x.tolist() for x in (self.tokens, self.logps, self.lengths, self.ended)), strict=True)
        flat = iter([Completion(tokens[:n], logps[:n], ended) for tokens, logps, n, ended in rows])
        return [list(islice(flat, count)) for count in self.counts]


class _StackForward:
    """Prefill and steps on flat tokens, for the architectures that :class:`Stack` knows.

    ``decoder`` makes the steps by compiled code, on weights that it has merged for itself.
    """

    def __init__(self, stack: Stack, recording: Recording | None, decoder: Any = None):
        self.stack, self.recording, self.decoder = stack, recording, decoder
        self.logits = stack.head if decoder is None else decoder.logits  # of last states (n, hidden): (n, V)

    def prefill(self, units: Sequence[_Unit], slab: Slab, spread: Tensor) -> Tensor:
        """Last states (P, hidden) of the units' prompts; row i of the newest in ``slab`` gets prompt ``spread[i]``."""
        packed = pack_prompts([unit.prompt for unit in units]).to(slab.starts.device)
        if self.recording is not None:
            self.recording.expect_prompts([unit.request for unit in units], packed)
        attention = PrefillAttention(packed, self.stack.dtype, self.stack.backend, slab, spread)
        states, _ = self.stack(packed.input_ids, packed.position_ids, attention, recording=self.recording)
        return states[packed.prompts.gather(1, packed.prompt_lengths[:, None] - 1).squeeze(-1)]

    def step(self, tokens: Tensor, positions: Tensor, slab: Slab) -> Tensor:
        """Last states (n, hidden) after ``tokens`` (n,) at ``positions`` (n,), which the slab takes in."""
        if self.decoder is not None:
            return self.decoder.step(tokens, positions)
        return self.stack(tokens, positions, SlabAttention(slab, self.stack.dtype), recording=self.recording)[0]


class _TransformersForward:
    """The same by transformers' own forward pass: any architecture, of which nothing is recorded."""

    recording = None

    def __init__(self, model: Any, pad_id: int):
        self.model, self.pad_id, self.logits = model, pad_id, head_of(model)

    def prefill(self, units: Sequence[_Unit], slab: Slab, spread: Tensor) -> Tensor:
        prompts = [unit.prompt for unit in units]
        longest = max(map(len, prompts))
        ids = torch.full((len(prompts), longest), self.pad_id)
        mask = torch.zeros((len(prompts), longest), dtype=torch.long)
        for row, prompt in enumerate(prompts):  # padded on the left: every row's next token has the same column
            ids[row, longest - len(prompt) :] = torch.as_tensor(list(prompt))
            mask[row, longest - len(prompt) :] = 1
        ids, mask = ids.to(slab.starts.device), mask.to(slab.starts.device)
        cache = DynamicCache(config=self.model.config)
        states = self._states(ids, mask, (mask.cumsum(-1) - 1).clamp(min=0), cache)
        for block, layer in zip(slab.layers, cache.layers, strict=True):
            block.place(layer.keys[spread], layer.values[spread])
        return states

    def step(self, tokens: Tensor, positions: Tensor, slab: Slab) -> Tensor:
        return self._states(tokens[:, None], mask_for(self.model, slab.mask()), positions[:, None], slab)

    def _states(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: Cache) -> Tensor:
        """Hidden states (B, hidden) after the last column of ``ids`` (B, L)."""
        hidden = self.model.base_model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        ).last_hidden_state
        return hidden[:, -1]
