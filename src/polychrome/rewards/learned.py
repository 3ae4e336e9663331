"""The learned reward (:mod:`polychrome.engagement.learned`), as the stage `reward` has fitted it."""

from __future__ import annotations

from polychrome import paths
from polychrome.engagement.learned import LearnedReward
from polychrome.rewards.interface import Setting


def build(setting: Setting) -> LearnedReward:
    """The learned reward of this project."""
    return LearnedReward.open(paths.REWARD, setting.encoder)
