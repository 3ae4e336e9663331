"""Contrasts: pairs of models on every contrasted metric, tested as one family, and read out in sentences.

``p_holm`` is corrected over the whole family. Two models are called different when p_holm is below alpha and the
interval of their difference excludes zero. Beside each stands the smallest true difference that would be called
different with 80% power (:mod:`polychrome.evaluation.power`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from polychrome.evaluation.metrics import contrasted, headroom, why_undefined
from polychrome.evaluation.power import POWER, detectable
from polychrome.evaluation.results import Results
from polychrome.evaluation.settings import EvaluationSettings
from polychrome.evaluation.statistics import Effect, compare_paired, holm
from polychrome.reporting.names import metric_name
from polychrome.reporting.words import excluded


@dataclass(slots=True)
class Contrast:
    """Model a against model b on one metric; the fields below ``effect`` are filled in when the family is complete."""

    a: str
    b: str
    metric: str
    effect: Effect | None  # None: fewer than two posts have a value for both
    p_holm: float | None = None
    detectable: float | None = None  # None: nothing could be seen, or nobody has asked

    def is_different(self, alpha: float) -> bool:
        """Whether a and b differ beyond chance."""
        if self.effect is None or self.p_holm is None:
            return False
        return self.p_holm < alpha and self.effect.excludes_zero()


def all_contrasts(results: Results, pairs: Iterable[tuple[str, str]], settings: EvaluationSettings) -> list[Contrast]:
    """Every pair (a, b) of models on every contrasted metric, Holm-corrected as one family."""
    values = results.values
    contrasts = [
        Contrast(a, b, metric, compare_paired(values[a][metric], values[b][metric], settings))
        for a, b in pairs
        for metric in contrasted(settings)
    ]
    family = [contrast for contrast in contrasts if contrast.effect is not None]
    for contrast, p_holm in zip(family, holm([c.effect.p for c in family if c.effect]), strict=True):
        contrast.p_holm = p_holm
    return contrasts


def add_detectable(contrasts: Sequence[Contrast], results: Results, settings: EvaluationSettings) -> None:
    """Fill in ``detectable`` of every contrast, at alpha over the number of tests: what Holm asks of the smallest p."""
    tested = [contrast for contrast in contrasts if contrast.p_holm is not None]
    for contrast in tested:
        a, b = (results.values[model][contrast.metric] for model in (contrast.a, contrast.b))
        threshold = settings.alpha / len(tested)
        contrast.detectable = detectable(a - b, threshold=threshold, confidence=settings.confidence)


def find(contrasts: Sequence[Contrast], a: str, b: str, metric: str) -> Contrast | None:
    """The contrast of ``a`` against ``b`` on ``metric``, turned round when it is held the other way; None without."""
    for found in contrasts:
        if (found.a, found.b, found.metric) == (a, b, metric):
            return found
        if (found.b, found.a, found.metric) == (a, b, metric):
            return replace(found, a=a, b=b, effect=found.effect and found.effect.turned())
    return None


# --- in words ---------------------------------------------------------------------------------------------------------


def described(contrast: Contrast, settings: EvaluationSettings, relevance: Sequence[np.ndarray] = ()) -> dict[str, Any]:
    """A contrast as comparison.json holds it; ``relevance`` (seeds, posts) of both says why it may be undefined."""
    about: dict[str, Any] = {"a": contrast.a, "b": contrast.b, "metric": contrast.metric}
    effect, seen, room = contrast.effect, contrast.detectable, headroom(contrast.metric)
    if effect is None:
        return about | {"undefined": why_undefined(contrast.metric, *relevance)}
    notes = list(effect.notes)
    if seen is not None and room is not None:
        notes += [
            f"a could be at most {left:.3f} {side} b, too little to be seen with {POWER:.0%} power"
            for side, left in (("above", room[1] - effect.mean_b), ("below", effect.mean_b - room[0]))
            if left < seen
        ]
    different = contrast.is_different(settings.alpha)
    more = {"p_holm": contrast.p_holm, "detectable": seen, "different": different, "notes": notes}
    return about | asdict(effect) | more


def verdict(contrasts: Sequence[Contrast], settings: EvaluationSettings) -> str:
    """The contrasts of one pair of models: a sentence on the primary metric, and one on where else they differ."""
    primary = next(contrast for contrast in contrasts if contrast.metric == settings.primary)
    a, b, on = primary.a, primary.b, metric_name(settings.primary)
    if primary.effect is None:
        sentence = f"{a} and {b} cannot be compared on {on}."
    elif not primary.is_different(settings.alpha):
        said = f"{numbers(primary, settings)}; {in_words(primary)}"
        sentence = f"No difference between {a} and {b} on {on} is established: {said}."
    else:
        side = "above" if primary.effect.difference > 0 else "below"
        sentence = f"{a} is {side} {b} on {on}: {numbers(primary, settings)}."
    elsewhere = [
        f"{metric_name(c.metric)} ({'higher' if c.effect.difference > 0 else 'lower'}: {numbers(c, settings)})"
        for c in contrasts
        if c is not primary and c.effect is not None and c.is_different(settings.alpha)
    ]
    return sentence + (f" {a} also differs on {'; '.join(elsewhere)}." if elsewhere else "")


def numbers(contrast: Contrast, settings: EvaluationSettings) -> str:
    """Difference, interval and p of a contrast."""
    if contrast.effect is None or contrast.p_holm is None:
        return "undefined"
    d, percent = contrast.effect, round(100 * settings.confidence, 2)
    p = "p < 0.001" if contrast.p_holm < 0.001 else f"p = {contrast.p_holm:.3f}"
    return f"difference {d.difference:+.3f}, {percent:g}% interval {d.low:+.3f} to {d.high:+.3f}, Holm-corrected {p}"


def in_words(contrast: Contrast) -> str:
    """What stands beside a difference that is not established: which gain the interval excludes, what would be seen."""
    if contrast.effect is None or contrast.detectable is None:
        return f"too little varies here for any true difference to be seen with {POWER:.0%} power"
    seen = f"a true difference of {contrast.detectable:.3f} would be seen with {POWER:.0%} power"
    return f"{excluded(contrast.effect.high)}; {seen}"
