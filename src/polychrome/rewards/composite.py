"""Rewards made of others: a weighted mix, and a bonus for differing from one's group."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from polychrome.measures.encoder import TextEncoder
from polychrome.measures.sets import distance_to_others
from polychrome.rewards.interface import Reward, Scores, Setting, make_reward


def build(setting: Setting) -> Reward:
    """The mean of several rewards by the weights of `reward.mix`; a reward without weight is not built."""
    weights = {name: weight for name, weight in setting.settings.mix.items() if weight > 0}
    rewards = {name: make_reward(name, setting, "params.yaml:reward.mix") for name in weights}

    def score(posts: Sequence[str], replies: Sequence[str]) -> Scores:
        scores = [weight * rewards[name](posts, replies) for name, weight in weights.items()]
        return np.clip(np.sum(scores, axis=0) / sum(weights.values()), 0.0, 1.0)

    return score


@dataclass(frozen=True)
class GroupBonus:
    """What a reply earns by differing from the others of its group.

    d_i is the mean cosine distance of reply i to the other G - 1, clipped to [0, 1]; r_i its reward.

    ``additive``        r_i + weight d_i
    ``multiplicative``  r_i d_i; objective ``darling`` does so with classes in place of distances, as published

    A reply whose reward is 0 earns nothing for being different: nonsense differs from everything.
    """

    encoder: TextEncoder
    form: str
    weight: float

    def __call__(self, groups: Sequence[Sequence[str]], rewards: torch.Tensor) -> torch.Tensor:
        """``rewards`` (B, G) of the replies in ``groups`` -> what is climbed, float64 (B, G)."""
        if not len(groups):
            return rewards
        distances = [np.clip(distance_to_others(self.encoder.embed(list(group))), 0.0, 1.0) for group in groups]
        distance = torch.from_numpy(np.stack(distances)).to(rewards)
        if self.form == "multiplicative":
            return rewards * distance
        return torch.where(rewards > 0, rewards + self.weight * distance, rewards)
