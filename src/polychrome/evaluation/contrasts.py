"""Q1 to Q4: the six contrasts of the four compared models, on every headline metric, and their answers in sentences.

All of these tests are one family, and ``p_holm`` is corrected over the whole of it. Two models are called different
when p_holm is below alpha and the interval of their difference excludes zero. Beside each stands the smallest true
difference that would be called different with 80% power (:mod:`polychrome.evaluation.power`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from polychrome.bootstrap import Interval
from polychrome.evaluation.power import POWER, detectable
from polychrome.evaluation.results import Results, Roles, Settings, headroom, label, mean_interval
from polychrome.evaluation.statistics import Effect, compare_paired, holm, spread


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
        return self.p_holm < alpha and self.effect.difference.excludes_zero()


def questions(roles: Roles) -> dict[str, tuple[str, tuple[tuple[str, str], ...]]]:
    """Question -> its words, and its contrasts (a, b) read as "a above b"; together the six pairs of four models."""
    b, p, gb, gp = roles.compared
    return {
        "Q1": ("Does polychromic fine-tuning beat the baseline?", ((p, b),)),
        "Q2": ("Does a warm start followed by GRPO beat fine-tuning on all the data?", ((gb, b), (gp, p))),
        "Q3": ("Is the polychromic warm start the better start for GRPO?", ((gp, gb),)),
        "Q4": ("Which of the four is best, and is it separated from the second?", ((gp, b), (gb, p))),
    }


def all_contrasts(results: Results, roles: Roles, settings: Settings) -> list[Contrast]:
    """Every contrast of every question on every headline metric, Holm-corrected as one family."""
    contrasts = [
        Contrast(a, b, metric, _effect(results, a, b, metric, settings))
        for _, pairs in questions(roles).values()
        for a, b in pairs
        for metric in settings.headline
    ]
    family = [contrast for contrast in contrasts if contrast.effect is not None]
    adjusted = holm([contrast.effect.p for contrast in family if contrast.effect is not None])
    for contrast, p_holm in zip(family, adjusted, strict=True):
        contrast.p_holm = p_holm
    return contrasts


def add_detectable(contrasts: Sequence[Contrast], results: Results, settings: Settings) -> None:
    """Fill in ``detectable`` of every contrast, at alpha over the number of tests: what Holm asks of the smallest p."""
    tests = sum(contrast.p_holm is not None for contrast in contrasts)
    for contrast in contrasts:
        if contrast.p_holm is not None:
            a, b = (results.values[model][contrast.metric] for model in (contrast.a, contrast.b))
            contrast.detectable = detectable(
                a - b, threshold=settings.alpha / tests, confidence=settings.confidence, seed=settings.seed
            )


def _effect(results: Results, a: str, b: str, metric: str, settings: Settings) -> Effect | None:
    values = results.values
    return compare_paired(
        values[a][metric],
        values[b][metric],
        resamples=settings.resamples,
        confidence=settings.confidence,
        seed=settings.seed,
    )


def answer(results: Results, contrasts: Sequence[Contrast], roles: Roles, settings: Settings) -> dict[str, Any]:
    """What comparison.json holds: each question with its contrasts and a verdict in a sentence."""
    answered: dict[str, dict[str, Any]] = {}
    for name, (words, pairs) in questions(roles).items():
        own = [contrast for contrast in contrasts if (contrast.a, contrast.b) in pairs]
        verdicts = [_verdict([c for c in own if (c.a, c.b) == pair], settings) for pair in pairs]
        answered[name] = {
            "id": name,
            "question": words,
            "contrasts": [_described(contrast, settings) for contrast in own],
            "verdict": " ".join(verdicts),
        }
    ranking, verdict = rank(results, contrasts, roles, settings)
    answered["Q4"] |= {"ranking": ranking, "verdict": f"{verdict} {answered['Q4']['verdict']}"}
    tests = sum(contrast.p_holm is not None for contrast in contrasts)
    family = {
        "tests": tests,
        "alpha": settings.alpha,
        "confidence": settings.confidence,
        "correction": "Holm over all contrasts and metrics of Q1 to Q4",
        "test": "Wilcoxon signed-rank, two-sided, zeros by Pratt, on each post's mean over seeds",
        "interval": "expanded percentile bootstrap over posts" + (" and seeds" if len(results.seeds) > 1 else ""),
        "primary_metric": settings.primary,
        "seeds": list(results.seeds),
        "posts": results.posts,
        "samples": results.samples,
        "power": POWER,
        "power_threshold": settings.alpha / tests if tests else None,  # what Holm asks of the smallest p
        "power_by": "simulation: observed differences mirrored and exponentially tilted, posts and seeds resampled",
    }
    models = {model: spreads(results, model, settings) for model in results.models}
    return {"questions": list(answered.values()), "family": family, "models": models}


def rank(
    results: Results, contrasts: Sequence[Contrast], roles: Roles, settings: Settings
) -> tuple[list[dict[str, Any]], str]:
    """The four models from best to worst on the primary metric, and whether the best is separated from the second."""
    means = {model: results.values[model][settings.primary].mean() for model in roles.compared}
    order = sorted(roles.compared, key=lambda model: -round(means[model], 12))
    best, second = order[:2]
    ranking = [
        {"rank": place, "model": model, **_fields(results, model, settings)}
        for place, model in enumerate(order, start=1)
    ]
    contrast = find(contrasts, best, second, settings.primary)
    name = label(settings.primary)
    if round(means[best] - means[second], 12) == 0:
        return ranking, f"{best} and {second} share the highest {name}: no model is best."
    numbers = _numbers(contrast, settings)
    state = "is separated from"
    if not contrast.is_different(settings.alpha):
        state, numbers = "is not separated from", f"{numbers}; {in_words(contrast.detectable)}"
    return ranking, f"{best} has the highest {name}; it {state} the second, {second}: {numbers}."


def _turned(contrast: Contrast) -> Contrast:
    """The same contrast seen from b."""
    effect = contrast.effect
    if effect is None:
        return replace(contrast, a=contrast.b, b=contrast.a)
    low, high = -effect.difference.high, -effect.difference.low
    turned = replace(
        effect,
        mean_a=effect.mean_b,
        mean_b=effect.mean_a,
        difference=Interval(-effect.difference.mean, low, high),
        cohens_d=None if effect.cohens_d is None else -effect.cohens_d,
        cliffs_delta=-effect.cliffs_delta,
    )
    return replace(contrast, a=contrast.b, b=contrast.a, effect=turned)


def _described(contrast: Contrast, settings: Settings) -> dict[str, Any]:
    about: dict[str, Any] = {"a": contrast.a, "b": contrast.b, "metric": contrast.metric}
    effect = contrast.effect
    if effect is None:
        return about | {"undefined": "fewer than two posts have a value for both models"}
    return about | {
        "mean_a": effect.mean_a,
        "mean_b": effect.mean_b,
        "difference": effect.difference.mean,
        "low": effect.difference.low,
        "high": effect.difference.high,
        "p": effect.p,
        "p_holm": contrast.p_holm,
        "sd_posts": effect.sd_posts,
        "sd_seeds": effect.sd_seeds,
        "detectable": contrast.detectable,
        "cohens_d": effect.cohens_d,
        "cliffs_delta": effect.cliffs_delta,
        "posts": effect.posts,
        "dropped_posts": effect.dropped_posts,
        "seeds": effect.seeds,
        "different": contrast.is_different(settings.alpha),
        "notes": [*effect.notes, *_beyond(contrast)],
    }


def _beyond(contrast: Contrast) -> list[str]:
    """A note where the detectable difference is more than the metric's range leaves above or below b."""
    effect, seen, room = contrast.effect, contrast.detectable, headroom(contrast.metric)
    if effect is None or seen is None or room is None:
        return []
    sides = [("above", room[1] - effect.mean_b), ("below", effect.mean_b - room[0])]
    return [
        f"a could be at most {left:.3f} {side} b, too little to be seen with {POWER:.0%} power"
        for side, left in sides
        if left < seen
    ]


def in_words(seen: float | None) -> str:
    """A detectable difference, or that there is none, as it stands beside a difference that is not established."""
    if seen is None:
        return f"too little varies here for any true difference to be seen with {POWER:.0%} power"
    return f"a true difference of {seen:.3f} would be seen with {POWER:.0%} power"


def _verdict(contrasts: Sequence[Contrast], settings: Settings) -> str:
    """One pair of models in a sentence on the primary metric, and one on where else they differ."""
    primary = next(contrast for contrast in contrasts if contrast.metric == settings.primary)
    a, b, on = primary.a, primary.b, label(settings.primary)
    if primary.effect is None:
        sentence = f"{a} and {b} cannot be compared on {on}."
    elif not primary.is_different(settings.alpha):
        numbers = f"{_numbers(primary, settings)}; {in_words(primary.detectable)}"
        sentence = f"No difference between {a} and {b} on {on} is established: {numbers}."
    else:
        side = "above" if primary.effect.difference.mean > 0 else "below"
        sentence = f"{a} is {side} {b} on {on}: {_numbers(primary, settings)}."
    elsewhere = [
        f"{label(c.metric)} ({'higher' if c.effect.difference.mean > 0 else 'lower'}: {_numbers(c, settings)})"
        for c in contrasts
        if c is not primary and c.effect is not None and c.is_different(settings.alpha)
    ]
    return sentence + (f" {a} also differs on {'; '.join(elsewhere)}." if elsewhere else "")


def _numbers(contrast: Contrast, settings: Settings) -> str:
    if contrast.effect is None or contrast.p_holm is None:
        return "undefined"
    d, percent = contrast.effect.difference, round(100 * settings.confidence, 2)
    p = "p < 0.001" if contrast.p_holm < 0.001 else f"p = {contrast.p_holm:.3f}"
    return f"difference {d.mean:+.3f}, {percent:g}% interval {d.low:+.3f} to {d.high:+.3f}, Holm-corrected {p}"


def spreads(results: Results, model: str, settings: Settings) -> dict[str, Any]:
    """Metric -> mean and interval of one model, and how much it varies over posts and over seeds."""
    found: dict[str, Any] = {}
    for metric in settings.needed:
        values = results.values[model][metric]
        interval = mean_interval(values, settings)
        if interval is not None:
            defined = values[:, ~np.isnan(values).any(axis=0)]
            of = spread(defined)
            found[metric] = {
                "mean": interval.mean,
                "low": interval.low,
                "high": interval.high,
                "sd_posts": of.posts,
                "sd_seeds": of.seeds,
                "posts": defined.shape[1],
            }
    return found


def _fields(results: Results, model: str, settings: Settings) -> dict[str, float]:
    interval = mean_interval(results.values[model][settings.primary], settings)
    assert interval is not None  # Pass@k is defined for every post
    return {"value": interval.mean, "low": interval.low, "high": interval.high}


def find(contrasts: Sequence[Contrast], a: str, b: str, metric: str) -> Contrast:
    """The contrast of ``a`` against ``b`` on ``metric``, turned round when it is held the other way."""
    found = next(c for c in contrasts if {c.a, c.b} == {a, b} and c.metric == metric)
    return found if found.a == a else _turned(found)
