"""Runs of every method whose log must not depend on how many processes share them. Started by `accelerate launch`.

Usage: two_processes.py <base> <warmstart> <pairs.jsonl> <answers.json>, in a scratch repository that can train.
"""

import json
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object

sys.path.insert(0, str(Path(__file__).parent))

from tiny import Watched, grpo, polychromic, sets, tiny_run, train_arm  # type: ignore[import-not-found]

from polychrome.pairs.schema import Pair, read_pairs
from polychrome.params import load_params


def answers(base: Path, warmstart: Path, pairs: list[Pair]) -> dict[str, Any]:
    """The log of every run, and what its weights add up to on each process.

    Parts of the batches of 3 are of two posts and one, then of one and one (of five posts) or none (of four).
    """
    told = {}
    for name, method, posts, micro_batches in (
        ("cross_entropy", Watched(), 4, 2),
        ("polychromic", polychromic(posts_per_step=1), 4, 2),  # the second process draws no sets
        ("grpo", grpo(beta=0.1, loss_type="grpo"), 4, 2),
        ("dapo", grpo(beta=0.1, num_iterations=2), 5, 1),
        ("set_poly", sets(set_size=3, set_size_end=1), 4, 2),
    ):
        changes = {"batch_size": 3, "epochs": 2, "learning_rate": 1e-3, "gradient_accumulation": micro_batches}
        run = tiny_run(base, warmstart, pairs[:posts], method, validation=pairs[-2:], **changes)
        state = run.train()
        weights = [float(tensor.detach().double().abs().sum()) for tensor in run.parameters.values()]
        everyones = run.accelerator.gather(torch.tensor([weights], dtype=torch.float64))
        told[name] = {"rows": state.history, "validations": state.validations, "weights": everyones.tolist()}
        if isinstance(method, Watched):
            told[name]["posts"] = gather_object([[*chain(*method.batches)]])
    return told


if __name__ == "__main__":  # write the answers of the launched processes, then train an arm as the stages do
    torch.set_num_threads(1)
    base, warmstart, pairs, out = map(Path, sys.argv[1:])
    told = answers(base, warmstart, read_pairs(pairs))
    if PartialState().is_main_process:
        out.write_text(json.dumps(told | {"processes": PartialState().num_processes}))
    train_arm(load_params(), "baseline")
