"""GRPO that pays a reply more the less likely it was among its group ("Rewarding the unlikely", arXiv 2506.02355)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from polychrome.declare import Rule
from polychrome.training.methods.grpo import Grpo, GrpoArm, Rewarded
from polychrome.training.settings import Arm

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class UnlikelyArm(GrpoArm):
    """An arm whose rewards fall with a reply's rank by likelihood."""

    rank_weight: Annotated[
        float, Rule("share of its reward that the likeliest reply of a group loses", minimum=0, maximum=1)
    ]


@dataclass
class Unlikely(Grpo):
    """GRPO on rewards times 1 - rank_weight rank / G."""

    settings: ClassVar[type[Arm]] = UnlikelyArm

    arm: UnlikelyArm

    def advantages(self, of: Rewarded) -> tuple[Tensor, dict[str, float]]:
        """Those of GRPO, of rewards that :func:`~polychrome.objectives.kin.times_unlikeliness` changes."""
        from polychrome.objectives.kin import times_unlikeliness

        logps = of.rewards.new_tensor(of.drawn.logps).view_as(of.rewards)
        return super().advantages(of._replace(rewards=times_unlikeliness(of.rewards, logps, self.arm.rank_weight)))
