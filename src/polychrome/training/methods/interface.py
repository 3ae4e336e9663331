"""What a method and the loop tell each other: a batch of pairs becomes pieces, a piece is one forward and backward.

Whatever needs the model without gradient (sampling, the reference) happens while pieces are made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from polychrome.pairs.schema import Pair
from polychrome.training.settings import Arm

if TYPE_CHECKING:
    from torch import Tensor

    from polychrome.engine.packing import Packed
    from polychrome.engine.recording import Replay
    from polychrome.params import Params
    from polychrome.training.methods.context import Context

Metrics = dict[str, "Tensor"]  # each a sum over this piece that adds up over pieces and processes; *_max: maxima
Loss = Callable[["Tensor", "Tensor"], tuple["Tensor", Metrics]]  # of (logps, entropies), both (N, T)
Rollout = dict[str, Any]  # one group: pair id, post, replies, their rewards, whether each ended


@dataclass(frozen=True)
class Piece:
    """One forward and backward: packed tokens and a pure loss of their log-probabilities."""

    term: str  # which term of the objective its gradient belongs to
    packed: Packed
    loss: Loss
    temperature: float = 1.0
    dropout: bool = False  # what was sampled, without dropout, is scored without: else its estimators are biased
    trunk: Tensor | None = None  # (T, hidden), where another model's pass over the pack has computed it
    replay: Replay | None = None  # what the policy computed when it drew these completions


@dataclass
class Step:
    """The pieces of one optimiser step and what was seen while making them."""

    pieces: list[Piece]
    metrics: dict[str, float] = field(default_factory=dict)  # already those of the whole step
    rollouts: list[Rollout] | None = None  # the groups that were drawn for reward; None: nothing was rewarded


class Method(Protocol):
    """An objective that the loop can train."""

    settings: ClassVar[type[Arm]]  # the keys of its arms in params.yaml
    repeats: int  # optimiser steps a batch serves

    @classmethod
    def build(cls, arm: Any, params: Params, pairs: Sequence[Pair]) -> Self:
        """The method as ``arm``, one of its settings, sets it; ``pairs`` are the arm's training data.

        Raises InputError when something that it needs is missing.
        """

    def step(self, context: Context, batch: Sequence[Pair], number: int) -> Step:
        """The pieces of optimiser step ``number`` for this process's part of the batch, which may be empty.

        Every process calls ``context.total`` equally often, whatever its part.
        """

    def validate(self, context: Context, pairs: Sequence[Pair]) -> tuple[str, float]:
        """Name and value of the quantity that best-checkpoint selection minimises, on held-out pairs."""
