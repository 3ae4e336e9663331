"""The reward of the audience world: does the reader who visits like what the reply is?

One reader visits a training group. They are of kind m with probability w_m and like replies of that kind alone, so a
reply's reward is 1 or 0, and its expectation over readers the w of its kind.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polychrome import paths
from polychrome.audience.grammar import kind_of
from polychrome.audience.world import World
from polychrome.randomness import numpy_generator
from polychrome.rewards.interface import Scores, Setting


def build(setting: Setting) -> "AudienceReward":
    """The reward of the readers that stage `reward` kept. Raises InputError when the data are of no such world."""
    return AudienceReward(World.kept(paths.REWARD))


@dataclass(frozen=True)
class AudienceReward:
    """The readers of ``world``."""

    world: World

    def __call__(self, posts: Sequence[str], replies: Sequence[str]) -> Scores:
        """The share of readers who like each reply: float64 (n,) in [0, 1]."""
        return self.world.worth(posts, replies)

    def visited(
        self, posts: Sequence[str], groups: Sequence[Sequence[str]], streams: Sequence[Sequence[Any]]
    ) -> Scores:
        """1 where the reader of group b, drawn by ``streams[b]``, likes the reply, else 0: float64 (B, G)."""
        shares = self.world.liked
        readers = [numpy_generator(*stream, "reader").choice(len(shares), p=shares) for stream in streams]
        likes = [
            [kind_of(post, reply) == reader for reply in group]
            for post, group, reader in zip(posts, groups, readers, strict=True)
        ]
        return np.array(likes, dtype=np.float64).reshape(len(groups), len(groups[0]) if groups else 0)
