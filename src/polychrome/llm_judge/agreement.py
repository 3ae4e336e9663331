"""Statistics of verdicts: Cohen's kappa, Spearman's rho, the sign test, and intervals for what is not a mean.

Verdicts are arrays (seeds, posts), as in :mod:`polychrome.evaluation.statistics`, whose intervals are used for means.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from polychrome.bootstrap import draw_rows, percentiles
from polychrome.randomness import numpy_generator


@dataclass(frozen=True, slots=True)
class Estimate:
    """A statistic with its interval; ``low`` and ``high`` are None where resampling leaves it undefined too often."""

    value: float
    low: float | None
    high: float | None
    undefined: float  # share of resamples in which it is undefined


def cohens_kappa(a: np.ndarray, b: np.ndarray) -> float:
    """Agreement of two ratings (n,) beyond chance (Cohen 1960), NaN when chance alone would agree everywhere."""
    _, codes = np.unique(np.concatenate([a, b]), return_inverse=True)
    kinds = int(codes.max()) + 1
    table = np.bincount(codes[: len(a)] * kinds + codes[len(a) :], minlength=kinds * kinds).reshape(kinds, kinds)
    shares = table / table.sum()
    observed, expected = np.trace(shares), shares.sum(axis=1) @ shares.sum(axis=0)
    return float((observed - expected) / (1 - expected)) if expected < 1 - 1e-12 else float("nan")


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation of two arrays (n,) with mid-ranks for ties, NaN when either does not vary."""
    ranks = [_mid_ranks(values) for values in (a, b)]
    x, y = (rank - rank.mean() for rank in ranks)
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale > 0 else float("nan")


def sign_test(differences: np.ndarray) -> tuple[float, int, int]:
    """Two-sided p of the exact sign test on ``differences`` (posts,), and how many are above and below zero.

    Zeros say nothing and are left out; p is 1 when nothing is left.
    """
    from scipy.stats import binomtest  # here, since a run without a result should not wait for it

    above, below = int((differences > 0).sum()), int((differences < 0).sum())
    if not above + below:
        return 1.0, above, below
    return float(binomtest(above, above + below, 0.5).pvalue), above, below


def resampled(
    statistic: Callable[[np.ndarray, np.ndarray], float],
    a: np.ndarray,
    b: np.ndarray,
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> Estimate | None:
    """``statistic`` of ``a`` and ``b`` (seeds, posts), flattened, with an interval that resamples posts and seeds.

    Drawn and widened as in :func:`polychrome.bootstrap.mean_interval`. A resample in which the
    statistic is undefined is left out; there is no interval when that is one in ten or more. None when the statistic
    is undefined for the values themselves, or there are fewer than two posts.
    """
    seeds, posts = a.shape
    value = statistic(a.ravel(), b.ravel()) if posts >= 2 else float("nan")
    if np.isnan(value):
        return None
    generator = numpy_generator(seed, "llm_judge bootstrap", seeds, posts)
    picks = (np.ix_(*drawn) for drawn in draw_rows((seeds, posts), resamples, generator))
    drawn = np.array([statistic(a[picked].ravel(), b[picked].ravel()) for picked in picks])
    defined = drawn[~np.isnan(drawn)]
    undefined = 1 - len(defined) / resamples
    if undefined >= 0.1:
        return Estimate(value, None, None, undefined)
    return Estimate(value, *percentiles(defined, confidence, posts), undefined)


def _mid_ranks(values: np.ndarray) -> np.ndarray:
    distinct, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return ((ends - counts + 1 + ends) / 2)[codes] if len(distinct) else np.empty(0)
