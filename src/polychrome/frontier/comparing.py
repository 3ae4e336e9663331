"""The arms against decoding alone: variety, and Pass@k, at the quality that the arm has.

An arm stands at the temperature at which models are compared. The baseline can be decoded anywhere on its curve, so the
arm is held against the most that the curve reaches at the arm's quality or better; between two temperatures both change
linearly. Where the arm's quality lies beyond the curve, the curve's nearest end stands in: more variety than that at
higher quality is domination, and so is less at lower quality; the two other cases say nothing.

Every resample of the bootstrap draws posts and seeds, and computes the arm's point and the whole curve again. p is
Student's, of the difference over its bootstrap standard error; Holm corrects over all arms, curves and metrics.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import stdtr

from polychrome.bootstrap import percentiles, resampled_means
from polychrome.evaluation.settings import EvaluationSettings
from polychrome.evaluation.statistics import DECIMALS, holm, interval_of
from polychrome.files import tidy, write_json
from polychrome.frontier.points import ROOT, Curve, read_curves
from polychrome.measures.words import LANGUAGE
from polychrome.params import Params
from polychrome.reporting.frontier import write_frontier
from polychrome.reporting.names import metric_name
from polychrome.reporting.words import p_value, signed

BEATS, LOSES, OPEN = "beats", "does not beat", "is not told apart from"
WAYS = {  # decoding -> how a sentence calls it
    "temperature": "sampling {} hotter",
    "min_p": "sampling {} by min-p",
    "mmr": "choosing among more replies of {}",
}


def run(params: Params) -> str:
    """Write frontier.json and frontier.svg; returns a sentence an arm."""
    found = compare(params)
    write_frontier(ROOT)
    told = "\n".join(one["sentence"] for one in found["arms"])
    return f"{told}\nThe curves are in {ROOT}/frontier.svg, every difference in {ROOT}/frontier.json."


@dataclass(slots=True)
class Contrast:
    """An arm against one curve on one metric."""

    arm: str
    decoding: str
    metric: str
    quality: float  # the arm's
    value: float  # the arm's
    reached: float  # by the curve at that quality
    difference: float
    low: float
    high: float
    p: float
    beyond: str | None  # "higher" or "lower" where the arm's quality lies so, beyond error, of all that the curve has
    p_holm: float = 1.0

    def outcome(self, alpha: float) -> str:
        """Whether the arm beats the curve here."""
        if self.p_holm < alpha and self.low > 0 and self.beyond != "lower":
            return BEATS
        return LOSES if self.p_holm < alpha and self.high < 0 and self.beyond != "higher" else OPEN


def attained(quality: np.ndarray, value: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The most of ``value`` on a curve where its quality is ``at`` or better: (T, R), (T, R), (R,) -> (R,).

    The curve is straight between neighbouring points. Where its quality is nowhere so high, the value at its best.
    """
    enough = quality >= at
    most = np.where(enough, value, -np.inf).max(axis=0)
    crossed = enough[:-1] != enough[1:]
    share = (at - quality[:-1]) / np.where(crossed, np.diff(quality, axis=0), 1.0)
    between = np.where(crossed, value[:-1] + share * np.diff(value, axis=0), -np.inf)
    most = np.maximum(most, between.max(axis=0, initial=-np.inf))
    return np.where(enough.any(axis=0), most, np.take_along_axis(value, quality.argmax(axis=0)[None], axis=0)[0])


def contrast(
    arm: Curve, temperature: float, curve: Curve, metric: str, settings: EvaluationSettings
) -> Contrast | None:
    """``arm`` at ``temperature`` against ``curve``, over the posts for which all is defined; None below two of them."""
    place, quality = arm.temperatures.index(temperature), settings.passes[0]
    given = [np.concatenate([arm.values[name][place][None], curve.values[name]]) for name in (quality, metric)]
    defined = np.isfinite(given).all(axis=(0, 1, 2))
    given = [values[:, :, defined] for values in given]
    posts = int(defined.sum())
    if posts < 2:
        return None

    def differences(qualities: np.ndarray, values: np.ndarray) -> np.ndarray:
        at, own = qualities[0], qualities[1:]
        found = values[0] - attained(own, values[1:], at), at - own.max(axis=0), at - own.min(axis=0)
        return np.round(found, DECIMALS)

    drawn = differences(*(np.stack([resampled_means(one, settings.bootstrap) for one in own]) for own in given))
    means = [own.mean(axis=(1, 2))[:, None] for own in given]
    difference = float(differences(*means)[0, 0])
    low, high = percentiles(drawn[0], settings.confidence, posts)
    above, below = (percentiles(one, settings.confidence, posts) for one in drawn[1:])
    error = drawn[0].std(ddof=1) * np.sqrt(posts / (posts - 1))
    p = 2 * float(stdtr(posts - 1, -abs(difference) / error)) if error else float(difference == 0)
    at, value = (float(mean[0, 0]) for mean in means)
    beyond = "higher" if above[0] > 0 else "lower" if below[1] < 0 else None
    reached = value - difference
    return Contrast(arm.model, curve.decoding, metric, at, value, reached, difference, low, high, p, beyond)


def compare(params: Params, root: Path = ROOT) -> dict[str, Any]:
    """Write ``frontier.json`` into ``root``; returns what it holds. Raises InputError naming all that is missing.

    {"decoded", "temperature", "quality", "variety" (null: not defined for the language), "primary", "text", "family",
    "curves": [{"model", "decoding", "points": [{"temperature", metric: {"mean", "low", "high"}}]}],
    "contrasts": [:class:`Contrast` and its "outcome"], "arms": [{"arm", "verdict", "sentence"}]}.
    """
    settings, own, seeds = params.evaluation, params.frontier, params.seeds
    curves = read_curves(params.models, seeds, settings, root)
    quality, primary, variety = settings.passes[0], settings.primary, curves.variety
    arms = [model for model in params.models if model not in (*params.untouched, own.baseline)]
    found = [
        contrast(curves.of(arm)[0], params.sampling.temperature, curve, metric, settings)
        for arm in arms
        for curve in curves.of(own.baseline)
        for metric in dict.fromkeys((variety, primary))
        if metric not in (quality, None)
    ]
    contrasts = [one for one in found if one]
    for one, p_holm in zip(contrasts, holm([one.p for one in contrasts]), strict=True):
        one.p_holm = p_holm
    told = [verdict(arm, [one for one in contrasts if one.arm == arm], own.baseline, settings) for arm in arms]
    of_verdict = {said: [one["arm"] for one in told if one["verdict"] == said] for said in (BEATS, LOSES, OPEN)}
    value = {
        "decoded": own.baseline,
        "temperature": params.sampling.temperature,
        "quality": quality,
        "variety": variety,
        "primary": primary,
        "text": "; ".join(
            [f"{said}: {', '.join(names)}" for said, names in of_verdict.items() if names]
            + [f"variety is {LANGUAGE}"] * (variety is None)
        ),
        "family": {
            "tests": len(contrasts),
            "alpha": settings.alpha,
            "confidence": settings.confidence,
            "correction": "Holm over all arms, curves and metrics",
            "test": "Student's t of the difference over its bootstrap standard error, two-sided",
            "seeds": list(seeds),
            "posts": curves.posts,
            "samples": curves.samples,
        },
        "curves": [
            drawn(curve, [name for name in (quality, variety, primary) if name], settings) for curve in curves.curves
        ],
        "contrasts": [asdict(one) | {"outcome": one.outcome(settings.alpha)} for one in contrasts],
        "arms": told,
    }
    write_json(root / "frontier.json", tidy(value))
    return value


def drawn(curve: Curve, metrics: Sequence[str], settings: EvaluationSettings) -> dict[str, Any]:
    """A curve as frontier.json holds it: every point with the intervals of its means."""
    points = []
    for place, temperature in enumerate(curve.temperatures):
        found = {name: interval_of(curve.values[name][place], settings) for name in metrics}
        points.append({"temperature": temperature} | {name: one and asdict(one) for name, one in found.items()})
    return {"model": curve.model, "decoding": curve.decoding, "points": points}


# --- in words ---------------------------------------------------------------------------------------------------------


def verdict(arm: str, contrasts: Sequence[Contrast], baseline: str, settings: EvaluationSettings) -> dict[str, str]:
    """An arm in one sentence. It beats decoding alone when it beats every curve, and does not when one beats it.

    It beats a curve when it is above it on a metric, and is above it on none where it is below it on another.
    """
    alpha, quality = settings.alpha, metric_name(settings.passes[0])
    if not contrasts:
        said = f"{arm} is not compared with decoding alone: variety is {LANGUAGE}."
        return {"arm": arm, "verdict": OPEN, "sentence": said}
    outcomes: dict[str, list[Contrast]] = {said: [] for said in (LOSES, OPEN, BEATS)}
    for decoding in dict.fromkeys(one.decoding for one in contrasts):
        own = sorted((one for one in contrasts if one.decoding == decoding), key=lambda one: one.p_holm)
        said = [one.outcome(alpha) for one in own]
        of_curve = LOSES if LOSES in said else BEATS if BEATS in said else OPEN
        outcomes[of_curve].append(own[said.index(of_curve)])
    told = []
    for said, decisive in outcomes.items():
        joined = (" and " if said == BEATS else " or ").join(
            f"{WAYS[one.decoding].format(baseline)} ({numbers(one, alpha)})" for one in decisive
        )
        told += [f"{said} {joined}"] * bool(decisive)
    overall = next(said for said, decisive in outcomes.items() if decisive)
    return {"arm": arm, "verdict": overall, "sentence": f"At equal {quality}, {arm} {'; it '.join(told)}."}


def numbers(one: Contrast, alpha: float) -> str:
    """Difference, interval and p of a contrast; where the curve never reaches the arm's quality, that too."""
    said = f"{metric_name(one.metric)} {signed(one.difference)}, {signed(one.low)} to {signed(one.high)}"
    beyond = "" if one.beyond is None else f", at {one.beyond} quality than it reaches"
    trades = one.beyond and one.p_holm < alpha and one.outcome(alpha) == OPEN
    return f"{said}, {p_value(one.p_holm)}{beyond}{': neither dominates' if trades else ''}"
