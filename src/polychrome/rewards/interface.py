"""What a reward is: posts and replies in, one score in [0, 1] a reply out.

Training and evaluation know only :class:`Reward`. A new kind of reward is a callable of that shape and one line in
:data:`REWARDS`; :func:`checked` holds each of them to its word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from polychrome.errors import InputError, Problem, bad
from polychrome.rewards.heuristic import HeuristicReward, TextEncoder

Scores = NDArray[np.float64]


class Reward(Protocol):
    """A score for each reply to its post."""

    def __call__(self, posts: Sequence[str], replies: Sequence[str]) -> Scores:
        """Score ``replies[i]`` as an answer to ``posts[i]``: float64 (n,), finite, in [0, 1].

        A reply's score depends on its own post and text alone, never on its neighbours in the call.
        """
        ...


def checked(reward: Reward, name: str = "reward") -> Reward:
    """``reward``, with every score looked at before it is passed on.

    The wrapped reward raises InputError when posts and replies differ in number, when the scores are not (n,), and
    for every score that is NaN, infinite or outside [0, 1], naming its index.
    """

    def score(posts: Sequence[str], replies: Sequence[str]) -> Scores:
        if len(posts) != len(replies):
            raise bad(name, f"{len(posts)} posts, {len(replies)} replies", "as many of each", "Pass one post a reply.")
        scores = np.asarray(reward(posts, replies), dtype=np.float64)
        if scores.shape != (len(replies),):
            raise bad(name, f"scores of shape {scores.shape}", f"({len(replies)},)", "Return one score a reply.")
        wrong = np.flatnonzero(~((scores >= 0.0) & (scores <= 1.0))).tolist()  # NaN fails both comparisons
        if wrong:
            remedy = "Mend the reward so that it is finite and in [0, 1] for every text."
            raise InputError(
                [
                    Problem(f"{name}[{i}]", f"{scores[i]} for {replies[i]!r}", "a number in [0, 1]", remedy)
                    for i in wrong
                ]
            )
        return scores

    return score


REWARDS: dict[str, Callable[..., Reward]] = {"heuristic": HeuristicReward}


def make_reward(name: str, weights: Mapping[str, float], encoder: TextEncoder, **options: Any) -> Reward:
    """The reward called ``name`` in :data:`REWARDS`, held to its range by :func:`checked`.

    ``weights`` are the reward's own (of its parts), ``options`` whatever else it takes. Raises InputError for an
    unknown name, and whatever the reward finds wrong with its weights.
    """
    if name not in REWARDS:
        known = ", ".join(sorted(REWARDS))
        raise bad("params.yaml:arms.*.reward", repr(name), f"one of {known}", "Correct the name of the reward.")
    return checked(REWARDS[name](weights, encoder, **options), name)
