"""GRPO whose best replies are worth the same to the best policy, however rare (MARA, arXiv 2510.20817).

The target is that of rewards less beta times log p / p_ref, whole replies: KL stands in the reward and not in the loss,
where the gradient of k3 is that of the other direction, for which the rewards of MARA are not made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from polychrome.declare import Rule
from polychrome.training.methods.grpo import Grpo, GrpoArm, Rewarded
from polychrome.training.methods.maxrl import PassReward
from polychrome.training.settings import Arm

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class MaraArm(GrpoArm):
    """An arm with anchored rewards."""

    scale_rewards: Annotated[str, Rule("beta is on the scale of the rewards", choices=("none",))]
    pass_reward: PassReward
    gain_cap: Annotated[float, Rule("reward that a rare passing reply gains at most", minimum=0)]


@dataclass
class Mara(Grpo):
    """GRPO with anchored rewards, and KL in them."""

    settings: ClassVar[type[Arm]] = MaraArm

    arm: MaraArm

    @property
    def kl_weight(self) -> float:
        """None in the loss."""
        return 0.0

    def advantages(self, of: Rewarded) -> tuple[Tensor, dict[str, float]]:
        """Those of GRPO, of :func:`~polychrome.objectives.kin.anchored` rewards less beta (log p - log p_ref)."""
        from polychrome.objectives.kin import anchored

        arm, total = self.arm, of.context.total
        rewards = anchored(of.rewards, of.reference, arm.beta, arm.pass_reward, arm.gain_cap)
        logps = rewards.new_tensor(of.drawn.logps).view_as(rewards)
        advantages, _ = super().advantages(of._replace(rewards=rewards - arm.beta * (logps - of.reference)))
        replies, gain = total(rewards.numel()), total(float((rewards - of.rewards).sum()))
        passed = total(float((of.rewards >= arm.pass_reward).sum()))
        return advantages, {"anchored_gain": gain / replies, "pass_share": passed / replies}
