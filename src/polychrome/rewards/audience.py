"""The reward of the audience world: does the reader who visits like what the reply is?

One reader visits a training group. They are of kind m with probability w_m and like replies of that kind alone, so a
reply's reward is 1 or 0, and its expectation over readers the w of its kind.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polychrome import paths
from polychrome.audience.grammar import KINDS, kind_of
from polychrome.audience.world import World
from polychrome.randomness import numpy_generator
from polychrome.rewards.interface import Scores, Setting


def build(setting: Setting) -> "AudienceReward":
    """The reward of the readers that stage `reward` kept. Raises InputError when the data are of no such world."""
    return AudienceReward(World.kept(paths.REWARD).liked)


@dataclass(frozen=True)
class AudienceReward:
    """Readers of whom the share ``liked[m]`` likes kind m; what is of no kind (-1) is liked by nobody."""

    liked: Scores  # (8,), sums to 1

    def __call__(self, posts: Sequence[str], replies: Sequence[str]) -> Scores:
        """The share of readers who like each reply: float64 (n,) in [0, 1]."""
        return np.array([*self.liked, 0.0])[_kinds(posts, replies)]

    def visited(
        self, posts: Sequence[str], groups: Sequence[Sequence[str]], streams: Sequence[Sequence[Any]]
    ) -> Scores:
        """1 where the reader of group b, drawn by ``streams[b]``, likes the reply, else 0: float64 (B, G)."""
        readers = [numpy_generator(*stream, "reader").choice(len(KINDS), p=self.liked) for stream in streams]
        kinds = [_kinds([post] * len(group), group) for post, group in zip(posts, groups, strict=True)]
        liked = [own == reader for own, reader in zip(kinds, readers, strict=True)]
        return np.array(liked, dtype=np.float64).reshape(len(groups), len(groups[0]) if groups else 0)


def _kinds(posts: Sequence[str], replies: Sequence[str]) -> np.ndarray:
    return np.array([kind_of(post, reply) for post, reply in zip(posts, replies, strict=True)], dtype=int)
