"""Maximum likelihood reinforcement learning (MaxRL, arXiv 2602.02710): GRPO's loss, advantages over the pass rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from polychrome.declare import Rule
from polychrome.training.methods.grpo import Grpo, GrpoArm, Rewarded
from polychrome.training.settings import Arm

if TYPE_CHECKING:
    from torch import Tensor

PassReward = Annotated[float, Rule("reward from which a reply passes", above=0, maximum=1)]


@dataclass(frozen=True, kw_only=True)
class MaxRlArm(GrpoArm):
    """An arm that climbs the likelihood of a pass of its reward."""

    scale_rewards: Annotated[str, Rule("advantages over the group's share of passes", choices=("passes",))]
    pass_reward: PassReward


@dataclass
class MaxRl(Grpo):
    """GRPO with the advantages of MaxRL."""

    settings: ClassVar[type[Arm]] = MaxRlArm

    arm: MaxRlArm

    def advantages(self, of: Rewarded) -> tuple[Tensor, dict[str, float]]:
        """(pass - mean) / mean within each group."""
        from polychrome.objectives.kin import over_pass_rate

        passes = (of.rewards >= self.arm.pass_reward).to(of.rewards)
        share = of.context.total(float(passes.sum())) / of.context.total(passes.numel())
        return over_pass_rate(passes), {"pass_share": share}
