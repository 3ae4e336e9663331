"""What a method has of its run: prompts with what is trained behind them, human or drawn from the policy, and packs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from polychrome.engine.compute import server
from polychrome.engine.packing import Group, Packed, pack
from polychrome.engine.recording import Recording, Replay
from polychrome.engine.sampler import Completion, Request, recording_of, sample
from polychrome.engine.sampling import SamplingSettings
from polychrome.engine.scoring import CompletionScorer
from polychrome.models.chat import Chat
from polychrome.models.policy import set_training
from polychrome.objectives.importance import truncated_ratio
from polychrome.pairs.schema import Pair


@dataclass(frozen=True)
class Context:
    """What every method needs to know of the run, and the passes of the policy that need no gradient."""

    policy: Any
    scorer: CompletionScorer
    chat: Chat
    seed: int
    micro_batches: int
    most_tokens: int  # of one forward and backward; more groups than fit are taken one after another
    memory_mib: int  # for rows that are sampled side by side
    total: Callable[[float], float]  # sums a number over processes
    processes: int
    rank: int  # this process holds posts rank, rank + processes, ... of every batch
    batches: int  # of the whole run: a step's number goes from 0 to this minus 1

    def human(self, pairs: Sequence[Pair]) -> list[Group]:
        """The reply of every pair behind its post."""
        return [Group(self.chat.prompt(pair.post, pair.context), [self.chat.reply(pair.reply)]) for pair in pairs]

    def packs(self, groups: Sequence[Group]) -> list[tuple[slice, Packed]]:
        """``groups`` in ``micro_batches`` parts of about as many each, packed where the policy is; none of no groups.

        More parts where one would exceed ``most_tokens``.
        """
        size = max(1, -(-len(groups) // self.micro_batches))
        starts, tokens = [0], 0
        for i, group in enumerate(groups):
            if i - starts[-1] == size or (tokens and tokens + len(group) > self.most_tokens):
                starts.append(i)
                tokens = 0
            tokens += len(group)
        device = next(self.policy.parameters()).device
        spans = [slice(*span) for span in pairwise([*starts, len(groups)]) if groups]
        return [(span, pack(groups[span]).to(device)) for span in spans]

    def draw(
        self, pairs: Sequence[Pair], count: int, purpose: Sequence[object], record: bool, **sampling: Any
    ) -> "Drawn":
        """``count`` completions per post; what is drawn depends on the seed, ``purpose`` and the pair's id alone.

        ``record`` keeps what the policy computes on the way, where the memory allows; ``sampling`` are the fields of
        :class:`~polychrome.engine.sampling.SamplingSettings`.
        """
        chat, settings = self.chat, SamplingSettings(**sampling)
        prompts = [chat.prompt(pair.post, pair.context) for pair in pairs]
        requests = [
            Request(prompt, count, (*purpose, pair.id), settings, chat.stop_ids, self.seed)
            for prompt, pair in zip(prompts, pairs, strict=True)
        ]
        served = server() is not None
        recording = recording_of(self.policy, requests, self.memory_mib) if record and not served else None
        limits = {"pad_id": chat.pad_id, "memory_mib": self.memory_mib}
        drawn = sample(self.policy, requests, **limits, recording=recording)
        groups = [Group(prompt, [c.tokens for c in group]) for prompt, group in zip(prompts, drawn, strict=True)]
        return Drawn(groups, drawn, [[chat.text(c.tokens) for c in group] for group in drawn], recording, served)

    @contextmanager
    def as_sampled(self) -> Iterator[None]:
        """Without gradient and dropout: the reference, and the policy that replies were drawn from, have no noise."""
        was_training = self.policy.training
        set_training(self.policy, False)
        try:
            with torch.no_grad():
                yield
        finally:
            set_training(self.policy, was_training)


class Part(NamedTuple):
    """A micro-batch of drawn groups."""

    span: slice  # which groups they are
    packed: Packed
    completions: list[list[Completion]]
    replay: Replay | None  # what the policy computed when it drew them
    served: bool = False  # whether another program drew them

    @property
    def sampler_logps(self) -> Tensor:
        """(N, T) log-probabilities of the tokens under what they were drawn from, zero beyond an end."""
        logps = [logp for group in self.completions for c in group for logp in c.logps]
        return self.packed.spread(self.packed.completion_mask.new_tensor(logps))

    def weights(self, logps: Tensor) -> Tensor | None:
        """(N, T) what the policy's loss of each token is multiplied by: ``logps`` are the policy's when it was asked.

        None where the policy itself drew them.
        """
        return truncated_ratio(logps, self.sampler_logps.to(logps)) if self.served else None


@dataclass(frozen=True)
class Drawn:
    """A group of completions per post."""

    groups: list[Group]
    completions: list[list[Completion]]
    texts: list[list[str]]
    recording: Recording | None  # what sampling computed, for training to take over
    served: bool = False  # whether another program drew them

    @property
    def tokens(self) -> int:
        """Tokens of all completions."""
        return sum(len(c.tokens) for group in self.completions for c in group)

    @property
    def ended(self) -> list[list[bool]]:
        """Whether each completion ended by itself; the others were cut."""
        return [[c.ended for c in group] for group in self.completions]

    @property
    def logps(self) -> list[list[float]]:
        """The log-probability of every completion under the policy that drew it."""
        return [[sum(c.logps) for c in group] for group in self.completions]

    def parts(self, context: Context) -> Iterator[Part]:
        """The groups in micro-batches."""
        for span, packed in context.packs(self.groups):
            replay = self.recording and self.recording.replay(range(span.start, span.stop), packed)
            yield Part(span, packed, self.completions[span], replay, self.served)
