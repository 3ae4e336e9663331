"""The over-optimisation curve: what a score does as the policy moves away from where it started.

Gao, Schulman and Hilton 2023, "Scaling Laws for Reward Model Overoptimization" (arXiv 2210.10760), equation 1 and
section 3.1: for reinforcement learning, the score gained at distance d = sqrt(KL(policy || start)) is

    R(d) = d (alpha - beta log d)

alpha is how steeply it rises at first, beta how soon it gives out. With beta > 0 the curve peaks where its derivative
alpha - beta - beta log d is zero, at log d = alpha / beta - 1; beyond that, more optimisation makes the score worse.

R is a gain over the start, and what a prompt is worth has nothing to do with d. Each prompt is therefore compared with
itself at other steps: score = (intercept of the prompt) + R(d of the step), by least squares after the prompt's own
mean is taken out of every column (fixed effects). When no prompt comes twice there is one intercept for all. Intervals
resample prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polychrome.bootstrap import draw_counts, percentiles
from polychrome.randomness import numpy_generator

_SINGULAR = 1e-9  # of the determinant against the trace squared: below it, alpha and beta cannot be told apart


@dataclass(frozen=True, slots=True)
class Overoptimisation:
    """A fitted curve with percentile intervals of the bootstrap; values are None when it could not be fitted."""

    alpha: tuple[float, float, float] | None  # value, low, high; in the score's unit per sqrt(nat)
    beta: tuple[float, float, float] | None
    reach: float  # the largest KL that training reached, nats a reply
    gain: tuple[float, float, float] | None  # value, low, high of the curve there
    peak: float | None  # KL of the peak, nats a reply; None when there is none within reach
    peak_low: float | None  # interval of the peak among the resamples that have one within reach
    peak_high: float | None
    peak_share: float | None  # share in [0, 1] of the resamples with a peak within reach
    text: str  # one sentence

    def as_json(self) -> dict[str, Any]:
        """What verdict.json holds."""
        ends = ("value", "low", "high")
        return {
            "alpha": self.alpha and dict(zip(ends, self.alpha, strict=True)),
            "beta": self.beta and dict(zip(ends, self.beta, strict=True)),
            "reach_kl": self.reach,
            "gain_at_reach": self.gain and dict(zip(ends, self.gain, strict=True)),
            "peak_kl": self.peak,
            "peak_kl_low": self.peak_low,
            "peak_kl_high": self.peak_high,
            "peak_share": self.peak_share,
            "text": self.text,
        }


def fit(
    kl: np.ndarray, scores: np.ndarray, prompts: Sequence[str], *, resamples: int, confidence: float, seed: int = 0
) -> Overoptimisation:
    """Fit the curve to the mean ``scores`` (groups,) of groups drawn at ``kl`` (groups,), nats a reply.

    ``prompts`` (groups,) says which prompt each group answers. An estimate of KL below zero counts as zero.
    """
    d = np.sqrt(np.maximum(kl, 0.0))
    columns = np.stack([d, -d * np.log(np.where(d > 0, d, 1.0))], axis=1)  # R(d) = alpha column 0 + beta column 1
    reach = float(d.max() ** 2)
    names, cluster = np.unique(np.asarray(prompts), return_inverse=True)
    if len(names) < len(prompts):
        columns, target = _centred(columns, cluster), _centred(scores[:, None], cluster)[:, 0]
    else:
        columns, target = columns - columns.mean(axis=0), scores - scores.mean()
    squares = np.stack([_sums(cluster, columns[:, i] * columns[:, j]) for i, j in ((0, 0), (0, 1), (1, 1))], axis=1)
    products = np.stack([_sums(cluster, columns[:, i] * target) for i in (0, 1)], axis=1)
    ones = np.ones((1, len(names)))
    alpha, beta, solved = _solve(ones @ squares, ones @ products)
    generator = numpy_generator(seed, "over-optimisation", len(names))
    drawn = draw_counts(len(names), resamples, generator)
    alphas, betas, stood = _solve(drawn @ squares, drawn @ products)
    if not (solved[0] and stood.any()):
        text = f"No curve could be fitted: KL, at most {reach:.3g} nats a reply, does not vary enough within prompts."
        return Overoptimisation(None, None, reach, None, None, None, None, None, text)
    alphas, betas = alphas[stood], betas[stood]
    peaks = peak_of(alphas, betas, reach)
    within = peaks[~np.isnan(peaks)]
    peak = float(peak_of(alpha, beta, reach)[0])
    ends = percentiles(within, confidence) if len(within) else (np.nan, np.nan)
    share = len(within) / len(peaks)
    found = None if np.isnan(peak) else peak
    gain = _with_ends(gain_at(reach, alpha[0], beta[0]), gain_at(reach, alphas, betas), confidence)
    return Overoptimisation(
        alpha=_with_ends(alpha[0], alphas, confidence),
        beta=_with_ends(beta[0], betas, confidence),
        reach=reach,
        gain=gain,
        peak=found,
        peak_low=ends[0] if found is not None and len(within) else None,
        peak_high=ends[1] if found is not None and len(within) else None,
        peak_share=share,
        text=_sentence(found, ends, share, reach, gain, float(alpha[0]), float(beta[0])),
    )


def peak_of(alpha: np.ndarray, beta: np.ndarray, reach: float) -> np.ndarray:
    """KL (n,) in nats a reply at the peak of each curve, NaN where there is none up to a KL of ``reach``."""
    positive = beta > 0
    log_d = np.where(positive, alpha / np.where(positive, beta, 1.0) - 1.0, np.inf)
    within = positive & (2.0 * log_d <= np.log(reach)) if reach > 0 else np.zeros(len(beta), dtype=bool)
    return np.where(within, np.exp(2.0 * np.where(within, log_d, 0.0)), np.nan)


def gain_at(kl: np.ndarray | float, alpha: np.ndarray | float, beta: np.ndarray | float) -> np.ndarray:
    """R(d) at ``kl`` nats a reply; the arguments broadcast."""
    d = np.sqrt(np.maximum(kl, 0.0))
    return d * alpha - beta * d * np.log(np.where(d > 0, d, 1.0))


def _sentence(
    peak: float | None,
    ends: Sequence[float] | np.ndarray,
    share: float,
    reach: float,
    gain: tuple[float, float, float],
    alpha: float,
    beta: float,
) -> str:
    end = f"{gain[0]:+.3f} since the start, {gain[1]:+.3f} to {gain[2]:+.3f}"
    if peak is None:
        slope = alpha - beta - beta * 0.5 * np.log(reach)
        return (
            f"No peak within reach: at a KL of {reach:.3g} nats a reply, the farthest that training went, the fitted "
            f"curve {'rises' if slope > 0 else 'falls'} ({end}); {share:.0%} of the resamples peak within reach."
        )
    return (
        f"The curve peaks at a KL of {peak:.3g} nats a reply ({ends[0]:.3g} to {ends[1]:.3g} in the {share:.0%} of the "
        f"resamples that peak within reach); at {reach:.3g}, the farthest that training went, it stands at {end}."
    )


def _solve(squares: np.ndarray, products: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """alpha (n,), beta (n,) of n normal equations, and whether each could be solved (n,)."""
    aa, ab, bb = squares.T
    determinant = aa * bb - ab**2
    solved = determinant > _SINGULAR * (aa + bb) ** 2
    below = np.where(solved, determinant, 1.0)
    a, b = products.T
    return (bb * a - ab * b) / below, (aa * b - ab * a) / below, solved


def _centred(columns: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    draw_counts = np.bincount(cluster)[:, None]
    means = np.stack([_sums(cluster, column) for column in columns.T], axis=1) / draw_counts
    return columns - means[cluster]


def _sums(cluster: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.bincount(cluster, weights=values)


def _with_ends(value: float | np.ndarray, resampled: np.ndarray, confidence: float) -> tuple[float, float, float]:
    return float(value), *percentiles(resampled, confidence)
