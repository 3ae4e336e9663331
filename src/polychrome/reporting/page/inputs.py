"""What the page is made from: every file is read here, and all that are missing or damaged are reported at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from polychrome.errors import InputError
from polychrome.files import read_csv
from polychrome.reporting.charts import Curves, Row, climbs
from polychrome.reporting.read import Record, read_curves, read_object, read_objects, read_pass_at_k, read_plane

Read = TypeVar("Read")
_BOUNDS = ("proxy_low", "proxy_high", "judge_low", "judge_high")  # which a step of one prompt has not
_READ_CURVE = partial(read_csv, numbers=("step", "kl", "proxy", "judge"), blank=_BOUNDS)
_READ_BETAS = partial(read_csv, numbers=("beta", "step", "kl", "proxy", "judge"))


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that the page shows."""

    models: tuple[str, ...]
    untouched: tuple[str, ...]
    seeds: tuple[int, ...]
    ks: tuple[int, ...]
    comparison: Record
    criteria: Record
    pass_at_k: Mapping[str, Sequence[Row]]
    plane: Mapping[str, Row]
    training: Curves
    gaming: Mapping[str, Mapping[int, Mapping[str, Any]]]  # arm -> seed -> verdict, curve by step, gaps (replies)
    evaluations: Mapping[str, Mapping[int, Record]]  # model -> seed -> metrics.json
    replies: Mapping[str, Mapping[int, Sequence[Record]]]  # model -> seed -> a row per post
    judge: Record
    reward: Record
    cleaning: Record
    split: Record
    controls: Mapping[str, Record]  # name -> result; empty when they were not run
    betas: Sequence[Row]  # rows of the over-optimisation curves at several weights of the KL
    llm_judge: Mapping[str, Record]
    timings: Mapping[str, Record] | None  # run ("sft baseline 42") -> how long it took; None shows no clocks

    @property
    def measured(self) -> Mapping[str, Mapping[str, Mapping[str, float]]]:
        """Model -> metric -> mean, low, high; without metrics that are undefined."""
        return self.comparison["models"]

    @property
    def grpo_arms(self) -> tuple[str, ...]:
        """The models that GRPO trained."""
        return tuple(model for model in self.models if climbs(self.training.get(model, {})))


def read_inputs(
    root: str | Path, *, models: Sequence[str], untouched: Sequence[str], seeds: Sequence[int], ks: Sequence[int]
) -> Inputs:
    """Read all files of ``models`` and ``seeds`` that the stages left under ``root``.

    Raises one InputError that names every file that is missing or damaged. Only ``results/controls``,
    ``results/llm_judge`` and timings may be absent.
    """
    results, data, problems = Path(root) / "results", Path(root) / "data", []

    def safely(read: Callable[[Path], Read], path: Path) -> Read:
        try:
            return read(path)
        except InputError as error:
            problems.extend(error.problems)
            return {}  # type: ignore[return-value]  # never looked into: the problems are raised below

    def each(read: Callable[[Path], Read], path: str, arms: Sequence[str]) -> dict[str, dict[int, Read]]:
        return {arm: {seed: safely(read, results / path.format(arm=arm, seed=seed)) for seed in seeds} for arm in arms}

    def optional(folder: Path) -> dict[str, Record]:
        return {path.stem: safely(read_object, path) for path in sorted(folder.glob("*.json"))}

    training = each(read_curves, "training/{arm}/seed-{seed}", [model for model in models if model not in untouched])
    betas = results / "controls/overoptimisation.csv"
    inputs = Inputs(
        models=tuple(models),
        untouched=tuple(untouched),
        seeds=tuple(seeds),
        ks=tuple(ks),
        comparison=safely(read_object, results / "comparison.json"),
        criteria=safely(read_object, results / "success_criteria.json"),
        pass_at_k=safely(read_pass_at_k, results / "pass_at_k.csv"),
        plane=safely(read_plane, results / "plane.csv"),
        training=training,
        gaming={
            arm: {
                seed: {
                    "verdict": safely(read_object, folder / "verdict.json"),
                    "curve": safely(_READ_CURVE, folder / "curve.csv"),
                    "gaps": safely(read_objects, folder / "gaps.jsonl"),
                }
                for seed, folder in runs.items()
            }
            for arm, runs in _gaming_runs(results / "gaming", training, seeds).items()
        },
        evaluations=each(read_object, "evaluation/{arm}/seed-{seed}/metrics.json", models),
        replies=each(read_objects, "evaluation/{arm}/seed-{seed}/replies.jsonl", models),
        judge=safely(read_object, results / "judge.json"),
        reward=safely(read_object, results / "reward.json"),
        cleaning=safely(read_object, data / "prepared/cleaning_report.json"),
        split=safely(read_object, data / "phases/phase_split_statistics.json"),
        controls=optional(results / "controls"),
        betas=safely(_READ_BETAS, betas) if betas.is_file() else (),
        llm_judge=optional(results / "llm_judge"),
        timings={value["stage"]: value for value in optional(Path(root) / ".timings").values() if value},
    )
    if problems:
        raise InputError(problems)
    return inputs


def _gaming_runs(folder: Path, training: Curves, seeds: Sequence[int]) -> dict[str, dict[int, Path]]:
    """Arm -> seed -> folder: the arms that GRPO trained, which must be there, and whatever other arms are there."""
    climbing = [arm for arm, runs in training.items() if climbs(runs)]
    runs = {arm: {seed: folder / arm / f"seed-{seed}" for seed in sorted(seeds)} for arm in climbing}
    for path in sorted(folder.glob("*/seed-*")):
        if path.parent.name not in training:
            runs.setdefault(path.parent.name, {})[int(path.name.removeprefix("seed-"))] = path
    return runs
