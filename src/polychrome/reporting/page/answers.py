"""The questions, each with a short answer, and the table that was predicted before anything ran."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from polychrome.reporting.names import model_name, named
from polychrome.reporting.words import excluded

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
    ``in_full`` of every metric, as compare wrote it, ``excluded`` the gain that intervals exclude where the answer is
    not established, else "". Beside the sentence stands what compare notes of differences too small to be seen.
    """
    models, primary, made = comparison["models"], comparison["family"]["primary_metric"], []
    everything = [one for question in comparison["questions"] for one in question["contrasts"]]
    for question in comparison["questions"]:
        full = named(question["verdict"], models)
        told = [sentence for sentence in full.removesuffix(".").split(". ") if " also differs on " not in sentence]
        own = [one for one in question["contrasts"] if one["metric"] == primary]
        if question.get("ranking"):
            best, second = question["ranking"][:2]
            pair, told = {best["model"], second["model"]}, told[:1]  # its first sentence names the best
            own = [one for one in everything if {one["a"], one["b"]} == pair and one["metric"] == primary][:1]
            separated = any(one.get("different") for one in own)
            left = [one["high"] if one["a"] == best["model"] else -one["low"] for one in own if _open(one)]
            short = model_name(best["model"]) if separated else "No clear winner"
            short = "None" if best["value"] == second["value"] else short
        else:
            short = _short(own)
            left = [one["high"] for one in own if _open(one)] if short == "Not established" else []
        for one in own:
            for note in [] if one.get("different", True) else one["notes"]:
                if "too little to be seen" in note:  # which calls the two models a and b
                    told.append(re.sub(r"\b[ab]\b", lambda found, of=one: model_name(of[found[0]]), note, count=2))
        sentence = ". ".join(told)
        about = {"id": question["id"], "question": question["question"], "short": short, "in_full": full}
        about["excluded"] = excluded(max(left)) if left else ""
        made.append(about | {"sentence": f"{sentence[0].upper()}{sentence[1:]}."})
    return made


def _open(contrast: Mapping[str, Any]) -> bool:
    """Whether a contrast that could have been established was not."""
    return not contrast.get("different", True) and contrast["detectable"] is not None


def _short(contrasts: Sequence[Mapping[str, Any]]) -> str:
    """Whether each first model is above its second."""
    higher = [None if "undefined" in one or not one["different"] else one["difference"] > 0 for one in contrasts]
    if True in higher:
        return "Yes" if all(higher) else "In part"
    return "No" if False in higher else "Not established"  # an established loss is reported, whatever stands beside it
