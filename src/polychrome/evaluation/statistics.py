"""The statistics that compare models: paired by post, crossed with seeds.

Values are arrays of shape (seeds, posts); two models are compared through the differences of the same seed and post.
NaN marks a post whose metric is undefined; such a post leaves a comparison whole, and is counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from polychrome.bootstrap import Interval, mean_interval
from polychrome.evaluation.settings import EvaluationSettings

DECIMALS = 12  # differences are rounded here, so that 0.3 - 0.1 * 3 is the zero, and the tie, that it is


@dataclass(frozen=True, slots=True)
class Effect:
    """Model a against model b on one metric. A field that has no value is None, and its note says why."""

    mean_a: float
    mean_b: float
    difference: float  # mean of a minus b
    low: float  # its bootstrap interval
    high: float
    p: float  # Wilcoxon signed-rank, two-sided
    cohens_d: float | None
    cliffs_delta: float
    sd_posts: float  # of the differences between posts, each the mean over seeds; n - 1
    sd_seeds: float | None  # of the differences between seeds, each the mean over posts; None with one seed
    posts: int
    dropped_posts: int  # undefined for a or b in some seed
    seeds: int
    notes: tuple[str, ...]

    def excludes_zero(self) -> bool:
        """Whether zero lies outside the interval."""
        return self.low > 0 or self.high < 0

    def ends(self, mean: str = "value") -> dict[str, float]:
        """The difference, called ``mean``, and the "low" and "high" of its interval."""
        return {mean: self.difference, "low": self.low, "high": self.high}

    def turned(self) -> "Effect":
        """The same seen from b."""
        return replace(
            self,
            mean_a=self.mean_b,
            mean_b=self.mean_a,
            difference=-self.difference,
            low=-self.high,
            high=-self.low,
            cohens_d=None if self.cohens_d is None else -self.cohens_d,
            cliffs_delta=-self.cliffs_delta,
        )


def defined(values: np.ndarray) -> np.ndarray:
    """``values`` (seeds, posts) of the posts that have one for every seed."""
    return values[:, ~np.isnan(values).any(axis=0)]


def mean_of(values: np.ndarray, settings: EvaluationSettings) -> Interval:
    """Mean of ``values`` (seeds, posts), all of them defined, with its bootstrap interval."""
    return mean_interval(values, resamples=settings.bootstrap, confidence=settings.confidence)


def interval_of(values: np.ndarray, settings: EvaluationSettings) -> Interval | None:
    """:func:`mean_of` the posts that are defined for every seed; None with fewer than two of them."""
    values = defined(values)
    return mean_of(values, settings) if values.shape[1] >= 2 else None


def spreads(values: np.ndarray) -> dict[str, float | None]:
    """How much ``values`` (seeds, posts), two posts or more, no NaN, vary: standard deviations with n - 1.

    ``sd_posts`` between posts, each the mean over seeds; ``sd_seeds`` between seeds, each the mean over posts, None
    with one seed. They describe what was measured, sampled replies and all: means over a few posts differ between
    seeds even where seeds do not matter.
    """
    values = np.round(values, DECIMALS)
    of_seeds = float(values.mean(axis=1).std(ddof=1)) if len(values) > 1 else None
    return {"sd_posts": float(values.mean(axis=0).std(ddof=1)), "sd_seeds": of_seeds}


def wilcoxon(differences: np.ndarray) -> tuple[float, str]:
    """Two-sided p of Wilcoxon's signed-rank test on ``differences`` (posts,), and a note ("" when there is none).

    Zeros are ranked, then left out of the sums (Pratt 1959; scipy's zero_method="pratt"), ties get mid-ranks. scipy
    takes the exact distribution up to 50 posts without ties or zeros, all sign flips up to 13 posts with them, and
    the normal approximation, corrected for ties and continuity, otherwise.
    """
    from scipy.stats import wilcoxon as signed_rank  # here, since whoever only wants intervals should not wait for it

    rounded = np.round(differences, DECIMALS)
    if not rounded.any():
        return 1.0, "every difference is zero, so there is nothing to rank and p is 1"
    return float(signed_rank(rounded, zero_method="pratt", correction=True, method="auto").pvalue), ""


def cohens_d(differences: np.ndarray) -> tuple[float | None, str]:
    """Cohen's d of paired differences (posts,): mean over standard deviation (n - 1), often written d_z.

    None, with a note, when every difference is the same: there is no spread to measure the mean in.
    """
    rounded = np.round(differences, DECIMALS)
    if np.ptp(rounded) == 0:
        return None, "every difference is the same, so Cohen's d has no standard deviation to divide by"
    return float(rounded.mean() / rounded.std(ddof=1)), ""


def cliffs_delta(a: np.ndarray, b: np.ndarray) -> float:
    """P(a > b) - P(a < b) over all pairs of one value of ``a`` (n,) and one of ``b`` (m,), in [-1, 1] (Cliff 1993)."""
    a, ordered = np.round(a, DECIMALS), np.sort(np.round(b, DECIMALS))
    below = np.searchsorted(ordered, a, side="left").sum()
    above = (len(ordered) - np.searchsorted(ordered, a, side="right")).sum()
    return float(below - above) / (len(a) * len(ordered))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for the whole family by Holm's step-down method (Holm 1979), in the order given."""
    order = np.argsort(p_values, kind="stable")
    raised = np.asarray(p_values, dtype=float)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(raised), 1.0)
    return adjusted.tolist()


def compare_paired(a: np.ndarray, b: np.ndarray, settings: EvaluationSettings) -> Effect | None:
    """Compare two models on one metric, ``a`` and ``b`` (seeds, posts) with the same seeds and posts in the same order.

    The interval resamples posts and seeds. Wilcoxon, d and delta look at each post's mean over the seeds, so they
    speak of new posts answered by these very seeds. None when fewer than two posts are defined for both models.
    """
    if a.shape != b.shape:
        raise ValueError(f"paired values of different shapes: {a.shape} and {b.shape}")
    kept = ~np.isnan(a - b).any(axis=0)
    a, b = a[:, kept], b[:, kept]
    differences = np.round(a - b, DECIMALS)
    interval = interval_of(differences, settings)
    if interval is None:
        return None
    by_post = differences.mean(axis=0)
    p, p_note = wilcoxon(by_post)
    d, d_note = cohens_d(by_post)
    return Effect(
        mean_a=float(a.mean()),
        mean_b=float(b.mean()),
        difference=interval.mean,
        low=interval.low,
        high=interval.high,
        p=p,
        cohens_d=d,
        cliffs_delta=cliffs_delta(a.mean(axis=0), b.mean(axis=0)),
        **spreads(differences),
        posts=int(kept.sum()),
        dropped_posts=int((~kept).sum()),
        seeds=len(a),
        notes=tuple(note for note in (p_note, d_note) if note),
    )


def cohens_kappa(a: np.ndarray, b: np.ndarray) -> float:
    """Agreement of two ratings (n,) beyond chance (Cohen 1960), NaN when chance alone would agree everywhere."""
    kinds = np.unique([a, b])[:, None]
    expected = (a == kinds).mean(axis=1) @ (b == kinds).mean(axis=1)
    return float((np.mean(a == b) - expected) / (1 - expected)) if expected < 1 - 1e-12 else float("nan")


def kappa_of_signs(a: np.ndarray, b: np.ndarray) -> float:
    """Cohen's kappa of the signs of two arrays (n,) where neither is zero, NaN where it is undefined."""
    decided = (a != 0) & (b != 0)
    return cohens_kappa(a[decided] > 0, b[decided] > 0) if decided.any() else float("nan")


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation of two arrays (n,) with mid-ranks for ties, NaN when either does not vary."""
    from scipy.stats import rankdata

    vary = np.ptp(a) > 0 and np.ptp(b) > 0
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1]) if vary else float("nan")


def sign_test(differences: np.ndarray) -> dict[str, float]:
    """Two-sided p of the exact sign test on ``differences`` (posts,), zeros left out; 1 when nothing else is left."""
    from scipy.stats import binomtest

    above, below = int((differences > 0).sum()), int((differences < 0).sum())
    p = float(binomtest(above, above + below).pvalue) if above + below else 1.0
    return {"p": p, "posts_for_a": above, "posts_for_b": below}
