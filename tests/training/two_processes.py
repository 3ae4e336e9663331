"""Runs of every method whose log must not depend on how many processes share them. Started by `accelerate launch`.

Usage: two_processes.py <base> <warmstart> <pairs.jsonl> <answers.json>.
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

from tiny import Watched, grpo, polychromic, sets, tiny_run  # type: ignore[import-not-found]

from polychrome.pairs.schema import Pair, read_pairs
from polychrome.training.checkpoint import Checkpoints
from polychrome.training.loop import Run


def answers(base: Path, warmstart: Path, pairs: list[Pair], shard: bool = False) -> dict[str, Any]:
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
        run = run_of(base, warmstart, pairs, method, posts, micro_batches, shard=shard)
        told[name] = log_of(run)
        if isinstance(method, Watched):
            told[name]["posts"] = gather_object([[*chain(*method.batches)]])
    return told


def run_of(base: Path, warmstart: Path, pairs: list[Pair], method: Any, posts: int, parts: int, **changes: Any) -> Run:
    changes |= {"batch_size": 3, "epochs": 2, "learning_rate": 1e-3, "gradient_accumulation": parts}
    return tiny_run(base, warmstart, pairs[:posts], method, validation=pairs[-2:], **changes)


def log_of(run: Run) -> dict[str, Any]:
    state = run.train()
    weights = [float(tensor.detach().double().abs().sum()) for tensor in run.parameters.values()]
    everyones = run.accelerator.gather(torch.tensor([weights], dtype=torch.float64))
    return {"rows": state.history, "validations": state.validations, "weights": everyones.tolist()}


def held(run: Run) -> list[float]:
    """The share of the base's layers that each process holds."""
    layers = run.policy.get_base_model().model.layers
    frozen = [tensor for name, tensor in layers.named_parameters() if "lora_" not in name]
    local = sum(tensor.to_local().numel() for tensor in frozen)
    return gather_object([local / sum(tensor.numel() for tensor in frozen)])


class KilledError(Exception):
    """In place of a kill, so that the process can go on."""


def resumed(base: Path, warmstart: Path, pairs: list[Pair], root: Path) -> dict[str, Any]:
    """The log of sharded GRPO that is broken off in its third step, and goes on from the checkpoint of the second."""

    def asked(method: Any) -> Run:
        changes = {"checkpoints": Checkpoints("run", "key", root), "checkpoint_every": 2, "shard": True}
        return run_of(base, warmstart, pairs, method, 4, 2, **changes)

    broken = grpo(beta=0.1, loss_type="grpo")
    step = broken.step

    def breaks(context: Any, batch: Any, number: int) -> Any:
        if number == 2:
            raise KilledError
        return step(context, batch, number)

    broken.step = breaks
    try:
        asked(broken).train()
    except KilledError:
        PartialState().wait_for_everyone()
    run = asked(grpo(beta=0.1, loss_type="grpo"))
    return log_of(run) | {"held": held(run)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    base, warmstart, pairs_file, out = map(Path, sys.argv[1:])
    asked = base, warmstart, read_pairs(pairs_file)
    told = {
        "whole": answers(*asked),
        "sharded": answers(*asked, shard=True),
        "resumed": resumed(*asked, out.parent / "checkpoints"),
        "processes": PartialState().num_processes,
    }
    if PartialState().is_main_process:
        out.write_text(json.dumps(told))
