"""Where the ruler itself asks for care.

It is saturated, replies were cut, it cannot read a script, or it likes the untouched model best.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from polychrome.engagement.ruler import Ruler
from polychrome.evaluation.results import Results
from polychrome.evaluation.settings import EvaluationSettings
from polychrome.files import Row, read_object, read_objects
from polychrome.measures.words import LANGUAGE
from polychrome.reporting.names import metric_name

SATURATED = 0.95  # of the primary metric; a best model above it has no room left
LEVEL = 0.05  # of the primary metric, within which all models are hardly told apart
CUT = 0.10  # share of a model's replies cut at max_new_tokens, above which that is said
LIKED, SHOWN = 5, 10  # features named, replies shown


def warnings(
    results: Results,
    untouched: Sequence[str],
    evaluations: str | Path,
    settings: EvaluationSettings,
    ruler: Ruler | None,
) -> dict[str, Any]:
    """``sentences``, and the ``replies`` of an untouched model that passes more often than every trained one.

    Reads metrics.json of every model and seed, and replies.jsonl where there is such a model. Raises InputError when
    one is missing or damaged.
    """
    cut = {
        model: sum(
            read_object(_folder(evaluations, model, seed) / "metrics.json")["failures"]["truncated"]
            for seed in results.seeds
        )
        / len(results.seeds)
        for model in results.models
    }
    primary = {model: float(results.values[model][settings.primary].mean()) for model in results.models}
    sentences = [*saturation(primary, metric_name(settings.primary)), *cut_short(cut), *unread(results)]
    first = {model: float(results.values[model][settings.passes[0]].mean()) for model in results.models}
    trained = [model for model in results.models if model not in untouched]
    asked = [model for model in untouched if model in first]
    if not trained or not asked:
        return {"sentences": sentences, "replies": []}
    best, rival = max(asked, key=first.__getitem__), max(trained, key=first.__getitem__)
    if first[best] <= first[rival]:
        return {"sentences": sentences, "replies": []}
    most = f"at most {first[rival]:.3f}, {rival}"
    said = f"{best}, untouched, passes more often ({first[best]:.3f}) than every fine-tuned model ({most})"
    rows = {model: _rows(results, evaluations, model) for model in (best, *trained)}
    if ruler:
        liked = more_liked(ruler, rows[best], [row for model in trained for row in rows[model]])
        said += f": the judge likes its {', '.join(liked)}" if liked else ""
    return {"sentences": [*sentences, f"{said}."], "replies": shown(rows[best])}


def saturation(values: Mapping[str, float], name: str) -> list[str]:
    """What is to be said of the primary metric, called ``name``, of every model."""
    best, worst = (choose(values, key=values.__getitem__) for choose in (max, min))
    said = []
    if values[best] > SATURATED:
        said.append(f"The ruler is saturated: {best} has {name} {values[best]:.3f}, above {SATURATED}.")
    if len(values) > 1 and values[best] - values[worst] <= LEVEL:
        ends = f"{values[worst]:.3f} to {values[best]:.3f}"
        said.append(f"The ruler hardly tells models apart: all lie within {LEVEL} on {name} ({ends}).")
    return said


def cut_short(shares: Mapping[str, float]) -> list[str]:
    """Which models' replies were cut more often than :data:`CUT`, given the share of every model."""
    over = [f"{model} ({share:.0%})" for model, share in shares.items() if share > CUT]
    return [f"More than {CUT:.0%} of replies were cut at max_new_tokens: {', '.join(over)}."] if over else []


def unread(results: Results) -> list[str]:
    """For how many posts of which models the encoder does not know a script, and what is not asked there."""
    counts = {
        model: int(np.isnan(relevance).any(axis=0).sum())
        for model, relevance in zip(results.models, results.relevance(*results.models), strict=True)
    }
    over = [f"{model} ({count} of {results.posts} test posts)" for model, count in counts.items() if count]
    if not over:
        return []
    return [
        "A pass does not ask whether replies are on topic, and what rests on the encoder is "
        f"{LANGUAGE}, where it does not know the script of the post or of a reply: {', '.join(over)}."
    ]


def more_liked(ruler: Ruler, ours: Sequence[Row], theirs: Sequence[Row]) -> list[str]:
    """What adds the most to the mean prediction for the replies of ``ours`` against ``theirs``, the most first."""
    mine, others = (
        ruler.contributions([row["post"] for row in rows], [row["text"] for row in rows]) for rows in (ours, theirs)
    )
    more = {name: mine.get(name, 0.0) - others.get(name, 0.0) for name in {*mine, *others}}
    order = sorted((name for name in more if more[name] > 0), key=lambda name: (-more[name], name))
    return [f"\u201c{name}\u201d (+{more[name]:.3f})" for name in order[:LIKED]]


def shown(rows: Sequence[Row]) -> list[Row]:
    """The most engaging passing reply of each post, of those the ten most engaging: post, text, engagement."""
    found: dict[str, Row] = {}
    for row in rows:
        if row["passes"] and (row["post"] not in found or row["engagement"] > found[row["post"]]["engagement"]):
            found[row["post"]] = row
    best = sorted(found.values(), key=lambda row: (-row["engagement"], row["post"]))[:SHOWN]
    return [{key: row[key] for key in ("post", "text", "engagement")} for row in best]


def _rows(results: Results, evaluations: str | Path, model: str) -> list[Row]:
    """Every reply of ``model`` with all seeds, and its post."""
    files = [read_objects(_folder(evaluations, model, seed) / "replies.jsonl") for seed in results.seeds]
    return [reply | {"post": line["post"]} for lines in files for line in lines for reply in line["replies"]]


def _folder(evaluations: str | Path, model: str, seed: int) -> Path:
    return Path(evaluations) / model / f"seed-{seed}"
