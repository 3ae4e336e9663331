"""What a method and the loop tell each other: a batch of pairs becomes pieces, a piece is one forward and backward.

Whatever needs the model without gradient (sampling, the reference) happens while pieces are made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol, Self

import torch

from polychrome.engine.packing import Group, Packed, pack
from polychrome.engine.recording import Replay
from polychrome.engine.sampler import MEMORY_MIB
from polychrome.engine.scoring import CompletionScorer, tokens_within
from polychrome.models.chat import Chat
from polychrome.pairs.schema import Pair

if TYPE_CHECKING:
    from polychrome.params import Params

Metrics = dict[str, torch.Tensor]  # each a sum over this piece that adds up over pieces and processes; *_max: maxima
Rollout = dict[str, Any]  # one group: pair id, post, replies, their rewards, whether each ended


@dataclass(frozen=True)
class Piece:
    """One forward and backward: packed tokens and a pure loss of their log-probabilities."""

    term: str  # which term of the objective its gradient belongs to
    packed: Packed
    loss: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, Metrics]]  # of (logps, entropies), both (N, T)
    temperature: float = 1.0
    dropout: bool = False  # what was sampled, without dropout, is scored without: else its estimators are biased
    trunk: torch.Tensor | None = None  # (T, hidden), where another model's pass over the pack has computed it
    replay: Replay | None = None  # what the policy computed when it drew these completions


@dataclass
class Step:
    """The pieces of one optimiser step and what was seen while making them."""

    pieces: list[Piece]
    metrics: dict[str, float] = field(default_factory=dict)  # already those of the whole step
    rollouts: list[Rollout] | None = None  # the groups that were drawn for reward; None: nothing was rewarded


@dataclass(frozen=True)
class Context:
    """What every method needs to know of the run."""

    policy: Any
    scorer: CompletionScorer
    chat: Chat
    seed: int
    micro_batches: int
    total: Callable[[float], float]  # sums a number over processes
    processes: int = 1
    rank: int = 0  # this process holds posts rank, rank + processes, ... of every batch
    memory_mib: int = MEMORY_MIB  # for rows that are sampled side by side, and for what a backward pass needs

    @cached_property  # which layers have adapters does not change
    def most_tokens(self) -> int:
        """Tokens of one forward and backward; more groups than fit are taken one after another."""
        return tokens_within(self.memory_mib, self.policy)

    def packs(self, groups: Sequence[Group]) -> list[tuple[slice, Packed]]:
        """``groups`` in ``micro_batches`` parts of about as many each, each packed where the policy is.

        More parts where one would exceed ``most_tokens``; none of no groups.
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


class Method(Protocol):
    """An objective that the loop can train."""

    repeats: int  # optimiser steps a batch serves

    @classmethod
    def build(cls, arm: Any, params: Params, pairs: Sequence[Pair]) -> Self:
        """The method as ``arm``, a section of params.yaml's ``arms``, sets it; ``pairs`` are the arm's training data.

        Raises InputError when something that it needs is missing.
        """
        ...

    def step(self, context: Context, batch: Sequence[Pair], number: int) -> Step:
        """The pieces of optimiser step ``number`` for this process's part of the batch, which may be empty.

        Every process calls ``context.total`` equally often, whatever its part.
        """
        ...

    def validate(self, context: Context, pairs: Sequence[Pair]) -> tuple[str, float]:
        """Name and value of the quantity that best-checkpoint selection minimises, on held-out pairs."""
        ...
