"""GRPO that pays a reply by how many of its group say something else (DARLING, arXiv 2509.02534)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np

from polychrome.declare import Rule
from polychrome.training.methods.grpo import Rewarded
from polychrome.training.methods.sets import Classed, ClassedArm
from polychrome.training.settings import Arm

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class DarlingArm(ClassedArm):
    """An arm whose rewards are multiplied by difference."""

    scale_rewards: Annotated[str, Rule("advantages are not divided, as published", choices=("none",))]


@dataclass
class Darling(Classed):
    """GRPO on rewards times the share of the others in other classes."""

    settings: ClassVar[type[Arm]] = DarlingArm

    def advantages(self, of: Rewarded) -> tuple[Tensor, dict[str, float]]:
        """Those of GRPO, of rewards that :func:`~polychrome.objectives.kin.times_difference` changes."""
        import torch

        from polychrome.objectives.kin import times_difference
        from polychrome.training.classes import labels_of

        classes = [labels_of(alike) for alike in self.alike(of)]
        climbed = times_difference(of.rewards, torch.from_numpy(np.array(classes)).view(of.rewards.shape))
        advantages, _ = super().advantages(of._replace(rewards=climbed))
        share = of.context.total(float(climbed.sum())) / of.context.total(climbed.numel())
        return advantages, {"darling_reward": share}
