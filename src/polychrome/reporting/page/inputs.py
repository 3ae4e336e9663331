"""What the page is made from: every file is read here, and all that are missing or damaged are reported at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from polychrome.errors import Problems
from polychrome.files import Record, read_csv, read_object, read_objects
from polychrome.reporting.charts import Curves, Row, climbs
from polychrome.reporting.read import read_curves, read_pass_at_k, read_plane

Read = TypeVar("Read")
_BOUNDS = ("proxy_low", "proxy_high", "judge_low", "judge_high")  # which a step of one prompt has not
_RUN_OF_GAMING = {  # what is asked of a run -> its file, and how that is read
    "verdict": ("verdict.json", read_object),
    "curve": ("curve.csv", partial(read_csv, numbers=("step", "kl", "proxy", "judge"), blank=_BOUNDS)),
    "gaps": ("gaps.jsonl", read_objects),
}


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that the page shows."""

    models: Sequence[str]
    untouched: Sequence[str]
    seeds: Sequence[int]
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
    frontier: Record | None  # None when it was not run
    timings: Mapping[str, Record]  # run ("sft baseline 42") -> how long it took

    @property
    def contrasts(self) -> list[Record]:
        """Every contrast of every question."""
        return [one for question in self.comparison["questions"] for one in question["contrasts"]]


def read_inputs(root: str | Path, models: Sequence[str], untouched: Sequence[str], seeds: Sequence[int]) -> Inputs:
    """Read all files of ``models`` and ``seeds`` that the stages left under ``root``.

    Raises one InputError that names every file that is missing or damaged. Only ``results/controls``,
    ``results/frontier``, ``results/llm_judge`` and timings may be absent.
    """
    results, data, problems = Path(root) / "results", Path(root) / "data", Problems()

    def safely(read: Callable[[Path], Read], path: Path) -> Read:
        with problems.caught():
            return read(path)
        return {}  # type: ignore[return-value]  # never looked into: the problems are raised below

    def each(read: Callable[[Path], Read], path: str, arms: Sequence[str]) -> dict[str, dict[int, Read]]:
        return {arm: {seed: safely(read, results / path.format(arm=arm, seed=seed)) for seed in seeds} for arm in arms}

    def optional(folder: Path) -> dict[str, Record]:
        return {path.stem: safely(read_object, path) for path in sorted(folder.glob("*.json"))}

    training = each(read_curves, "training/{arm}/seed-{seed}", [model for model in models if model not in untouched])
    # the arms that GRPO trained, whose runs must be there, and whatever other arms are there
    asked = {arm: dict.fromkeys(sorted(seeds)) for arm, runs in training.items() if climbs(runs)}
    for path in sorted((results / "gaming").glob("*/seed-*")):
        if path.parent.name not in training and path.name.removeprefix("seed-").isdecimal():
            asked.setdefault(path.parent.name, {})[int(path.name.removeprefix("seed-"))] = None

    def gaming(arm: str, seed: int) -> dict[str, Any]:
        folder = results / f"gaming/{arm}/seed-{seed}"
        return {name: safely(read, folder / file) for name, (file, read) in _RUN_OF_GAMING.items()}

    betas = results / "controls/overoptimisation.csv"
    inputs = Inputs(
        models=models,
        untouched=untouched,
        seeds=seeds,
        comparison=safely(read_object, results / "comparison.json"),
        criteria=safely(read_object, results / "success_criteria.json"),
        pass_at_k=safely(read_pass_at_k, results / "pass_at_k.csv"),
        plane=safely(read_plane, results / "plane.csv"),
        training=training,
        gaming={arm: {seed: gaming(arm, seed) for seed in runs} for arm, runs in asked.items()},
        evaluations=each(read_object, "evaluation/{arm}/seed-{seed}/metrics.json", models),
        replies=each(read_objects, "evaluation/{arm}/seed-{seed}/replies.jsonl", models),
        judge=safely(read_object, results / "judge.json"),
        reward=safely(read_object, results / "reward.json"),
        cleaning=safely(read_object, data / "prepared/cleaning_report.json"),
        split=safely(read_object, data / "phases/phase_split_statistics.json"),
        controls=optional(results / "controls"),
        betas=safely(partial(read_csv, numbers=("beta", "kl", "proxy", "judge")), betas) if betas.is_file() else (),
        llm_judge=optional(results / "llm_judge"),
        frontier=optional(results / "frontier").get("frontier"),
        timings={value["stage"]: value for value in optional(Path(root) / ".timings").values() if value},
    )
    problems.raise_any()
    return inputs
