"""The training stages: an arm and a seed make a model."""

import sys
from collections.abc import Collection
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from polychrome import paths
from polychrome.engine.compute import CHOSEN, configure
from polychrome.errors import bad
from polychrome.files import whole_directory
from polychrome.models.chat import Chat
from polychrome.models.policy import add_adapter, open_adapter, open_base, open_tokenizer, save_adapter
from polychrome.models.recipes import check_recipe, recipe_of
from polychrome.pairs.schema import read_pairs
from polychrome.params import Params
from polychrome.training.checkpoint import Checkpoints, digest_of
from polychrome.training.loop import SHARE, Run
from polychrome.training.methods import method_of
from polychrome.training.pace import estimate
from polychrome.training.summary import write_training

CODE = [
    *(Path(__file__).parents[1] / room for room in ("engagement", "engine", "measures", "models", "objectives")),
    *(Path(__file__).parents[1] / room for room in ("rewards", "training", "randomness.py")),
    paths.CUSTOM_REWARDS,
]


def train(params: Params, name: str, seed: int, trained_here: Collection[str]) -> dict[str, Any]:
    """Train the arm ``name``: from its warm-start where it has one, else from the base model.

    ``trained_here`` are the arms that the calling stage trains. Returns the run's summary, nothing on processes beside
    the main one. Raises InputError for another arm, and without the warm-start.
    """
    if name not in trained_here:
        raise bad("params.yaml:arms", repr(name), f"one of {', '.join(trained_here)}", "Correct the arm's name.")
    arm: Any = params.arms[name]
    data, held_out = paths.PHASES / f"{arm.data}.jsonl", paths.PHASES / "validation.jsonl"
    pairs, validation = read_pairs(data), read_pairs(held_out)
    compute, in_4bit = params.compute, params.assets.load_in_4bit
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), mixed_precision="no")  # dtype is params.yaml's
    dtype = configure(replace(compute, kernels="torch") if compute.shard else compute)
    device = "cpu" if compute.shard else accelerator.device  # parts go to it from there
    reads = [paths.BASE, paths.ENCODER, data, held_out]
    if start := params.warmstarts.get(name):
        folder = paths.model_dir(start, seed)
        if not (folder / "adapter_model.safetensors").is_file():
            expected = f"the adapter that {name} starts from"
            raise bad(str(folder), "no warm-start", expected, f"Run `dvc repro sft@{start}-{seed}`.")
        check_recipe(folder, recipe_of(params, start, seed))
        base = open_base(paths.BASE, dtype, in_4bit, device)
        policy = open_adapter(base, folder, trainable=True, with_reference=True)
        reads += [folder, paths.REWARD]
    else:
        policy = add_adapter(open_base(paths.BASE, dtype, in_4bit, device), params.lora, seed)
    prompt = params.prompt
    chat = Chat(open_tokenizer(paths.BASE), prompt.plain, prompt.max_prompt_tokens, prompt.max_reply_tokens)
    chat.check(pairs, data)
    chat.check(validation, held_out)
    recipe = recipe_of(params, name, seed)
    everything = recipe | {name: asdict(getattr(params, name)) for name in ("lora", "train", "prompt", "reward")}
    everything |= {"dtype": str(dtype), "kernels": CHOSEN["kernels"], "in_4bit": in_4bit}
    everything |= {name: getattr(compute, name) for name in ("threads", "memory_mib", "sampler", "shard")}
    everything |= {"processes": accelerator.num_processes}
    CHOSEN["processes"] = accelerator.num_processes
    checkpoints = Checkpoints(f"{name}-{seed}", digest_of(recipe=everything, files=[*CODE, *reads]))
    run = Run(
        policy=policy,
        method=method_of(arm.objective).build(arm, params, pairs),
        chat=chat,
        pairs=pairs,
        validation=validation,
        arm=arm,
        settings=params.train,
        seed=seed,
        alarms=params.alarms,
        checkpoints=checkpoints,
        accelerator=accelerator,
        name=f"{name} seed {seed}",
        memory_mib=compute.memory_mib,
        shards=_shards(policy, accelerator) if compute.shard else None,
        paced=lambda seconds: estimate(params, name, seconds),
    )
    state, summary = run.train(), {}
    if run.accelerator.is_main_process:
        with whole_directory(paths.model_dir(name, seed)) as folder:
            save_adapter(policy, folder, recipe)
        facts = {"arm": name, "seed": seed, "pairs": len(pairs), "best_step": state.best_step}
        summary = write_training(paths.training_dir(name, seed), state, facts, seed)
        checkpoints.clear()
    run.accelerator.wait_for_everyone()
    run.accelerator.end_training()
    return summary


def _shards(policy: Any, accelerator: Accelerator) -> Any:
    from polychrome.training.shards import Shards

    if accelerator.is_main_process:
        parts = f"in {accelerator.num_processes} parts, computed by transformers and PyTorch, to sample as well"
        print(f"layers of the base model {parts}", file=sys.stderr)
    return Shards(policy, accelerator.device)


def describe(summary: dict[str, Any]) -> str:
    """Two lines for the end of a training stage: what was made, what to look at; nothing for an empty summary."""
    if not summary:
        return ""
    name, seed = summary["arm"], summary["seed"]
    told = [f"loss {summary['last_step']['loss']:.3f}"]
    for validation in summary["validations"][-1:]:
        told += [f"{key.replace('_', ' ')} {value:.3f}" for key, value in validation.items() if key != "step"]
    if gain := summary.get("reward_gain"):
        told.append(f"reward gained {gain['mean']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f})")
    shares = {key.removesuffix(SHARE): value for key, value in summary.items() if key.endswith(SHARE)}
    told += [f"{term}'s share of the gradient {share:.2f}" for term, share in shares.items()]
    return (
        f"{name}, seed {seed}: {summary['steps']} steps on {summary['pairs']} pairs; {', '.join(told)}\n"
        f"adapter in {paths.model_dir(name, seed)}, curves in {paths.training_dir(name, seed)}"
    )
