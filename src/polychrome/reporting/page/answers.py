"""The questions, each with a short answer, and the table that was predicted before anything ran."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from polychrome.reporting.names import model_name, named

# What the seed project expected of the four models before it had measured any. None of these numbers is a measurement.
_METRICS = ("pass_at_1", "pass_at_10", "self_bleu", "rouge_l", "engagement")
_EXPECTED = {
    "baseline": (0.42, 0.42, 0.45, 0.35, 0.45),
    "polychromic": (0.40, 0.61, 0.28, 0.33, 0.52),
    "grpo_from_baseline": (0.38, 0.68, 0.35, 0.32, 0.64),
    "grpo_from_polychromic": (0.45, 0.75, 0.30, 0.34, 0.70),
}
PREDICTED = {model: dict(zip(_METRICS, row, strict=True)) for model, row in _EXPECTED.items()}


def answers(comparison: Mapping[str, Any]) -> list[dict[str, str]]:
    """The answer to each question of ``comparison.json``.

    ``short`` is "Yes", "No", "In part", "Not established" or a model's name, ``sentence`` of the primary metric and
    ``in_full`` of every metric, as compare wrote it.
    """
    models, primary, made = comparison["models"], comparison["family"]["primary_metric"], []
    for question in comparison["questions"]:
        full, ranking = named(question["verdict"], models), question.get("ranking")
        own = [one for one in question["contrasts"] if one["metric"] == primary]
        told = [sentence for sentence in full.removesuffix(".").split(". ") if " also differs on " not in sentence]
        if ranking:  # its first sentence names the best
            told, own = told[:1], _between(ranking[:2], comparison)
        sentence = ". ".join([*told, *(note for one in own for note in _unseen(one))])
        short = _winner(ranking, own) if ranking else _short(own)
        told = {"short": short, "sentence": f"{sentence[0].upper()}{sentence[1:]}.", "in_full": full}
        made.append({"id": question["id"], "question": question["question"]} | told)
    return made


def _unseen(one: Mapping[str, Any]) -> list[str]:
    """What compare notes of differences that could not have been seen, with the models' names for a and b."""
    notes = [] if one.get("different", True) else [note for note in one["notes"] if "too little to be seen" in note]
    return [re.sub(r"\b[ab]\b", lambda found: model_name(one[found[0]]), note, count=2) for note in notes]


def _short(contrasts: Sequence[Mapping[str, Any]]) -> str:
    """Whether each first model is above its second."""
    signs = {_sign(one) for one in contrasts}
    if len(signs) > 1:
        return "In part" if 1 in signs else "No"  # an established loss is reported, whatever stands beside it
    return {1: "Yes", 0: "Not established", -1: "No"}[signs.pop()]


def _sign(one: Mapping[str, Any]) -> int:
    if "undefined" in one or not one["different"]:
        return 0
    return 1 if one["difference"] > 0 else -1


def _between(two: Sequence[Mapping[str, Any]], comparison: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The contrast of two ranked models on the primary metric, if any question has it."""
    pair, primary = {one["model"] for one in two}, comparison["family"]["primary_metric"]
    everything = [one for question in comparison["questions"] for one in question["contrasts"]]
    return [one for one in everything if {one["a"], one["b"]} == pair and one["metric"] == primary][:1]


def _winner(ranking: Sequence[Mapping[str, Any]], tested: Sequence[Mapping[str, Any]]) -> str:
    """The best model, unless a test says that it is not separated from the second."""
    if ranking[0]["value"] == ranking[1]["value"]:
        return "None"
    separated = all("undefined" in one or one["different"] for one in tested)
    return model_name(ranking[0]["model"]) if separated else "No clear winner"
