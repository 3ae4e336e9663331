"""The argument: all models in one table, the four of the comparison contrasted post by post, the criteria judged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polychrome.audit.gaming import read_verdicts
from polychrome.bootstrap import Interval
from polychrome.errors import InputError, Problem
from polychrome.evaluation.contrasts import add_detectable, all_contrasts, answer
from polychrome.evaluation.criteria import judge_criteria
from polychrome.evaluation.passk import check_ks, pass_at_k
from polychrome.evaluation.results import (
    BESIDE,
    HEADLINE,
    Results,
    Roles,
    Settings,
    label,
    mean_interval,
    read_results,
)
from polychrome.files import write_json, write_text

DIGITS = 6  # significant, in every file: what is beyond them is rounding, not measurement
Verdicts = dict[str, list[dict[str, Any]]]  # GRPO arm -> the verdict on each seed
HUMAN = ("pass_at_1", "engagement")  # headline metrics that one human reply a post has


def compare(
    models: Sequence[str],
    seeds: Sequence[int],
    *,
    settings: Settings,
    roles: Roles | None = None,
    evaluations: str | Path = "results/evaluation",
    gaming: str | Path = "results/gaming",
    out: str | Path = "results",
) -> dict[str, Any]:
    """Write the comparison of all ``models`` and ``seeds`` into ``out``; returns what success_criteria.json holds.

    Reads ``<evaluations>/<model>/seed-<n>/per_post.json`` and, for the GRPO arms, ``<gaming>/<arm>/seed-<n>/
    verdict.json``. Writes metrics.json, comparison.json, success_criteria.json, pass_at_k.csv, plane.csv and table.md.
    A failed criterion is a finding, not an error. Raises InputError naming every model and seed that is missing or
    measured on other posts; then nothing is written.
    """
    roles = roles or Roles()
    results, verdicts = _read(models, seeds, Path(evaluations), Path(gaming), roles, settings)
    check_ks(results.samples, settings.ks)
    contrasts = all_contrasts(results, roles, settings)
    add_detectable(contrasts, results, settings)
    comparison = answer(results, contrasts, roles, settings)
    criteria = judge_criteria(results, contrasts, verdicts, roles, settings)
    out = Path(out)
    write_json(out / "metrics.json", _tidy(metrics(results, settings)))
    write_json(out / "comparison.json", _tidy(comparison))
    write_json(out / "success_criteria.json", _tidy(criteria))
    write_text(out / "pass_at_k.csv", _csv(pass_curves(results, settings)))
    write_text(out / "plane.csv", _csv(plane(results, settings)))
    write_text(out / "table.md", table(results, settings))
    return criteria


def _read(
    models: Sequence[str], seeds: Sequence[int], evaluations: Path, gaming: Path, roles: Roles, settings: Settings
) -> tuple[Results, Verdicts]:
    """Evaluations, and verdicts on the GRPO arms; what is wrong with either is told in one error."""
    problems: list[Problem] = []
    results: Results | None = None
    verdicts: Verdicts = {}
    try:
        results = read_results(models, seeds, evaluations, roles, settings)
    except InputError as error:
        problems += error.problems
    try:
        verdicts = read_verdicts(tuple(roles.warmstart_of), seeds, gaming)
    except InputError as error:
        problems += error.problems
    if problems or results is None:
        raise InputError(problems)
    return results, verdicts


def metrics(results: Results, settings: Settings) -> dict[str, dict[str, float]]:
    """Model -> headline metric -> mean, without what is undefined; ``human`` has the few that one reply has."""
    rows = {
        model: {name: mean_interval(values[name], settings) for name in settings.headline}
        for model, values in results.values.items()
    }
    rows["human"] = {name: mean_interval(results.human[name], settings) for name in HUMAN}
    return {
        model: {name: interval.mean for name, interval in row.items() if interval is not None}
        for model, row in rows.items()
    }


def pass_curves(results: Results, settings: Settings) -> list[dict[str, Any]]:
    """Pass@k for k = 1..n of every model, with intervals: the rows of pass_at_k.csv."""
    rows = []
    for model, passing in results.passing.items():
        for k in range(1, results.samples + 1):
            interval = mean_interval(pass_at_k(results.samples, passing, k), settings)
            assert interval is not None  # Pass@k is defined for every post
            rows.append({"model": model, "k": k, "value": interval.mean, "low": interval.low, "high": interval.high})
    human = mean_interval(results.human["pass_at_1"], settings)
    assert human is not None  # every post has a human reply
    return [*rows, {"model": "human", "k": 1, "value": human.mean, "low": human.low, "high": human.high}]


def plane(results: Results, settings: Settings) -> list[dict[str, Any]]:
    """Quality against diversity, a row a model: the rows of plane.csv. Empty where a metric is undefined."""
    rows = []
    for model, values in results.values.items():
        row: dict[str, Any] = {"model": model}
        for name in ("semantic_diversity", "self_bleu", f"pass_at_{min(settings.ks)}", settings.primary, "engagement"):
            interval = mean_interval(values[name], settings)
            row |= {
                name: interval and interval.mean,
                f"{name}_low": interval and interval.low,
                f"{name}_high": interval and interval.high,
            }
        rows.append(row)
    return rows


def table(results: Results, settings: Settings) -> str:
    """All models in a markdown table: mean [low, high] over posts and seeds."""
    names = (*(f"pass_at_{k}" for k in sorted(settings.ks)), *HEADLINE, *BESIDE)
    lines = [
        "| model | " + " | ".join(label(name) for name in names) + " |",
        "|---|" + "---|" * len(names),
    ]
    for model, values in (*results.values.items(), ("human reply", results.human)):
        cells = [_cell(mean_interval(values[name], settings) if name in values else None) for name in names]
        lines.append(f"| {model} | " + " | ".join(cells) + " |")
    seeds = ", ".join(map(str, results.seeds))
    lines += [
        "",
        f"Mean [{100 * settings.confidence:g}% interval] over {results.posts} test posts, {results.samples} replies "
        f"to each; seeds: {seeds}. A dash: not defined.",
    ]
    return "\n".join(lines) + "\n"


def _cell(interval: Interval | None) -> str:
    return "-" if interval is None else f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def _tidy(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: _tidy(item) for key, item in value.items()}
    return [_tidy(item) for item in value] if isinstance(value, list | tuple) else value


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    lines = [",".join(rows[0])]
    lines += [",".join("" if value is None else str(value) for value in _tidy(row).values()) for row in rows]
    return "\n".join(lines) + "\n"
