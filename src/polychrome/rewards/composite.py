"""Rewards made of others: a weighted mix, a function of the user's own, and a bonus for differing from one's group."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from polychrome.errors import bad
from polychrome.rewards.heuristic import TextEncoder

Scores = NDArray[np.float64]
Scorer = Callable[[Sequence[str], Sequence[str]], Scores]


@dataclass(frozen=True)
class Mix:
    """The weighted mean of several rewards, each in [0, 1]; weights are divided by their sum."""

    parts: Mapping[str, tuple[float, Scorer]]  # name -> (weight > 0, reward)

    def __call__(self, posts: Sequence[str], replies: Sequence[str]) -> Scores:
        """Score each reply: float64 (n,) in [0, 1]."""
        total = sum(weight for weight, _ in self.parts.values())
        scores = [weight * np.asarray(reward(posts, replies)) for weight, reward in self.parts.values()]
        return np.clip(np.sum(scores, axis=0) / total, 0.0, 1.0)


def own_function(name: str) -> Scorer:
    """The user's ``module:function``; modules are looked for beside params.yaml, too.

    Raises InputError when there is no such module or function, and, from the call, when the function raises.
    """
    where = "params.yaml:arms.*.reward"
    module_name, _, attribute = name.partition(":")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        function = getattr(importlib.import_module(module_name), attribute, None)
    except Exception as error:  # whatever stands in the user's file, it could not be imported
        told = f"{name}, whose module does not import ({type(error).__name__}: {error})"
        raise bad(where, told, "module:function beside params.yaml", "Mend the module, or its name.") from error
    if not callable(function):
        raise bad(where, f"{name}, but {module_name} has no function {attribute}", "a function", "Correct the name.")

    def score(posts: Sequence[str], replies: Sequence[str]) -> Scores:
        try:
            return function(posts, replies)
        except Exception as error:
            told = f"{type(error).__name__}: {error}"
            raise bad(name, told, f"scores for {len(replies)} replies", "Mend the function.") from error

    return score


@dataclass(frozen=True)
class GroupBonus:
    """What a reply earns by differing from the others of its group.

    d_i is the mean cosine distance of reply i to the other G - 1, clipped to [0, 1]; r_i its reward.

    ``additive``        r_i + weight d_i
    ``multiplicative``  r_i d_i (DARLING, Li et al. 2025, arXiv 2509.02534, equation 3: quality times diversity)

    A reply whose reward is 0 earns nothing for being different: nonsense differs from everything.
    """

    encoder: TextEncoder
    form: str
    weight: float

    def __call__(self, groups: Sequence[Sequence[str]], rewards: torch.Tensor) -> torch.Tensor:
        """``rewards`` (B, G) of the replies in ``groups`` -> what is climbed, float64 (B, G)."""
        if not len(groups):
            return rewards
        distance = torch.stack([torch.from_numpy(self._distances(group)) for group in groups]).to(rewards)
        if self.form == "multiplicative":
            return rewards * distance
        return torch.where(rewards > 0, rewards + self.weight * distance, rewards)

    def _distances(self, group: Sequence[str]) -> Scores:
        vectors = np.asarray(self.encoder.embed(list(group)), dtype=np.float64)
        cosine = vectors @ vectors.T
        return np.clip(1 - (cosine.sum(axis=1) - np.diag(cosine)) / (len(group) - 1), 0.0, 1.0)
