"""Prompts with what is trained behind them, human replies or completions drawn from the policy, and their packs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch

from polychrome.engine.packing import Group, Packed, pack
from polychrome.engine.recording import Recording, Replay
from polychrome.engine.sampler import Completion, Request, recording_of, sample
from polychrome.engine.sampling import SamplingSettings
from polychrome.models.policy import set_training
from polychrome.pairs.schema import Pair
from polychrome.training.methods.interface import Context


def human(context: Context, pairs: Sequence[Pair]) -> list[Group]:
    """The reply of every pair behind its post."""
    return [Group(context.chat.prompt(pair.post), [context.chat.reply(pair.reply)]) for pair in pairs]


def packs(context: Context, groups: Sequence[Group]) -> list[tuple[slice, Packed]]:
    """``groups`` in ``micro_batches`` parts of about as many each, packed where the policy is; none of no groups.

    More parts where one would exceed ``most_tokens``.
    """
    size = max(1, -(-len(groups) // context.micro_batches))
    starts, tokens = [0], 0
    for i, group in enumerate(groups):
        if i - starts[-1] == size or (tokens and tokens + len(group) > context.most_tokens):
            starts.append(i)
            tokens = 0
        tokens += len(group)
    device = next(context.policy.parameters()).device
    spans = [slice(*span) for span in pairwise([*starts, len(groups)]) if groups]
    return [(span, pack(groups[span]).to(device)) for span in spans]


@dataclass(frozen=True)
class Drawn:
    """A group of completions per post."""

    groups: list[Group]
    completions: list[list[Completion]]
    texts: list[list[str]]
    recording: Recording | None  # what sampling computed, for training to take over

    @property
    def tokens(self) -> int:
        """Tokens of all completions."""
        return sum(len(c.tokens) for group in self.completions for c in group)

    def packs(self, context: Context) -> Iterator[tuple[slice, Packed, Replay | None]]:
        """The groups in micro-batches: which they are, their pack, what the policy computed when it drew them."""
        for span, packed in packs(context, self.groups):
            yield span, packed, self.recording and self.recording.replay(range(span.start, span.stop), packed)


def draw(
    context: Context, pairs: Sequence[Pair], count: int, purpose: tuple[object, ...], *, record: bool, **sampling: Any
) -> Drawn:
    """``count`` completions per post; what is drawn depends on the seed, ``purpose`` and the pair's id alone.

    ``record`` keeps what the policy computes on the way, where the memory allows; ``sampling`` are the fields of
    :class:`~polychrome.engine.sampling.SamplingSettings`.
    """
    prompts = [context.chat.prompt(pair.post) for pair in pairs]
    settings = SamplingSettings(**sampling)
    requests = [
        Request(prompt, count, (*purpose, pair.id), settings, (context.chat.stop_id,), context.seed)
        for prompt, pair in zip(prompts, pairs, strict=True)
    ]
    recording = recording_of(context.policy, requests, context.memory_mib) if record else None
    drawn = sample(
        context.policy, requests, pad_id=context.chat.pad_id, memory_mib=context.memory_mib, recording=recording
    )
    groups = [Group(prompt, [c.tokens for c in group]) for prompt, group in zip(prompts, drawn, strict=True)]
    return Drawn(groups, drawn, [[context.chat.text(c.tokens) for c in group] for group in drawn], recording)


@contextmanager
def as_sampled(policy: Any) -> Iterator[None]:
    """Without gradient and dropout: the reference, and the policy that replies were drawn from, are without noise."""
    was_training = policy.training
    set_training(policy, False)
    try:
        with torch.no_grad():
            yield
    finally:
        set_training(policy, was_training)
