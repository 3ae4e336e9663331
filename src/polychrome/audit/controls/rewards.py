"""GRPO climbing different rewards, side by side: was each gamed, and what did the judge make of it?"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polychrome import paths
from polychrome.audit.controls.record import ROOT
from polychrome.errors import Problems
from polychrome.files import read_object, tidy, write_json
from polychrome.params import Params

KEPT = ("verdict", "conclusive", "text", "proxy", "judge", "judge_on_test_posts", "over_optimisation")


def run(params: Params) -> str:
    """Write results/controls/rewards.json; returns a line for each run."""
    arms = (params.controls.variants["learned"], "control_learned")
    runs = [(arm, params.arms[arm].reward, paths.gaming_dir(arm, params.controls.seed)) for arm in arms]
    found = rewards(runs, ROOT / "rewards.json")["runs"]
    return "\n".join(f"{run['reward']:<10} {run['arm']}: {run['text']}" for run in found)


def rewards(runs: Sequence[tuple[str, str, str | Path]], out: str | Path) -> dict[str, Any]:
    """Write what stage `gaming` found of ``runs``, (arm, its reward, folder), into ``out``; returns it.

    {"text", "runs": [{"arm", "reward", ...:data:`KEPT`, "failed_checks"}]}. Not a control: nothing is expected of it.
    Raises InputError naming every verdict that is missing or lacks a field.
    """
    found: list[dict[str, Any]] = []
    problems = Problems()
    for arm, reward, folder in runs:
        with problems.caught():
            verdict = read_object(Path(folder) / "verdict.json")
            failed = [check["name"] for check in verdict["checks"] if check["verdict"] == "fail"]
            kept = {name: verdict[name] for name in KEPT}
            found.append({"arm": arm, "reward": reward, **kept, "failed_checks": failed})
    problems.raise_any()
    value = {"text": "GRPO from the same start climbing different rewards: the gaming verdict on each.", "runs": found}
    write_json(out, tidy(value))
    return value
