"""Cross-entropy on the human replies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from polychrome.declare import Rule
from polychrome.pairs.schema import Pair
from polychrome.training.methods.interface import Metrics, Piece, Step
from polychrome.training.settings import Arm

if TYPE_CHECKING:
    from torch import Tensor

    from polychrome.engine.packing import Packed
    from polychrome.params import Params
    from polychrome.training.methods.context import Context


@dataclass(frozen=True, kw_only=True)
class CrossEntropyArm(Arm):
    """An arm trained by cross-entropy alone."""

    stage: ClassVar[str] = "sft"

    data: Annotated[str, Rule(choices=("full", "phase1_sft"))]


@dataclass
class CrossEntropy:
    """Cross-entropy alone; what its arm sets, the loop reads."""

    settings: ClassVar[type[Arm]] = CrossEntropyArm
    repeats: ClassVar[int] = 1

    @classmethod
    def build(cls, arm: Any, params: Params, pairs: Sequence[Pair]) -> Self:
        """There is nothing to set."""
        return cls()

    def step(self, context: Context, batch: Sequence[Pair], number: int) -> Step:
        """One piece a micro-batch."""
        from polychrome.objectives.cross_entropy import cross_entropy

        groups = context.human(batch)
        tokens = context.total(sum(len(group.completions[0]) for group in groups))

        def piece(packed: Packed) -> Piece:
            def loss(logps: Tensor, entropies: Tensor) -> tuple[Tensor, Metrics]:
                value = cross_entropy(logps, packed.completion_mask.to(logps), tokens)
                return value, {"cross_entropy": value.detach(), "entropy": entropies.sum() / tokens}

            return Piece("cross_entropy", packed, loss, dropout=True)

        return Step([piece(packed) for _, packed in context.packs(groups)])

    def validate(self, context: Context, pairs: Sequence[Pair]) -> tuple[str, float]:
        """Cross-entropy in nats per token."""
        groups = context.human(pairs)
        total = 0.0
        with context.as_sampled():
            for _, packed in context.packs(groups):
                total -= float(context.scorer(packed, with_entropy=False)[0].double().sum())
        return "validation_cross_entropy", total / sum(len(group.completions[0]) for group in groups)
