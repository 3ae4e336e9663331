"""Engagement as ranks, and how well predictions order it: what the learned reward and the judge are fitted and told by.

Engagement has the unit of its source; its rank among the pairs of the source has none.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from polychrome.errors import bad
from polychrome.randomness import numpy_generator


def mid_ranks(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Ranks from 1 on, float64 (n,); ties share the mean of theirs."""
    from scipy.stats import rankdata  # here, since whoever only predicts ranks nothing

    return rankdata(values)


def rank_normalised(engagement: Sequence[float], where: str) -> np.ndarray:
    """Mid-ranks as shares of the pool, float64 (n,) in (0, 1). Raises InputError when engagement does not vary."""
    if len(set(engagement)) < 2:
        raise bad(f"{where}:engagement", f"{engagement[0]} throughout", "engagement that varies", "Check the source.")
    return (mid_ranks(engagement) - 0.5) / len(engagement)


def folds_of(groups: np.ndarray, count: int, seed: int, purpose: str, where: str) -> np.ndarray:
    """A fold (n,) in [0, count) for each pair; ``groups`` (n,) number the conversations, and each is in one fold only.

    Raises InputError with fewer conversations than folds.
    """
    conversations = int(groups.max()) + 1
    if conversations < count:
        remedy = f"Raise split.{purpose}_pairs."
        raise bad(where, f"{conversations} conversations", f"at least {count}, one a fold", remedy)
    return (numpy_generator(seed, purpose, "folds").permutation(conversations) % count)[groups]


def spearman(predicted: np.ndarray, target: np.ndarray, where: str) -> float:
    """Spearman's correlation of two arrays (n,). Raises InputError when one of them does not vary."""
    x, y = mid_ranks(predicted), mid_ranks(target)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        expected = "both to vary in every resample, for a rank correlation to exist"
        raise bad(where, "engagement or predictions that hardly vary", expected, "Give it more pairs.")
    return float(np.corrcoef(x, y)[0, 1])
