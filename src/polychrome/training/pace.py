"""How long all training will take on this machine, from the seconds per step of what runs and of what ran before.

Only a message: what was measured lies in :data:`NOTED`, which is no output.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from polychrome import paths
from polychrome.files import read_json, write_json

NOTED = Path(".timings/steps")  # a file per objective: its seconds per step
DEARER = 2.0  # steps of cross-entropy that one of an objective not measured yet is taken for: about what GRPO takes


def runs(params: Any) -> Iterator[tuple[str, int, int]]:
    """Arm, seed and optimiser steps of every run of the pipeline, at most: it may stop early."""
    split = params.split
    for seed in params.seeds:
        for name in (
            *params.sft_arms,
            *(f"{one}_{start}" for one in params.grpo_recipes for start in params.grpo_starts),
        ):
            arm = params.arms[name]
            parts = {"phase1_sft": ("phase1",), "phase2_grpo": ("phase2",)}.get(arm.data, ("phase1", "phase2"))
            batches = math.ceil(sum(map(split.pairs_of, parts)) / arm.batch_size)
            yield name, seed, arm.epochs * batches * getattr(arm, "num_iterations", 1)


def estimate(params: Any, name: str, seconds: float) -> str:
    """The line that says so; notes that a step of the arm ``name`` takes ``seconds``, and reads what others took."""
    write_json(NOTED / f"{params.arms[name].objective}.json", {"seconds": round(seconds, 3)})
    known: Mapping[str, float] = {file.stem: read_json(file)["seconds"] for file in sorted(NOTED.glob("*.json"))}
    guess = DEARER * known.get("cross_entropy", min(known.values()))
    times, done, each = [], [], {}
    for arm, seed, steps in runs(params):
        objective = params.arms[arm].objective
        each[objective] = f"{known[objective]:.2f}" if objective in known else f"not measured, taken as {guess:.2f}"
        times.append(steps * known.get(objective, guess))
        if (paths.model_dir(arm, seed) / "adapter_model.safetensors").is_file():
            done.append(times[-1])
    total, left = _told(sum(times)), _told(sum(times) - sum(done))
    return (
        f"training takes about {total} in all ({len(times)} runs, {len(done)} done), {left} of it to come; seconds per "
        f"step: {', '.join(f'{objective} {of}' for objective, of in each.items())}; answers and evaluation not counted"
    )


def _told(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.0f} minutes"
