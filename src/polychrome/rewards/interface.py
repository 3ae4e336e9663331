"""What a reward is: posts and replies in, one score in [0, 1] per reply out.

Training knows only :class:`Reward`. :func:`make_reward` makes one by name, :func:`checked` holds it to its word. A new
reward is a file with a function ``build(setting) -> Reward``, and its line in :data:`REWARDS`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from polychrome.errors import InputError, Problem, bad

if TYPE_CHECKING:
    from polychrome.measures.encoder import TextEncoder
    from polychrome.pairs.schema import Pair
    from polychrome.rewards.settings import RewardSettings

Scores = NDArray[np.float64]

REWARDS = {  # name in params.yaml -> what builds it, imported when it is asked for
    "heuristic": "polychrome.rewards.heuristic:build",
    "learned": "polychrome.engagement.learned:build",
    "hybrid": "polychrome.rewards.composite:build",
    "audience": "polychrome.rewards.audience:build",
}
MIXED = tuple(name for name in REWARDS if name != "hybrid")  # which `hybrid` can mix


Reward = Callable[[Sequence[str], Sequence[str]], Scores]
"""Scores ``replies[i]`` as an answer to ``posts[i]``: float64 (n,), finite, in [0, 1]. A reply's score depends on its
own post and text alone, never on its neighbours in the call.

A reward that differs with who reads has a method ``visited(posts, groups, streams)`` beside: GRPO calls it for groups
``groups[b]`` of G replies to ``posts[b]``, and one reader, drawn by :func:`~polychrome.randomness.seed_for` of
``streams[b]`` (the seed, what for, the pair's id), scores the whole group: float64 (B, G)."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a reward is built from."""

    settings: RewardSettings
    encoder: TextEncoder
    pairs: Sequence[Pair]  # human pairs that the arm trains on


def make_reward(name: str, setting: Setting, where: str = "params.yaml:arms.*.reward") -> Reward:
    """The reward called ``name``, one of :data:`REWARDS` or the user's own ``module:function``; :func:`checked`.

    Raises InputError for another name, and for whatever a reward finds wrong with what it is given.
    """
    if ":" in name:
        return checked(own_function(name, where), name)
    if name not in REWARDS:
        raise bad(where, repr(name), f"{', '.join(REWARDS)} or module:function", "Correct the name of the reward.")
    return checked(resolve_name(REWARDS[name])(setting), name)


def checked(reward: Reward, name: str = "reward") -> Reward:
    """``reward``, with every score looked at before it is passed on.

    The wrapped reward raises InputError when a function of the user's own fails, when the scores are not (n,) numbers,
    and for every score that is NaN, infinite or outside [0, 1], naming its index.
    """

    def held(scores: object, replies: Sequence[str], shape: tuple[int, ...]) -> Scores:
        if (scores := np.asarray(scores, dtype=np.float64)).shape != shape:
            raise bad(name, f"scores of shape {scores.shape}", f"{shape}", "Return one score per reply.")
        remedy = "Fix the reward so that it is finite and in [0, 1] for every text."
        wrong = [
            Problem(f"{name}[{i}]", f"{scores.flat[i]} for {replies[i]!r}", "a number in [0, 1]", remedy)
            for i in np.flatnonzero(~((scores >= 0.0) & (scores <= 1.0))).tolist()  # NaN fails both comparisons
        ]
        if wrong:
            raise InputError(wrong)
        return scores

    def score(posts: Sequence[str], replies: Sequence[str]) -> Scores:
        try:
            scores = np.asarray(reward(posts, replies), dtype=np.float64)
        except Exception as error:
            if ":" not in name:  # one of ours
                raise
            found, expected = f"{type(error).__name__}: {error}", f"numbers for {len(replies)} replies"
            raise bad(name, found, expected, "Fix the function.") from error
        return held(scores, replies, (len(replies),))

    def visited(posts: Sequence[str], groups: Sequence[Sequence[str]], streams: Sequence[Sequence[object]]) -> Scores:
        if not groups:
            return np.zeros((0, 0))
        replies = [text for group in groups for text in group]
        return held(reward.visited(posts, groups, streams), replies, (len(groups), len(groups[0])))

    if hasattr(reward, "visited"):
        score.visited = visited  # type: ignore[attr-defined]
    return score


def own_function(name: str, where: str) -> Reward:
    """The user's ``module:function``, also beside params.yaml. Raises InputError when there is no such thing."""
    module, _, attribute = name.partition(":")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        function = getattr(import_module(module), attribute, None)
    except Exception as error:  # whatever stands in the user's file, it could not be imported
        found = f"{name}, whose module does not import ({type(error).__name__}: {error})"
        raise bad(where, found, "module:function beside params.yaml", "Fix the module, or its name.") from error
    if not callable(function):
        raise bad(where, f"{name}, but {module} has no function {attribute}", "a function", "Correct the name.")
    return function
