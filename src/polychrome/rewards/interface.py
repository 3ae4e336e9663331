"""What a reward is: posts and replies in, one score in [0, 1] a reply out.

Training knows only :class:`Reward`: a callable of that shape. :func:`make_reward` makes one by name, and
:func:`checked` holds each of them to its word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from polychrome.engagement.learned import LearnedReward
from polychrome.errors import InputError, Problem, bad
from polychrome.rewards.composite import Mix, own_function
from polychrome.rewards.heuristic import Anchors, HeuristicReward, TextEncoder
from polychrome.rewards.settings import PARTS_OF_HYBRID

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
        given = reward(posts, replies)
        try:
            scores = np.asarray(given, dtype=np.float64)
        except Exception as error:  # whatever a function of the user's own returned
            found = f"{type(given).__name__} ({error})"
            raise bad(name, found, "an array of numbers", "Return one number a reply.") from error
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


def make_reward(
    name: str,
    *,
    weights: Mapping[str, float],
    mix: Mapping[str, float],
    encoder: TextEncoder,
    anchors: Anchors,
    learned: str | Path,
) -> Reward:
    """The reward called ``name``, held to its range by :func:`checked`.

    ``heuristic`` has ``weights`` of its parts and relevance ``anchors``, ``learned`` is the model in the folder of that
    name, ``hybrid`` mixes both by ``mix``, and ``module:function`` is the user's own. Raises InputError for another
    name, and for whatever a reward finds wrong with what it is given.
    """

    def named(part: str) -> Reward:
        if part == "heuristic":
            return HeuristicReward(weights, encoder, anchors)
        if part == "learned":
            return LearnedReward.open(learned, encoder)
        raise bad("params.yaml:reward.mix", repr(part), f"one of {', '.join(PARTS_OF_HYBRID)}", "Correct the name.")

    if ":" in name:
        return checked(own_function(name), name)
    if name == "hybrid":
        parts = {part: (weight, checked(named(part), part)) for part, weight in mix.items() if weight > 0}
        return checked(Mix(parts), name)
    if name not in PARTS_OF_HYBRID:
        known = f"{', '.join(PARTS_OF_HYBRID)}, hybrid or module:function"
        raise bad("params.yaml:arms.*.reward", repr(name), known, "Correct the name of the reward.")
    return checked(named(name), name)
