"""The argument: all models in a table, arms contrasted post by post, the questions answered, the criteria judged."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from polychrome.engagement.ruler import Ruler
from polychrome.errors import Problems
from polychrome.evaluation.contrasts import (
    Contrast,
    add_detectable,
    all_contrasts,
    described,
    find,
    in_words,
    numbers,
    verdict,
)
from polychrome.evaluation.criteria import Evidence, judge_criteria, read_verdicts
from polychrome.evaluation.experiment import ExperimentSettings
from polychrome.evaluation.metrics import CONTRASTED, ENCODED, SHOWN, compared, contrasted, why_undefined
from polychrome.evaluation.power import POWER
from polychrome.evaluation.results import Results, read_results
from polychrome.evaluation.settings import EvaluationSettings
from polychrome.evaluation.statistics import defined, interval_of, mean_of, spreads
from polychrome.evaluation.warnings import warnings
from polychrome.files import tidy, write_csv, write_json, write_text
from polychrome.measures.passk import check_ks
from polychrome.measures.words import LANGUAGE
from polychrome.reporting.names import metric_name

HUMAN = ("pass_at_1", "engagement")  # metrics of metrics.json that one human reply a post has


def compare(
    models: Sequence[str],
    seeds: Sequence[int],
    experiment: ExperimentSettings,
    settings: EvaluationSettings,
    *,
    evaluations: str | Path = "results/evaluation",
    gaming: str | Path = "results/gaming",
    out: str | Path = "results",
    ruler: Ruler | None = None,
    untouched: Sequence[str] = (),
) -> dict[str, Any]:
    """Write the comparison of all ``models`` and ``seeds`` into ``out``; returns what success_criteria.json holds.

    Reads per_post.json and metrics.json in ``<evaluations>/<model>/seed-<n>``, the replies of models that the ruler
    likes too well, and ``<gaming>/<arm>/seed-<n>/verdict.json`` of the arms that must not have gamed their reward.
    Writes metrics.json, comparison.json, success_criteria.json, pass_at_k.csv,
    plane.csv and table.md. Where the ``ruler`` knows ideal policies, the Pass@k that they reach stands beside the
    models' in pass_at_k.csv and table.md. A failed criterion is a finding, not an error. Raises InputError naming every
    model and seed that is missing or measured on other posts, and every verdict that is missing; then nothing is
    written.
    """
    problems = Problems()
    with problems.caught():
        results = read_results(models, seeds, evaluations, settings)
    with problems.caught():
        verdicts = read_verdicts(experiment.judged, seeds, gaming)
    problems.raise_any()
    check_ks(results.samples, settings.ks)
    contrasts = all_contrasts(results, experiment.pairs, settings)
    add_detectable(contrasts, results, settings)
    ideals = ruler.ideals(results.samples) if ruler else {}
    criteria = judge_criteria(Evidence(results, contrasts, verdicts, experiment, settings, ideals))
    care = {"warnings": warnings(results, untouched, evaluations, settings, ruler)}
    out = Path(out)
    write_json(out / "metrics.json", tidy(metrics(results, settings)))
    write_json(out / "comparison.json", tidy(comparison(results, contrasts, experiment, settings) | care))
    write_json(out / "success_criteria.json", tidy(criteria))
    write_csv(out / "pass_at_k.csv", tidy(pass_curves(results, settings, ideals)), floats=str)
    write_csv(out / "plane.csv", tidy(plane(results, settings)), floats=str)
    write_text(out / "table.md", table(results, settings, ideals))
    return criteria


# --- the answers ------------------------------------------------------------------------------------------------------


def comparison(
    results: Results, contrasts: Sequence[Contrast], experiment: ExperimentSettings, settings: EvaluationSettings
) -> dict[str, Any]:
    """What comparison.json holds: each question with its contrasts and a verdict in a sentence, and every mean."""
    answered = []
    for question in experiment.questions:
        own = [[find(contrasts, a, b, metric) for metric in contrasted(settings)] for a, b in question.contrasts]
        answer: dict[str, Any] = {"id": question.id, "question": question.text}
        answer["contrasts"] = [
            described(contrast, settings, results.relevance(contrast.a, contrast.b))
            for of_pair in own
            for contrast in of_pair
        ]
        sentences = [verdict(of_pair, settings) for of_pair in own]
        if question.rank:
            answer["ranking"], best = rank(results, contrasts, tuple(experiment.compared), settings)
            sentences.insert(0, best)
        answered.append(answer | {"verdict": " ".join(sentences)})
    tests = sum(contrast.p_holm is not None for contrast in contrasts)
    family = {
        "tests": tests,
        "alpha": settings.alpha,
        "confidence": settings.confidence,
        "correction": f"Holm over all contrasts and metrics of {experiment.asked}",
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
    models = {model: means(results, model, settings) for model in results.models}
    lacking = {"not_for_this_language": found} if (found := not_for_this_language(results)) else {}
    return {"questions": answered, "family": family, "models": models} | lacking


def not_for_this_language(results: Results) -> list[str]:
    """The metrics that no model has since the encoder does not know the script."""
    return [
        metric
        for metric in ENCODED
        if not any(defined(values[metric]).size for values in results.values.values())
        and all(why_undefined(metric, relevance) == LANGUAGE for relevance in results.relevance(*results.models))
    ]


def rank(
    results: Results, contrasts: Sequence[Contrast], arms: Sequence[str], settings: EvaluationSettings
) -> tuple[list[dict[str, Any]], str]:
    """``arms`` from best to worst on the primary metric, and whether the best is separated from the second."""
    primary, name = settings.primary, metric_name(settings.primary)
    level = {arm: results.values[arm][primary].mean() for arm in arms}
    order = sorted(arms, key=lambda arm: -round(level[arm], 12))
    best, second = order[:2]
    ranking = []
    for place, arm in enumerate(order, start=1):
        of = mean_of(results.values[arm][primary], settings)
        ranking.append({"rank": place, "model": arm, "value": of.mean, "low": of.low, "high": of.high})
    if round(level[best] - level[second], 12) == 0:
        return ranking, f"{best} and {second} share the highest {name}: no model is best."
    contrast = find(contrasts, best, second, primary)
    if contrast is None:
        return ranking, f"{best} has the highest {name}; no question contrasts it with the second, {second}."
    state, said = "is separated from", numbers(contrast, settings)
    if not contrast.is_different(settings.alpha):
        state, said = "is not separated from", f"{said}; {in_words(contrast)}"
    return ranking, f"{best} has the highest {name}; it {state} the second, {second}: {said}."


def means(results: Results, model: str, settings: EvaluationSettings) -> dict[str, Any]:
    """Metric -> mean and interval of one model, and how much it varies over posts and over seeds."""
    found: dict[str, Any] = {}
    for metric in compared(settings):
        values = defined(results.values[model][metric])
        if interval := interval_of(values, settings):
            found[metric] = asdict(interval) | spreads(values) | {"posts": values.shape[1]}
    return found


# --- tables -----------------------------------------------------------------------------------------------------------


def metrics(results: Results, settings: EvaluationSettings) -> dict[str, dict[str, float]]:
    """Model -> contrasted metric -> mean, without what is undefined; ``human`` has the few that one reply has."""
    wanted = [(model, values, contrasted(settings)) for model, values in results.values.items()]
    return {
        model: {name: found.mean for name in names if (found := interval_of(values[name], settings))}
        for model, values, names in (*wanted, ("human", results.human, HUMAN))
    }


def pass_curves(
    results: Results, settings: EvaluationSettings, ideals: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
    """Pass@k for k = 1..n of every model, with intervals: the rows of pass_at_k.csv. Of the ideals it is exact."""
    ks = range(1, results.samples + 1)
    curves = [(model, k, curve[..., k - 1]) for model, curve in results.pass_curve.items() for k in ks]
    rows = []
    for model, k, values in (*curves, ("human", 1, results.human["pass_at_1"])):
        at = mean_of(values, settings)
        rows.append({"model": model, "k": k, "value": at.mean, "low": at.low, "high": at.high})
    exact = [(name, k, float(curve[k - 1])) for name, curve in ideals.items() for k in ks]
    return rows + [{"model": name, "k": k, "value": at, "low": at, "high": at} for name, k, at in exact]


def plane(results: Results, settings: EvaluationSettings) -> list[dict[str, Any]]:
    """Quality against diversity, a row a model: the rows of plane.csv. Empty where a metric is undefined."""
    rows = []
    for model, values in results.values.items():
        row: dict[str, Any] = {"model": model}
        for name in ("semantic_diversity", "self_bleu", settings.passes[0], settings.primary, "engagement"):
            at = interval_of(values[name], settings)
            row |= {name: at and at.mean, f"{name}_low": at and at.low, f"{name}_high": at and at.high}
        rows.append(row)
    return rows


def table(results: Results, settings: EvaluationSettings, ideals: Mapping[str, np.ndarray]) -> str:
    """All models in a markdown table: mean [low, high] over posts and seeds; no column for what no model has."""
    every = (*settings.passes, *CONTRASTED, *SHOWN)
    names = [name for name in every if any(defined(values[name]).size for values in results.values.values())]
    lines = ["| model | " + " | ".join(metric_name(name) for name in names) + " |", "|---|" + "---|" * len(names)]
    for model, values in (*results.values.items(), ("human reply", results.human)):
        found = [interval_of(values[name], settings) if name in values else None for name in names]
        cells = [f"{at.mean:z.3f} [{at.low:z.3f}, {at.high:z.3f}]" if at else "-" for at in found]
        lines.append(f"| {model} | " + " | ".join(cells) + " |")
    for name, curve in ideals.items():
        exact = [f"{curve[k - 1]:.3f}" for k in sorted(settings.ks)]
        lines.append(f"| {' | '.join([name, *exact, *['-'] * (len(names) - len(exact))])} |")
    seeds = ", ".join(map(str, results.seeds))
    absent = ", ".join(map(metric_name, not_for_this_language(results)))
    lines += [
        "",
        f"Mean [{100 * settings.confidence:g}% interval] over {results.posts} test posts, {results.samples} replies "
        f"to each; seeds: {seeds}. A dash: not defined."
        + (f" {LANGUAGE.capitalize()}, whose script the encoder does not know: {absent}." if absent else ""),
    ]
    return "\n".join(lines) + "\n"
