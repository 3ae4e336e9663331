"""Q1 to Q4, each answered in one sentence with its interval, and the table that was predicted before anything ran."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from polychrome.reporting.page.words import interval, metric_label, p_value, plain, signed

# What the seed project expected of the four models before it had measured any. None of these numbers is a measurement.
_METRICS = ("pass_at_1", "pass_at_10", "self_bleu", "rouge_l", "engagement")
_EXPECTED = {
    "baseline": (0.42, 0.42, 0.45, 0.35, 0.45),
    "polychromic": (0.40, 0.61, 0.28, 0.33, 0.52),
    "grpo_from_baseline": (0.38, 0.68, 0.35, 0.32, 0.64),
    "grpo_from_polychromic": (0.45, 0.75, 0.30, 0.34, 0.70),
}
PREDICTED = {model: dict(zip(_METRICS, row, strict=True)) for model, row in _EXPECTED.items()}


@dataclass(frozen=True, slots=True)
class Answer:
    """One question as the page puts it."""

    id: str
    question: str
    short: str  # "Yes", "No", "In part", "Not established", or a model's name
    sentence: str
    in_full: str  # the verdict as compare wrote it, on every metric


def answers(comparison: Mapping[str, Any], labels: Mapping[str, str]) -> list[Answer]:
    """The answer to each question of ``comparison.json`` on its primary metric. ``labels``: model -> its name."""
    family, questions = comparison["family"], comparison["questions"]
    everything = [one for question in questions for one in question["contrasts"]]
    made = []
    for question in questions:
        own = [one for one in question["contrasts"] if one["metric"] == family["primary_metric"]]
        if question.get("ranking"):
            short, sentence = _ranked(question["ranking"], everything, family, labels)
        else:
            short, sentence = _short(own), "; ".join(_contrast(one, family, labels) for one in own) + "."
        full = named(question["verdict"], labels)
        made.append(Answer(question["id"], question["question"], short, sentence[0].upper() + sentence[1:], full))
    return made


def named(text: str, labels: Mapping[str, str]) -> str:
    """``text`` with models called by their names, "baseline -> GRPO" for grpo_from_baseline."""
    for model in sorted(labels, key=len, reverse=True):
        if "_" in model:  # the others are words that are their own names
            text = re.sub(rf"(?<![\w/]){re.escape(model)}(?!\w)", lambda _, name=labels[model]: name, text)
    return text


def _short(contrasts: Sequence[Mapping[str, Any]]) -> str:
    """Whether each first model is above its second."""
    signs = {_sign(one) for one in contrasts}
    if len(signs) > 1:
        return "In part" if 1 in signs else "No"  # a loss that is established is said, whatever stands beside it
    return {1: "Yes", 0: "Not established", -1: "No"}[signs.pop()]


def _sign(one: Mapping[str, Any]) -> int:
    if "undefined" in one or not one["different"]:
        return 0
    return 1 if one["difference"] > 0 else -1


def _contrast(one: Mapping[str, Any], family: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    a, b, metric = labels[one["a"]], labels[one["b"]], metric_label(one["metric"])
    if "undefined" in one:
        return f"{a} and {b} cannot be compared on {metric}: {one['undefined']}"
    numbers = _numbers(one, family)
    sign = _sign(one)
    if sign:
        return f"{a} is {'above' if sign > 0 else 'below'} {b} on {metric} by {numbers}"
    return f"no difference between {a} and {b} on {metric} is established, {numbers}{_detectable(one, labels)}"


def _numbers(one: Mapping[str, Any], family: Mapping[str, Any]) -> str:
    found = f"{100 * family['confidence']:g}% interval {interval(one['low'], one['high'], plus=True)}"
    return f"{signed(one['difference'])} ({found}, Holm-corrected {p_value(one['p_holm'])})"


def _detectable(one: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    """The smallest true difference that this run would have seen, and what compare notes of it."""
    smallest = one.get("detectable")
    if smallest is None:
        return ", where too little varies for any true difference to be seen with 80% power"
    notes = [note for note in one.get("notes", ()) if "too little to be seen" in note]
    told = [re.sub(r"\b[ab]\b", lambda found: labels[one[found[0]]], note, count=2) for note in notes]
    room = f" ({'; '.join(told)})" if told else ""
    return f", where a true {plain(smallest)} would be seen with 80% power{room}"


def _ranked(
    ranking: Sequence[Mapping[str, Any]],
    contrasts: Sequence[Mapping[str, Any]],
    family: Mapping[str, Any],
    labels: Mapping[str, str],
) -> tuple[str, str]:
    best, second = ranking[:2]
    metric, first, other = family["primary_metric"], labels[best["model"]], labels[second["model"]]
    level = f"{plain(best['value'])} ({interval(best['low'], best['high'])})"
    one = next(
        (c for c in contrasts if c["metric"] == metric and {c["a"], c["b"]} == {best["model"], second["model"]}), None
    )
    if best["value"] == second["value"]:
        return "None", f"{first} and {other} share the highest {metric_label(metric)}, {level}"
    if one is None or "undefined" in one:
        return first, f"{first} has the highest {metric_label(metric)}, {level}"
    unseen = _detectable(one, labels)
    if one["a"] != best["model"]:
        turned = {"difference": -one["difference"], "low": -one["high"], "high": -one["low"]}
        one = {**one, **turned, "a": one["b"], "b": one["a"]}
    separated = "and is separated" if one["different"] else "but is not separated"
    short = first if one["different"] else "No clear winner"
    tail = "" if one["different"] else unseen
    return short, (
        f"{first} has the highest {metric_label(metric)}, {level}, {separated} from the second, {other}: "
        f"{_numbers(one, family)}{tail}."
    )
