"""GRPO climbing different rewards, side by side: was each gamed, and what did the judge make of it?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polychrome.audit.controls.record import REMEDY, tidy
from polychrome.errors import InputError, Problem, bad
from polychrome.files import read_json, write_json

KEPT = ("verdict", "conclusive", "text", "proxy", "judge", "judge_on_test_posts", "over_optimisation")


def rewards(runs: Sequence[tuple[str, str, str | Path]], out: str | Path) -> dict[str, Any]:
    """Write what stage `gaming` found of ``runs``, (arm, its reward, folder), into ``out``; returns it.

    {"text", "runs": [{"arm", "reward", ...:data:`KEPT`, "failed_checks"}]}. Not a control: nothing is expected of it.
    Raises InputError naming every verdict that is missing or lacks a field.
    """
    found, problems = [], []
    for arm, reward, folder in runs:
        path = Path(folder) / "verdict.json"
        try:
            verdict = read_json(path)
            missing = [name for name in (*KEPT, "checks") if name not in verdict]
            if missing:
                raise bad(str(path), f"no {', '.join(missing)}", "a verdict as stage `gaming` writes it", REMEDY)
        except InputError as error:
            problems += error.problems
            continue
        failed = [check["name"] for check in verdict["checks"] if check["verdict"] == "fail"]
        kept = {name: verdict[name] for name in KEPT}
        found.append({"arm": arm, "reward": reward, **kept, "failed_checks": failed})
    if not found and not problems:
        problems.append(Problem("params.yaml:controls.variants", "no runs", "at least one", "Add one."))
    if problems:
        raise InputError(problems)
    value = {"text": "GRPO from the same start climbing different rewards: the gaming verdict on each.", "runs": found}
    write_json(out, tidy(value))
    return value
