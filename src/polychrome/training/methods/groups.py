"""Groups of completions drawn from the policy that is trained, and packed to be trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from polychrome.engine.packing import Group, Packed
from polychrome.engine.recording import Recording, Replay
from polychrome.engine.sampler import Completion, Request, recording_of, sample
from polychrome.engine.sampling import SamplingSettings
from polychrome.pairs.schema import Pair
from polychrome.training.methods.interface import Context


@dataclass(frozen=True)
class Drawn:
    """One group a post."""

    groups: list[Group]  # prompts and the tokens of their completions
    completions: list[list[Completion]]
    texts: list[list[str]]
    recording: Recording | None  # what sampling computed, for training to take over

    @property
    def tokens(self) -> int:
        """Tokens of all completions."""
        return sum(len(c.tokens) for group in self.completions for c in group)

    def packs(self, context: Context) -> Iterator[tuple[slice, Packed, Replay | None]]:
        """The groups in micro-batches: which they are, their pack, what the policy computed when it drew them."""
        for span, packed in context.packs(self.groups):
            recorded = self.recording and self.recording.replay(range(span.start, span.stop), packed)
            yield span, packed, recorded


def draw(
    context: Context,
    pairs: Sequence[Pair],
    count: int,
    settings: SamplingSettings,
    purpose: tuple[object, ...],
    *,
    record: bool,
) -> Drawn:
    """``count`` completions of every post; what is drawn depends on the seed, ``purpose`` and the pair's id alone.

    ``record`` keeps what the policy computes on the way, where the memory allows.
    """
    prompts = [context.chat.prompt(pair.post) for pair in pairs]
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
