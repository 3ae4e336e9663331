"""The over-optimisation curve: what a score does as the policy moves away from where it started.

Gao, Schulman and Hilton 2023, "Scaling Laws for Reward Model Overoptimization" (arXiv 2210.10760), equation 1 and
section 3.1: at distance d = sqrt(KL(policy || start)) the score gained is R(d) = d (alpha - beta log d). With beta > 0
it peaks at log d = alpha / beta - 1; beyond that, more optimisation makes the score worse.

What a prompt is worth has nothing to do with d, so each is compared with itself at other steps: score = (intercept of
the prompt) + R(d of the step), by least squares after the prompt's mean is taken out of every column (fixed effects).
When no prompt comes twice there is one intercept for all. Intervals resample prompts.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from polychrome.bootstrap import draw_counts, percentiles
from polychrome.evaluation.settings import EvaluationSettings
from polychrome.randomness import numpy_generator

_SINGULAR = 1e-9  # of the determinant against the trace squared: below it, alpha and beta cannot be told apart
_FIELDS = (
    "alpha", "beta", "reach_kl", "gain_at_reach", "peak_kl", "peak_kl_low", "peak_kl_high", "peak_share", "text",
)  # fmt: skip


def fit(kl: np.ndarray, scores: np.ndarray, prompts: Sequence[str], settings: EvaluationSettings) -> dict[str, Any]:
    """Fit the curve to the mean ``scores`` (groups,) of groups drawn at ``kl`` (groups,), nats per reply.

    ``prompts`` (groups,) says which prompt each group answers. An estimate of KL below zero counts as zero. Returns
    "alpha" and "beta" (in the score's unit per sqrt(nat)) and "gain_at_reach" (of the curve at the largest KL that
    training reached, "reach_kl") as {"value", "low", "high"}; the KL of the peak, "peak_kl", with the interval among
    the resamples that have one within reach ("peak_kl_low", "peak_kl_high") and their share, "peak_share"; and a
    sentence, "text". What could not be fitted, and a peak that is not within reach, is None.
    """
    d = np.sqrt(np.maximum(kl, 0.0))
    columns = np.stack([d, -d * np.log(np.where(d > 0, d, 1.0))], axis=1)  # R(d) = alpha column 0 + beta column 1
    reach = float(d.max() ** 2)
    names, cluster = np.unique(np.asarray(prompts), return_inverse=True)
    if len(names) < len(prompts):
        columns, target = _centred(columns, cluster), _centred(scores[:, None], cluster)[:, 0]
    else:
        columns, target = columns - columns.mean(axis=0), scores - scores.mean()
    a, b = columns.T
    squares = np.stack([np.bincount(cluster, each) for each in (a * a, a * b, b * b)], axis=1)
    products = np.stack([np.bincount(cluster, each) for each in (a * target, b * target)], axis=1)
    ones = np.ones((1, len(names)))
    alpha, beta, solved = _solve(ones @ squares, ones @ products)
    drawn = draw_counts(len(names), settings.bootstrap, numpy_generator(0, "over-optimisation", len(names)))
    alphas, betas, stood = _solve(drawn @ squares, drawn @ products)
    if not (solved[0] and stood.any()):
        text = f"No curve could be fitted: KL, at most {reach:.3g} nats per reply, does not vary enough within prompts."
        return dict.fromkeys(_FIELDS) | {"reach_kl": reach, "text": text}
    alphas, betas = alphas[stood], betas[stood]
    peaks = peak_of(alphas, betas, reach)
    within = peaks[~np.isnan(peaks)]
    peak, share = float(peak_of(alpha, beta, reach)[0]), len(within) / len(peaks)
    ends = percentiles(within, settings.confidence) if len(within) else (None, None)
    gain = _with_ends(gain_at(reach, alpha[0], beta[0]), gain_at(reach, alphas, betas), settings.confidence)
    end = f"{gain['value']:+.3f} since the start, {gain['low']:+.3f} to {gain['high']:+.3f}"
    if np.isnan(peak):
        slope = alpha[0] - beta[0] - beta[0] * 0.5 * np.log(reach)
        found = (None, None, None)
        text = (
            f"No peak within reach: at a KL of {reach:.3g} nats per reply, the farthest that training went, the fitted "
            f"curve {'rises' if slope > 0 else 'falls'} ({end}); {share:.0%} of the resamples peak within reach."
        )
    else:
        found = (peak, *ends)
        low, high = (np.nan if each is None else each for each in ends)
        text = (
            f"The curve peaks at a KL of {peak:.3g} nats per reply ({low:.3g} to {high:.3g} in the {share:.0%} of the "
            f"resamples that peak within reach); at {reach:.3g}, the farthest that training went, it stands at {end}."
        )
    of_alpha, of_beta = (_with_ends(*each, settings.confidence) for each in ((alpha[0], alphas), (beta[0], betas)))
    return dict(zip(_FIELDS, (of_alpha, of_beta, reach, gain, *found, share, text), strict=True))


def peak_of(alpha: np.ndarray, beta: np.ndarray, reach: float) -> np.ndarray:
    """KL (n,) in nats per reply at the peak of each curve, NaN where there is none up to a KL of ``reach``."""
    positive = beta > 0
    log_d = np.where(positive, alpha / np.where(positive, beta, 1.0) - 1.0, np.inf)
    within = positive & (reach > 0) & (2.0 * log_d <= np.log(reach or 1.0))
    return np.where(within, np.exp(2.0 * np.where(within, log_d, 0.0)), np.nan)


def gain_at(kl: np.ndarray | float, alpha: np.ndarray | float, beta: np.ndarray | float) -> np.ndarray:
    """R(d) at ``kl`` nats per reply; the arguments broadcast."""
    d = np.sqrt(np.maximum(kl, 0.0))
    return d * alpha - beta * d * np.log(np.where(d > 0, d, 1.0))


def _solve(squares: np.ndarray, products: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """alpha (n,), beta (n,) of n normal equations, and whether each could be solved (n,)."""
    aa, ab, bb = squares.T
    determinant = aa * bb - ab**2
    solved = determinant > _SINGULAR * (aa + bb) ** 2
    below = np.where(solved, determinant, 1.0)
    a, b = products.T
    return (bb * a - ab * b) / below, (aa * b - ab * a) / below, solved


def _centred(columns: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    means = np.stack([np.bincount(cluster, column) for column in columns.T], axis=1) / np.bincount(cluster)[:, None]
    return columns - means[cluster]


def _with_ends(value: float | np.ndarray, resampled: np.ndarray, confidence: float) -> dict[str, float]:
    low, high = percentiles(resampled, confidence)
    return {"value": float(value), "low": low, "high": high}
