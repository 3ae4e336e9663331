"""How long each stage took: the only clocks of the page."""

from __future__ import annotations

from math import fsum
from typing import Any

from polychrome.reporting.charts import climbs
from polychrome.reporting.page.inputs import Inputs

ABOUT = {
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


def expected_runs(inputs: Inputs) -> dict[str, list[str]]:
    """Stage -> the runs that made this page's results, as :mod:`polychrome.stage` names them."""
    grpo = [arm for arm, runs in inputs.training.items() if climbs(runs)]
    of = {"untouched": inputs.untouched, "sft": [arm for arm in inputs.training if arm not in grpo]}
    of |= {"grpo": grpo, "gaming": grpo, "generate": inputs.models, "evaluate": inputs.models}
    every = {stage: [f"{stage} {model} {seed}" for model in own for seed in inputs.seeds] for stage, own in of.items()}
    return {stage: every.get(stage, [stage]) for stage in ABOUT}


def cost_of(inputs: Inputs) -> dict[str, Any]:
    """The timings summed by stage. What was not timed is named, never estimated.

    ``lines`` have a stage, what it does, how many of its runs were timed, how many it has, and their seconds.
    """
    timed, stages, lines = inputs.timings, expected_runs(inputs), []
    for stage, runs in stages.items():
        seconds = [timed[run]["seconds"] for run in runs if run in timed]
        own = {"runs": len(seconds), "of": len(runs), "seconds": fsum(seconds)}
        lines.append({"stage": stage, "about": ABOUT[stage]} | own)
    expected, machines = [run for runs in stages.values() for run in runs], set()
    for found in (timed[run] for run in expected if run in timed):
        threads = f"{found['threads']} threads" if found.get("threads") else ""
        machines.add(", ".join(filter(None, (found.get("machine"), found.get("dtype"), threads))))
    return {
        "lines": lines,
        "seconds": fsum(line["seconds"] for line in lines),
        "untimed": [run for run in expected if run not in timed],
        "others": sorted(set(timed) - set(expected) - {"report"}),
        "machines": sorted(machines - {""}),
    }
