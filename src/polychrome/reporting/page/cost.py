"""How long each stage took, and what that costs at a price per hour. The only clocks of the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from polychrome.errors import InputError, Problem
from polychrome.files import read_json
from polychrome.reporting.page.inputs import Inputs

STAGES = {
    "assets": "fetch and verify what is needed",
    "prepare": "clean and count the pairs",
    "split": "divide them into phases",
    "judge": "fit the judge",
    "reward": "fit the learned reward",
    "untouched": "set up the base model",
    "sft": "fine-tune",
    "grpo": "GRPO",
    "generate": "answer the test posts",
    "evaluate": "measure the answers",
    "gaming": "ask whether the reward was gamed",
    "compare": "compare, and judge the criteria",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One stage over all its runs."""

    stage: str
    about: str
    runs: int  # that were timed
    of: int  # that the stage has
    seconds: float


@dataclass(frozen=True, slots=True)
class Cost:
    """What the table of costs shows."""

    lines: Sequence[Line]
    untimed: Sequence[str]  # runs of which there is no timing
    others: Sequence[str]  # timings of what is no part of this run
    machines: Sequence[str]
    price_per_hour: float
    currency: str

    @property
    def seconds(self) -> float:
        """Of all that was timed."""
        return math.fsum(line.seconds for line in self.lines)

    def price(self, seconds: float) -> float:
        """In ``currency``."""
        return seconds / 3600 * self.price_per_hour


def read_timings(folder: str | Path) -> dict[str, tuple[float, str]]:
    """Run ("sft baseline 42") -> seconds and machine. Raises InputError naming every damaged file; none is no error."""
    found, problems = {}, []
    for path in sorted(Path(folder).glob("*.json")):
        try:
            value = read_json(path)
            seconds = float(value["seconds"])
            if not (math.isfinite(seconds) and seconds >= 0):
                raise ValueError(f"{seconds} seconds")
            found[str(value["stage"])] = (seconds, ", ".join(str(part) for part in _machine(value) if part))
        except InputError as error:
            problems += error.problems
        except (KeyError, TypeError, ValueError) as error:
            expected = "a stage and how many seconds it took"
            problems.append(Problem(str(path), f"{error!r}", expected, "Delete it, or run the stage again."))
    if problems:
        raise InputError(problems)
    return found


def _machine(value: Mapping[str, object]) -> list[object]:
    threads = value.get("threads")
    return [value.get("machine"), value.get("dtype"), f"{threads} threads" if threads else None]


def cost_of(timings: Mapping[str, tuple[float, str]], inputs: Inputs, price_per_hour: float, currency: str) -> Cost:
    """Sum ``timings`` by stage. What was not timed is named, never estimated."""
    expected = expected_runs(inputs)
    runs = [run for own in expected.values() for run in own]
    lines = []
    for stage, own in expected.items():
        timed = [timings[run][0] for run in own if run in timings]
        lines.append(Line(stage, STAGES[stage], len(timed), len(own), math.fsum(timed)))
    return Cost(
        lines=lines,
        untimed=[run for run in runs if run not in timings],
        others=sorted(set(timings) - set(runs) - {"report"}),
        machines=sorted({timings[run][1] for run in runs if run in timings and timings[run][1]}),
        price_per_hour=price_per_hour,
        currency=currency,
    )


def expected_runs(inputs: Inputs) -> dict[str, list[str]]:
    """Stage -> the runs that made this page's results, as :mod:`polychrome.stage` names them."""
    trained = [model for model in inputs.models if model not in inputs.untouched]
    grpo = inputs.grpo_arms

    def each(stage: str, models: Sequence[str]) -> list[str]:
        return [f"{stage} {model} {seed}" for model in models for seed in inputs.seeds]

    return {
        "assets": ["assets"],
        "prepare": ["prepare"],
        "split": ["split"],
        "judge": ["judge"],
        "reward": ["reward"],
        "untouched": each("untouched", inputs.untouched),
        "sft": each("sft", [arm for arm in trained if arm not in grpo]),
        "grpo": each("grpo", grpo),
        "generate": each("generate", inputs.models),
        "evaluate": each("evaluate", inputs.models),
        "gaming": each("gaming", grpo),
        "compare": ["compare"],
    }
