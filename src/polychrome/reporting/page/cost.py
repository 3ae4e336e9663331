"""How long each stage took: the only clocks of the page."""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum
from typing import Any

from polychrome.reporting.page.inputs import Inputs


def cost_of(inputs: Inputs) -> dict[str, Any] | None:
    """The timings summed by stage; None without any clocks. What was not timed is named, never estimated.

    ``lines`` have a stage, what it does, how many of its runs were timed, how many it has, and their seconds.
    """
    if inputs.timings is None:
        return None
    timed = {run: (value["seconds"], _machine(value)) for run, value in inputs.timings.items()}
    stages, lines = expected_runs(inputs), []
    for (stage, about), runs in stages.items():
        seconds = [timed[run][0] for run in runs if run in timed]
        lines.append({"stage": stage, "about": about, "runs": len(seconds), "of": len(runs), "seconds": fsum(seconds)})
    expected = [run for runs in stages.values() for run in runs]
    return {
        "lines": lines,
        "seconds": fsum(line["seconds"] for line in lines),
        "untimed": [run for run in expected if run not in timed],
        "others": sorted(set(timed) - set(expected) - {"report"}),
        "machines": sorted({timed[run][1] for run in expected if run in timed and timed[run][1]}),
    }


def _machine(timing: dict[str, Any]) -> str:
    threads = [f"{timing['threads']} threads"] if timing.get("threads") else []
    return ", ".join([*(timing[name] for name in ("machine", "dtype") if timing.get(name)), *threads])


def expected_runs(inputs: Inputs) -> dict[tuple[str, str], list[str]]:
    """(Stage, what it does) -> the runs that made this page's results, as :mod:`polychrome.stage` names them."""
    grpo = inputs.grpo_arms
    tuned = [model for model in inputs.models if model not in (*inputs.untouched, *grpo)]
    stages: tuple[tuple[str, str, Sequence[str] | None], ...] = (
        ("assets", "fetch and verify what is needed", None),
        ("prepare", "clean and count the pairs", None),
        ("split", "divide them into phases", None),
        ("judge", "fit the judge", None),
        ("reward", "fit the learned reward", None),
        ("untouched", "set up the base model", inputs.untouched),
        ("sft", "fine-tune", tuned),
        ("grpo", "GRPO", grpo),
        ("generate", "answer the test posts", inputs.models),
        ("evaluate", "measure the answers", inputs.models),
        ("gaming", "ask whether the reward was gamed", grpo),
        ("compare", "compare, and judge the criteria", None),
    )
    return {
        (stage, about): [stage] if of is None else [f"{stage} {model} {seed}" for model in of for seed in inputs.seeds]
        for stage, about, of in stages
    }
