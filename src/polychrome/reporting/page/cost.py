"""How long each stage took: the only clocks of the page."""

from math import fsum
from typing import Any

from polychrome.reporting.charts import climbs
from polychrome.reporting.page.inputs import Inputs

ONCE = ("assets", "prepare", "split", "judge", "reward")


def expected_runs(inputs: Inputs) -> dict[str, list[str]]:
    """Stage -> the runs that made this page's results, as :mod:`polychrome.stage` names them."""
    grpo = [arm for arm, runs in inputs.training.items() if climbs(runs)]
    tuned = [arm for arm in inputs.training if arm not in grpo]
    of = {"untouched": inputs.untouched, "sft": tuned, "grpo": grpo, "generate": inputs.models}
    of |= {"evaluate": inputs.models, "gaming": grpo}
    runs = {stage: [f"{stage} {model} {seed}" for model in own for seed in inputs.seeds] for stage, own in of.items()}
    return {stage: [stage] for stage in ONCE} | runs | {"compare": ["compare"]}


def cost_of(inputs: Inputs) -> dict[str, Any]:
    """The timings summed by stage. What was not timed is named, never estimated.

    ``lines`` have a stage, how many of its runs were timed, how many it has, and their seconds.
    """
    timed, stages, lines = inputs.timings, expected_runs(inputs), []
    for stage, runs in stages.items():
        seconds = [timed[run]["seconds"] for run in runs if run in timed]
        lines.append({"stage": stage, "runs": len(seconds), "of": len(runs), "seconds": fsum(seconds)})
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
