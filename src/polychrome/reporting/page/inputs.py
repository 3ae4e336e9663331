"""What the page is made from: every file is read and checked here, and all that is wrong is told at once."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from polychrome.errors import InputError, Problem, bad
from polychrome.files import read_json

Row = dict[str, float]
Read = TypeVar("Read")

TRAINING = ("reward", "kl", "diversity")  # curves over training that the page draws
_CURVE, _BOUNDS = ("step", "kl", "proxy", "judge"), ("proxy_low", "proxy_high", "judge_low", "judge_high")
_PASS = ("k", "value", "low", "high")
_PLANE = tuple(f"{name}{end}" for name in ("semantic_diversity", "pass_at_1") for end in ("", "_low", "_high"))
_REPRO = "Run the stage that makes it: `dvc repro`."
_NUMBER = (int, float)

# Keys that the page reads, and their types: a dict is an object with these keys, a list of one is a list of such.
_CONTRAST = {"a": str, "b": str, "metric": str}
_COMPARISON = {
    "family": {"primary_metric": str, "confidence": _NUMBER, "alpha": _NUMBER, "posts": int, "samples": int},
    "questions": [{"id": str, "question": str, "verdict": str, "contrasts": [_CONTRAST]}],
    "models": dict,  # model -> metric -> mean, low, high, sd_posts, sd_seeds
}
_CRITERIA = {
    "criteria": [{"level": str, "name": str, "text": str, "comparison": str, "verdict": str}],
    "summary": dict,
}
_SPEARMAN = {
    f"{name}{end}": _NUMBER for name in ("spearman", "spearman_of_reply_length_alone") for end in ("", "_low", "_high")
}
_JUDGE = _SPEARMAN | {"pairs": int, "conversations": int, "verdict": str}
_POINT = {name: _NUMBER for name in ("predicted", "actual", "low", "high", "pairs")}
_REWARD = _SPEARMAN | {
    "pairs": int,
    "conversations": int,
    "held_out_pairs": int,
    "p_against_length": _NUMBER,
    "pairwise_accuracy": _NUMBER,
    "pairwise_accuracy_low": _NUMBER,
    "pairwise_accuracy_high": _NUMBER,
    "calibration": [_POINT],
    "error_by_quartile": [(int, float, type(None))],  # null: ties leave the quartile without a pair
    "ceiling": dict,
    "verdict": str,
}
_CLEANING = {"candidates": int, "kept": int, "conversations": int, "dropped": dict, "source": str}
_SPLIT = {
    "chi_square": {"p": _NUMBER},
    "kolmogorov_smirnov": dict,
    "overlap": dict,
    "parts": dict,
    "left_out": dict,
    "settings": dict,
}
_VERDICT = {
    "arm": str,
    "seed": int,
    "verdict": str,
    "text": str,
    "conclusive": bool,
    "checks": [{"name": str, "text": str, "comparison": str, "verdict": str}],
}
_GAP = {"step": int, "post": str, "reply": str, "proxy": _NUMBER, "judge": _NUMBER, "gap": _NUMBER}
_SCORED = {
    "text": str,
    "engagement": _NUMBER,
    "relevance": _NUMBER,
    "well_formed": bool,
    "passes": bool,
    "failures": [str],
}
_REPLIES = {"id": str, "post": str, "human": _SCORED, "replies": [_SCORED]}
_EVALUATION = {"failures": dict, "human_failures": dict}


@dataclass(frozen=True, slots=True)
class Gaming:
    """One GRPO run put to the question whether it gamed its reward."""

    verdict: Mapping[str, Any]
    curve: Sequence[Row]  # a row a step
    gaps: Sequence[Mapping[str, Any]]  # the replies with the largest proxy minus judge


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that the page shows, but for wall times."""

    models: tuple[str, ...]
    untouched: tuple[str, ...]
    seeds: tuple[int, ...]
    ks: tuple[int, ...]
    comparison: Mapping[str, Any]
    criteria: Mapping[str, Any]
    pass_at_k: Mapping[str, Sequence[Row]]
    plane: Mapping[str, Row]
    training: Mapping[str, Mapping[int, Mapping[str, Sequence[tuple[int, float]]]]]  # arm -> seed -> metric -> points
    gaming: Mapping[str, Mapping[int, Gaming]]  # arm -> seed -> run
    evaluations: Mapping[str, Mapping[int, Mapping[str, Any]]]  # model -> seed -> metrics.json
    replies: Mapping[str, Mapping[int, Sequence[Mapping[str, Any]]]]  # model -> seed -> a row a post
    judge: Mapping[str, Any]
    reward: Mapping[str, Any]
    cleaning: Mapping[str, Any]
    split: Mapping[str, Any]
    controls: Mapping[str, Any] = field(default_factory=dict)  # name -> result; empty when the stage was not run
    betas: Sequence[Row] = ()  # rows of the over-optimisation curves at several weights of the KL
    llm_judge: Mapping[str, Any] = field(default_factory=dict)

    @property
    def measured(self) -> Mapping[str, Mapping[str, Mapping[str, float]]]:
        """Model -> metric -> mean, low, high; without metrics that are undefined."""
        return self.comparison["models"]

    @property
    def grpo_arms(self) -> tuple[str, ...]:
        """The models that GRPO trained."""
        return tuple(model for model in self.models if _climbs(self.training.get(model, {})))


def read_inputs(
    results: str | Path,
    data: str | Path,
    *,
    models: Sequence[str],
    untouched: Sequence[str],
    seeds: Sequence[int],
    ks: Sequence[int],
) -> Inputs:
    """Read all result files of ``models`` and ``seeds``.

    Raises one InputError that names every file that is missing or damaged. Only ``results/controls`` and
    ``results/llm_judge`` may be absent.
    """
    results, data = Path(results), Path(data)
    read = _Reader()
    trained = [model for model in models if model not in untouched]
    training = {arm: {seed: read.curves(results / f"training/{arm}/seed-{seed}") for seed in seeds} for arm in trained}
    climbing = [arm for arm in trained if _climbs(training[arm])]
    evaluation = {(m, s): results / f"evaluation/{m}/seed-{s}" for m in models for s in seeds}
    inputs = Inputs(
        models=tuple(models),
        untouched=tuple(untouched),
        seeds=tuple(seeds),
        ks=tuple(ks),
        comparison=read.json(results / "comparison.json", _COMPARISON),
        criteria=read.json(results / "success_criteria.json", _CRITERIA),
        pass_at_k=read.pass_at_k(results / "pass_at_k.csv"),
        plane={str(row.pop("model")): row for row in read.csv(results / "plane.csv", _PLANE)},
        training=training,
        gaming=read.gaming(results / "gaming", climbing, seeds),
        evaluations={
            model: {seed: read.json(evaluation[model, seed] / "metrics.json", _EVALUATION) for seed in seeds}
            for model in models
        },
        replies={
            model: {seed: read.jsonl(evaluation[model, seed] / "replies.jsonl", _REPLIES) for seed in seeds}
            for model in models
        },
        judge=read.json(results / "judge.json", _JUDGE),
        reward=read.json(results / "reward.json", _REWARD),
        cleaning=read.json(data / "prepared/cleaning_report.json", _CLEANING),
        split=read.json(data / "phases/phase_split_statistics.json", _SPLIT),
        controls=read.optional(results / "controls"),
        betas=read.betas(results / "controls/overoptimisation.csv"),
        llm_judge=read.optional(results / "llm_judge"),
    )
    read.problems += [] if read.problems else _disagreements(inputs, results)
    if read.problems:
        raise InputError(read.problems)
    return inputs


class _Reader:
    """Reads files and keeps what is wrong with them for one error at the end."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def safely(self, read: Callable[[], Read], otherwise: Read) -> Read:
        try:
            return read()
        except InputError as error:
            self.problems += error.problems
            return otherwise

    def json(self, path: Path, shape: Any) -> Any:
        return self.safely(lambda: _checked(read_json(path), shape, str(path)), {})

    def jsonl(self, path: Path, shape: Any) -> list[Any]:
        return self.safely(lambda: _read_jsonl(path, shape), [])

    def csv(self, path: Path, numbers: Sequence[str]) -> list[dict[str, Any]]:
        return self.safely(lambda: _read_csv(path, numbers), [])

    def pass_at_k(self, path: Path) -> dict[str, list[Row]]:
        curves: dict[str, list[Row]] = {}
        for row in self.csv(path, _PASS):
            curves.setdefault(str(row.pop("model")), []).append(row)
        return {model: sorted(rows, key=lambda row: row["k"]) for model, rows in curves.items()}

    def curves(self, directory: Path) -> dict[str, list[tuple[int, float]]]:
        """Metric -> (step, value) of a training run: DVCLive's tsv files."""
        folder = directory / "plots/metrics/train"
        if not any(folder.glob("*.tsv")):
            self.problems.append(Problem(str(folder), "no training curves", "DVCLive's *.tsv files", _REPRO))
            return {}
        found = {}
        for name in TRAINING:
            path = folder / f"{name}.tsv"
            if path.is_file():
                rows = self.safely(lambda path=path, name=name: _read_csv(path, ("step", name), "\t", model=False), [])
                found[name] = [(int(row["step"]), row[name]) for row in rows]
        return found

    def gaming(self, folder: Path, arms: Sequence[str], seeds: Sequence[int]) -> dict[str, dict[int, Gaming]]:
        """The runs of ``arms``, which must be there, and of whatever other arms are there."""
        wanted = {arm: list(seeds) for arm in arms}
        for path in sorted(folder.glob("*/seed-*")):
            seed = path.name.removeprefix("seed-")
            if path.parent.name not in arms and seed.isdecimal():
                wanted.setdefault(path.parent.name, []).append(int(seed))
        return {
            arm: {seed: self._gaming_run(folder / arm / f"seed-{seed}") for seed in sorted(own)}
            for arm, own in wanted.items()
        }

    def _gaming_run(self, folder: Path) -> Gaming:
        return Gaming(
            verdict=self.json(folder / "verdict.json", _VERDICT),
            curve=self.safely(lambda: _read_csv(folder / "curve.csv", _CURVE, model=False, blank=_BOUNDS), []),
            gaps=self.jsonl(folder / "gaps.jsonl", _GAP),
        )

    def betas(self, path: Path) -> list[Row]:
        """Rows of the over-optimisation curves that `make controls` leaves; none without them."""
        names = ("beta", "step", "kl", "proxy", "judge")
        return self.safely(lambda: _read_csv(path, names, model=False), []) if path.is_file() else []

    def optional(self, folder: Path) -> dict[str, Any]:
        return {path.stem: self.json(path, dict) for path in sorted(folder.glob("*.json"))}


def _climbs(runs: Mapping[int, Mapping[str, Any]]) -> bool:
    return any("reward" in run for run in runs.values())


def _read_jsonl(path: Path, shape: Any) -> list[Any]:
    if not path.is_file():
        raise bad(str(path), "no such file", "a JSON Lines file", _REPRO)
    rows, problems = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").removesuffix("\n").split("\n"), start=1):
        where = f"{path}:{number}"
        try:
            rows.append(_checked(json.loads(line), shape, where))
        except json.JSONDecodeError as error:
            problems.append(Problem(where, error.msg, "one JSON object", _REPRO))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return rows


def _read_csv(
    path: Path, numbers: Sequence[str], delimiter: str = ",", *, model: bool = True, blank: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Rows of finite ``numbers`` and of numbers that may be ``blank`` (None), with ``model`` of a model's name."""
    if not path.is_file():
        raise bad(str(path), "no such file", "a table of numbers", _REPRO)
    with path.open(encoding="utf-8", newline="") as handle:
        reader = csv.DictReader(handle, delimiter=delimiter)
        names = [*(["model"] if model else []), *numbers, *blank]
        absent = [name for name in names if name not in (reader.fieldnames or [])]
        rows = list(reader)
    if absent or not rows:
        found = f"no column {', '.join(absent)}" if absent else "no rows"
        raise bad(str(path), found, f"rows with {', '.join(names)}", _REPRO)
    problems = [
        Problem(f"{path}:{line}:{name}", repr(row[name]), "a finite number", _REPRO)
        for line, row in enumerate(rows, start=2)
        for name in (*numbers, *(name for name in blank if row[name]))
        if not _is_finite(row[name])
    ]
    if problems:
        raise InputError(problems)
    read: list[dict[str, Any]] = [
        {name: float(row[name]) if row[name] else None for name in (*numbers, *blank)} for row in rows
    ]
    return [{"model": row["model"], **own} if model else own for row, own in zip(rows, read, strict=True)]


def _is_finite(text: str | None) -> bool:
    try:
        return math.isfinite(float(text or "nan"))
    except ValueError:
        return False


def _checked(value: Any, shape: Any, where: str) -> Any:
    """``value``, which has every key of ``shape`` with its type. Raises InputError naming all that do not fit."""
    problems = list(_misfits(value, shape, where))
    if problems:
        raise InputError(problems)
    return value


def _misfits(value: Any, shape: Any, where: str) -> list[Problem]:
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return [Problem(where, repr(value)[:80], "an object", _REPRO)]
        absent = [Problem(f"{where}:{key}", "nothing", "a value", _REPRO) for key in shape if key not in value]
        present = [key for key in shape if key in value]
        return absent + [wrong for key in present for wrong in _misfits(value[key], shape[key], f"{where}:{key}")]
    if isinstance(shape, list):
        if not isinstance(value, list):
            return [Problem(where, repr(value)[:80], "a list", _REPRO)]
        return [wrong for i, item in enumerate(value) for wrong in _misfits(item, shape[0], f"{where}[{i}]")]
    fits = isinstance(value, shape) and (shape is bool or not isinstance(value, bool))
    if fits and (not isinstance(value, float) or math.isfinite(value)):
        return []
    kinds = shape if isinstance(shape, tuple) else (shape,)
    expected = "a finite number" if shape is _NUMBER else " or ".join(_KINDS[kind] for kind in kinds)
    return [Problem(where, repr(value)[:80], expected, _REPRO)]


_KINDS = {
    str: "a text",
    int: "a whole number",
    bool: "true or false",
    dict: "an object",
    float: "a number",
    type(None): "null",
}


def _disagreements(inputs: Inputs, results: Path) -> list[Problem]:
    """Files that are whole, each for itself, but do not speak of the same models and posts."""
    tables = {
        "comparison.json": inputs.comparison["models"],
        "pass_at_k.csv": inputs.pass_at_k,
        "plane.csv": inputs.plane,
    }
    problems = [
        Problem(str(results / name), f"nothing about {model}", "every model in params.yaml", _REPRO)
        for name, told in tables.items()
        for model in inputs.models
        if model not in told
    ]
    first: list[str] | None = None
    for model, by_seed in inputs.replies.items():
        for seed, rows in by_seed.items():
            ids = [row["id"] for row in rows]
            first = first or ids
            if ids != first:
                path = results / f"evaluation/{model}/seed-{seed}/replies.jsonl"
                problems.append(Problem(str(path), "other posts", "the posts of the other models, in order", _REPRO))
    return problems
