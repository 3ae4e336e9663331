"""Runs of every method whose log must not depend on how many processes share them. Started by `accelerate launch`.

Usage: two_processes.py <base> <warmstart> <pairs.jsonl> <answers.json>, in a scratch repository that can train.
"""

from __future__ import annotations

import json
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object

sys.path.insert(0, str(Path(__file__).parent))

from tiny import Watched, grpo, polychromic, tiny_run  # type: ignore[import-not-found]

from polychrome.pairs.schema import Pair, read_pairs

UNEVEN: dict[str, Any] = {"batch_size": 3, "epochs": 2, "learning_rate": 1e-3}
FIVE = {"count": 5, "gradient_accumulation": 1}  # parts of two posts and one, then of one and one
FOUR = {"count": 4, "gradient_accumulation": 2}  # parts of two posts and one, then of one and none


def runs(base: Path, warmstart: Path, pairs: list[Pair]) -> dict[str, Any]:
    """The runs by name, each made when it is asked for."""
    kinds: dict[str, Any] = {
        "cross_entropy": (Watched(), FOUR),
        "polychromic": (polychromic(posts_per_step=1), FOUR),  # the second process draws no sets
        "grpo": (grpo(beta=0.1, loss_type="grpo"), FOUR),
        "dapo": (grpo(beta=0.1, num_iterations=2), FIVE),
    }

    def make(method: Any, count: int, **changes: Any) -> Any:
        return tiny_run(base, warmstart, pairs[:count], method, validation=pairs[-2:], **changes)

    return {name: lambda m=method, u=uneven: make(m, **u, **UNEVEN) for name, (method, uneven) in kinds.items()}


def answers(base: Path, warmstart: Path, pairs: list[Pair]) -> dict[str, Any]:
    """The log of every run, and what its weights add up to on each process."""
    told = {}
    for name, make in runs(base, warmstart, pairs).items():
        run = make()
        state = run.train()
        weights = [float(tensor.detach().double().abs().sum()) for tensor in run.parameters.values()]
        everyones = run.accelerator.gather(torch.tensor([weights], dtype=torch.float64))
        told[name] = {"rows": state.history, "validations": state.validations, "weights": everyones.tolist()}
        if isinstance(run.method, Watched):
            told[name]["posts"] = gather_object([[*chain(*run.method.batches)]])
    return told


def main() -> None:
    """Write the answers of the launched processes, then train an arm as the stages do."""
    from accelerate import PartialState

    from polychrome.params import load_params
    from polychrome.training.runs import train

    base, warmstart, pairs, out = map(Path, sys.argv[1:])
    told = answers(base, warmstart, read_pairs(pairs))
    if PartialState().is_main_process:
        out.write_text(json.dumps(told | {"processes": PartialState().num_processes}))
    train(load_params(), "baseline", 1, ["baseline"])


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
