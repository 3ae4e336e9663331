"""Compare the results of two revisions or experiments: paired differences, with intervals.

A and B are whatever Git or DVC knows: a branch, a tag, a commit, an experiment, or `workspace`, the default for B.
Models in both are compared post by post, over the seeds and test posts that both have; p is corrected over all tests
by Holm's method. With --ratings: what people answered on pages of `polychrome rate`, and whether the judge agrees.
"""

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from polychrome.errors import InputError, bad
from polychrome.files import tidy

if TYPE_CHECKING:
    from polychrome.evaluation.evaluate import Measured
    from polychrome.evaluation.settings import EvaluationSettings

WORKSPACE = "workspace"
EVALUATIONS = "results/evaluation"
Runs = Mapping[tuple[str, int], "Measured"]  # (model, seed) -> what was measured


def arguments(parser: ArgumentParser) -> None:
    """What the command is given."""
    parser.add_argument("a", nargs="?", metavar="A", help="a revision or experiment")
    parser.add_argument("b", nargs="?", default=WORKSPACE, metavar="B", help="another (default: %(default)s)")
    parser.add_argument("--ratings", nargs="+", metavar="FILE", help="answers saved by pages of `polychrome rate`")
    parser.add_argument("--all", action="store_true", help="also metrics on which A and B do not differ beyond chance")
    parser.add_argument("--json", action="store_true", help="one JSON object, with every metric")


def run(asked: Namespace) -> None:
    """Compare two revisions, or report ratings."""
    from polychrome.params import load_params

    settings = load_params().evaluation
    if bool(asked.a) == bool(asked.ratings):
        raise bad("polychrome compare", "both" if asked.a else "neither", "A [B], or --ratings", "Give one of them.")
    if asked.ratings:
        from polychrome.commands.ratings import in_words, read_ratings, summary

        result = summary(read_ratings(asked.ratings), settings)
        text = in_words(result)
    else:
        with at(asked.a) as first, at(asked.b) as second:
            result = compared(measured(first), measured(second), settings)
            result |= {"a": asked.a, "b": asked.b, "params": changed(first, second)}
        text = as_tables(result, asked.all)
    print(json.dumps(tidy(result), ensure_ascii=False, indent=2) if asked.json else text)


@contextmanager
def at(revision: str) -> Iterator[Path]:
    """A folder with params.yaml and every per_post.json of ``revision``, while the context lasts.

    Raises InputError for a revision that is not known, that has no results, or whose results are not in the DVC cache.
    """
    if revision == WORKSPACE:
        yield Path()
        return
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc_data.index import DataIndexDirError
    from scmrepo.exceptions import SCMError

    with TemporaryDirectory() as folder:
        try:
            there = DVCFileSystem(".", rev=revision)
            wanted = [path for path in there.find(EVALUATIONS) if path.endswith("/per_post.json")]
            for path in ("params.yaml", *wanted):
                (into := Path(folder) / path).parent.mkdir(parents=True, exist_ok=True)
                into.write_bytes(there.read_bytes(path))
        except (DvcException, DataIndexDirError, SCMError, OSError) as error:
            expected = "a revision or experiment whose results are at hand"
            remedy = "See `git log` and `dvc exp list`; `dvc fetch --all-commits` brings results here."
            raise bad(revision, _first_line(error), expected, remedy) from error
        try:
            yield Path(folder)
        except InputError as error:  # what is wrong with a file is said of the revision, not of a copy that is gone
            here = f"{folder}/"
            problems = [replace(one, where=one.where.replace(here, f"{revision}:")) for one in error.problems]
            raise InputError(problems) from error


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip() or 'nothing said').splitlines()[0]}"


def measured(root: Path) -> Runs:
    """Every model and seed that was evaluated below ``root``. Raises InputError when nothing was."""
    from polychrome.evaluation.evaluate import read_per_post

    files = sorted((root / EVALUATIONS).glob("*/seed-*/per_post.json"))
    if not files:
        raise bad(str(root / EVALUATIONS), "no results", "per_post.json of one model or more", "Run `dvc repro`.")
    return {(path.parts[-3], int(path.parts[-2].removeprefix("seed-"))): read_per_post(path) for path in files}


def compared(a: Runs, b: Runs, settings: "EvaluationSettings") -> dict[str, Any]:
    """Every contrasted metric of every model in both, b minus a, Holm-corrected as one family.

    Raises InputError when no model has a seed in common, or no two test posts are the same.
    """
    from polychrome.evaluation.contrasts import Contrast, described
    from polychrome.evaluation.metrics import contrasted
    from polychrome.evaluation.statistics import compare_paired, holm

    both = sorted(a.keys() & b.keys())
    models = list(dict.fromkeys(model for model, _ in both))
    if not both:
        raise bad("A and B", "no model with a seed in common", "one in both", "Compare runs of the same models.")
    posts = [post for post in a[both[0]].posts if all(post in run.posts for runs in (a, b) for run in _of(runs, both))]
    if len(posts) < 2:
        raise bad("A and B", f"{len(posts)} test posts in common", "two or more", "Compare runs with the same split.")
    contrasts, same, relevance = [], [], {}
    for model in models:
        seeds = [seed for name, seed in both if name == model]
        names = [n for n in contrasted(settings) if all(n in r[model, s].metrics for r in (a, b) for s in seeds)]
        values = [{n: _table(runs, model, seeds, posts, n) for n in names} for runs in (a, b)]
        if all("relevance" in r[model, s].metrics for r in (a, b) for s in seeds):
            relevance[model] = [_table(runs, model, seeds, posts, "relevance") for runs in (a, b)]
        if all(np.array_equal(values[0][name], values[1][name], equal_nan=True) for name in names):
            same.append(model)
            continue
        for name in names:
            contrasts.append(Contrast(model, model, name, compare_paired(values[1][name], values[0][name], settings)))
    tested = [contrast for contrast in contrasts if contrast.effect]
    for contrast, p in zip(tested, holm([c.effect.p for c in tested if c.effect]), strict=True):
        contrast.p_holm = p
    rows = [
        {"model": c.a, **{k: v for k, v in described(c, settings, relevance.get(c.a, ())).items() if k not in "ab"}}
        for c in contrasts
    ]
    only = {side: sorted({model for model, _ in runs} - set(models)) for side, runs in (("a", a), ("b", b))}
    about = {"posts": len(posts), "tests": len(tested), "confidence": settings.confidence}
    return {"contrasts": rows, "unchanged": same, "only": only, **about}


def _of(runs: Runs, keys: Sequence[tuple[str, int]]) -> Iterator["Measured"]:
    return (runs[key] for key in keys)


def _table(runs: Runs, model: str, seeds: Sequence[int], posts: Sequence[str], metric: str) -> np.ndarray:
    """``metric`` (seeds, posts), the posts in this order."""
    rows = []
    for seed in seeds:
        run = runs[model, seed]
        place = {post: i for i, post in enumerate(run.posts)}
        rows.append(run.metrics[metric][[place[post] for post in posts]])
    return np.stack(rows)


def changed(a: Path, b: Path) -> dict[str, list[Any]]:
    """Dotted key of params.yaml -> [its value below ``a``, below ``b``], where they differ; None: it is not there."""
    from ruamel.yaml import YAML

    first, second = (dict(_flat(YAML(typ="safe").load((root / "params.yaml").read_text("utf-8")))) for root in (a, b))
    keys = [key for key in {**first, **second} if first.get(key) != second.get(key)]
    return {key: [first.get(key), second.get(key)] for key in keys}


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _flat(item, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


def as_tables(result: Mapping[str, Any], everything: bool) -> str:
    """The comparison as it is printed: the parameters that differ, then a table a model."""
    from polychrome.measures.words import LANGUAGE
    from polychrome.reporting.names import metric_name

    a, b = result["a"], result["b"]
    lines = [f"{key}: {old!r} in {a}, {new!r} in {b}" for key, (old, new) in result["params"].items()]
    lines = lines or ["params.yaml is the same"]
    interval = f"{100 * result['confidence']:g}% interval"
    hidden = 0
    for model in dict.fromkeys(row["model"] for row in result["contrasts"]):
        own = [row for row in result["contrasts"] if row["model"] == model]
        told = [row["metric"].startswith("pass_at_") or row.get("undefined") == LANGUAGE for row in own]
        shown = [row for row, say in zip(own, told, strict=True) if everything or say or row.get("different")]
        hidden += len(own) - len(shown)
        lines += ["", f"{model}", f"  {'':32} {a:>12} {b:>12}   difference ({interval}), p after Holm"]
        lines += [f"  {metric_name(row['metric']):32} {_numbers(row)}" for row in shown]
    lines.append("")
    if result["unchanged"]:
        lines.append(f"the same to the last digit: {', '.join(result['unchanged'])}")
    lines += [f"only in {result[side]}: {', '.join(names)}" for side, names in result["only"].items() if names]
    lines.append(f"{result['posts']} test posts, {result['tests']} tests; * differs beyond chance")
    if hidden:
        lines.append(f"{hidden} other metrics do not differ beyond chance: --all shows them")
    return "\n".join(lines)


def _numbers(row: Mapping[str, Any]) -> str:
    if "undefined" in row:
        return str(row["undefined"])
    star = " *" if row["different"] else ""
    between = f"{row['difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f}), p = {row['p_holm']:.3f}{star}"
    return f"{row['mean_b']:12.3f} {row['mean_a']:12.3f}   {between}"
