"""Cross-entropy on the human replies of the policy at another temperature, unlikely tokens first (GEM, TOFU)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from polychrome.declare import Rule
from polychrome.pairs.schema import Pair
from polychrome.training.methods.cross_entropy import CrossEntropy, CrossEntropyArm
from polychrome.training.methods.interface import Metrics, Piece, Step
from polychrome.training.settings import Arm

if TYPE_CHECKING:
    from torch import Tensor

    from polychrome.engine.packing import Packed
    from polychrome.params import Params
    from polychrome.training.methods.context import Context


@dataclass(frozen=True, kw_only=True)
class TemperedArm(CrossEntropyArm):
    """An arm trained by :mod:`polychrome.objectives.tempered`."""

    beta: Annotated[float, Rule("temperature of the policy that is fitted; 1 is its own", above=0)]
    gamma: Annotated[float, Rule("more weighs unlikely tokens more; 0 all alike", minimum=0)]


@dataclass
class Tempered(CrossEntropy):
    """Another loss of the same replies; cross-entropy is logged, and validated by."""

    settings: ClassVar[type[Arm]] = TemperedArm

    arm: TemperedArm

    @classmethod
    def build(cls, arm: TemperedArm, params: Params, pairs: Sequence[Pair]) -> Self:
        """There is nothing else to set."""
        return cls(arm)

    def step(self, context: Context, batch: Sequence[Pair], number: int) -> Step:
        """One piece a micro-batch; where beta is not 1, its tokens are first scored at temperature 1."""
        from polychrome.objectives.cross_entropy import cross_entropy
        from polychrome.objectives.tempered import tempered

        groups, beta, gamma = context.human(batch), self.arm.beta, self.arm.gamma
        tokens = context.total(sum(len(group.completions[0]) for group in groups))

        def piece(packed: Packed) -> Piece:
            plain, trunk = None, None
            if beta != 1:
                with context.as_sampled():
                    *plain, trunk = context.scorer(packed)

            def loss(at_beta: Tensor, entropies: Tensor) -> tuple[Tensor, Metrics]:
                logps, spread = plain or (at_beta.detach(), entropies)
                mask = packed.completion_mask.to(at_beta)
                value = tempered(at_beta, logps, mask, tokens, beta=beta, gamma=gamma)
                return value, {
                    "tempered_loss": value.detach(),
                    "cross_entropy": cross_entropy(logps, mask, tokens),
                    "entropy": spread.sum() / tokens,
                }

            return Piece("cross_entropy", packed, loss, beta, dropout=True, trunk=trunk)

        return Step([piece(packed) for _, packed in context.packs(groups)])
