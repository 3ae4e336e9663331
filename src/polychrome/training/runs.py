"""The training stages: an arm and a seed make a model."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from polychrome import paths
from polychrome.engine.compute import CHOSEN, configure
from polychrome.engine.sampling import SamplingSettings
from polychrome.errors import bad
from polychrome.files import whole_directory
from polychrome.measures.encoder import Encoder
from polychrome.models.chat import Chat
from polychrome.models.policy import add_adapter, open_adapter, open_base, open_tokenizer, save_adapter
from polychrome.models.recipes import check_recipe, recipe_of
from polychrome.pairs.schema import Pair, read_pairs
from polychrome.params import Params
from polychrome.rewards.composite import GroupBonus
from polychrome.rewards.interface import Setting, make_reward
from polychrome.training.checkpoint import Checkpoints, digest_of
from polychrome.training.diversity import Validity, make_diversity, semantic_distance
from polychrome.training.loop import LoopSettings, Run, State
from polychrome.training.methods import CrossEntropy, Grpo, Method, Polychromic
from polychrome.training.settings import PolychromicArm
from polychrome.training.summary import write_training

CODE = Path(__file__).parents[1]


def train_sft(params: Params, name: str, seed: int) -> dict[str, Any]:
    """Train a cross-entropy or polychromic arm from the base model. Returns the run's summary."""
    arm = _arm(params, name, params.trained_by_sft)
    pairs = read_pairs(paths.PHASES / f"{arm.data}.jsonl")
    dtype = configure(params.compute)
    base = open_base(paths.BASE, dtype, params.assets.load_in_4bit)
    policy = add_adapter(base, params.lora, seed)
    method: Method = CrossEntropy()
    if isinstance(arm, PolychromicArm):
        encoder = Encoder.open(paths.ENCODER)
        method = Polychromic(
            lambda_=arm.lambda_,
            encoder=encoder,
            diversity=make_diversity(arm.diversity),
            validity=Validity.calibrated(encoder, pairs, arm.gate),
            sampling=SamplingSettings(arm.diversity_temperature, arm.max_new_tokens),
            samples=arm.samples,
            posts=arm.posts_per_step,
        )
    return _train(params, name, seed, policy, method, pairs, [], str(dtype))


def train_grpo(params: Params, name: str, seed: int) -> dict[str, Any]:
    """Train a GRPO arm from its warm-start. Returns the run's summary. Raises InputError without a warm-start."""
    arm = _arm(params, name, params.warmstarts)
    start = paths.model_dir(params.warmstarts[name], seed)
    pairs = read_pairs(paths.PHASES / f"{arm.data}.jsonl")
    dtype = configure(params.compute)
    if not (start / "adapter_model.safetensors").is_file():
        raise bad(
            str(start),
            "no warm-start",
            f"the adapter that {name} starts from",
            f"Run `dvc repro sft@{params.warmstarts[name]}-{seed}`.",
        )
    policy = open_adapter(
        open_base(paths.BASE, dtype, params.assets.load_in_4bit), start, trainable=True, with_reference=True
    )
    check_recipe(start, recipe_of(params, params.warmstarts[name], seed))
    encoder = Encoder.open(paths.ENCODER)
    method = Grpo(
        reward=make_reward(arm.reward, Setting(params.reward, encoder, pairs)),
        distance=semantic_distance(encoder),
        sampling=SamplingSettings(arm.temperature, arm.max_new_tokens, arm.top_p, arm.top_k),
        num_generations=arm.num_generations,
        beta=arm.beta,
        epsilon=arm.epsilon,
        epsilon_high=arm.epsilon if arm.epsilon_high is None else arm.epsilon_high,
        loss_type=arm.loss_type,
        scale_rewards=arm.scale_rewards,
        repeats=arm.num_iterations,
        bonus=_bonus(params, encoder),
        shuffle_rewards=arm.shuffle_rewards,
    )
    return _train(params, name, seed, policy, method, pairs, [start, paths.REWARD], str(dtype))


def _bonus(params: Params, encoder: Encoder) -> GroupBonus | None:
    reward = params.reward
    if reward.diversity_form == "none":
        return None
    return GroupBonus(encoder, reward.diversity_form, reward.diversity_weight)


def _arm(params: Params, name: str, trained_here: Any) -> Any:
    if name not in trained_here:
        raise bad("params.yaml:arms", repr(name), f"one of {', '.join(trained_here)}", "Correct the arm's name.")
    return params.arms[name]


def _train(
    params: Params,
    name: str,
    seed: int,
    policy: Any,
    method: Method,
    pairs: list[Pair],
    starts_from: list[Path],
    dtype: str,
) -> dict[str, Any]:
    arm: Any = params.arms[name]
    train = params.train
    chat = Chat(
        open_tokenizer(paths.BASE), params.prompt.plain, params.prompt.max_prompt_tokens, params.prompt.max_reply_tokens
    )
    recipe = recipe_of(params, name, seed)
    everything = recipe | {
        "lora": asdict(params.lora), "train": asdict(train), "prompt": asdict(params.prompt), "dtype": dtype,
        "kernels": CHOSEN["kernels"], "threads": params.compute.threads, "memory": params.compute.memory_mib,
        "reward": asdict(params.reward),
    }  # fmt: skip
    validation_file = paths.PHASES / "validation.jsonl"
    validation = read_pairs(validation_file)
    chat.check(pairs, paths.PHASES / f"{arm.data}.jsonl")
    chat.check(validation, validation_file)
    rooms = ("engagement", "engine", "measures", "models", "objectives", "rewards", "training", "randomness.py")
    code = [CODE / room for room in rooms]
    code.append(paths.CUSTOM_REWARDS)
    data = [paths.BASE, paths.ENCODER, paths.PHASES / f"{arm.data}.jsonl", validation_file]
    digest = digest_of(recipe=everything, files=[*starts_from, *code, *data])
    run = Run(
        policy=policy,
        method=method,
        chat=chat,
        pairs=pairs,
        validation=validation,
        settings=LoopSettings(
            epochs=arm.epochs,
            batch_size=arm.batch_size,
            learning_rate=arm.learning_rate,
            weight_decay=train.weight_decay,
            warmup_ratio=train.warmup_ratio,
            max_grad_norm=train.max_grad_norm,
            gradient_accumulation=train.gradient_accumulation,
            checkpoint_every=train.checkpoint_every,
            evaluate_every=train.evaluate_every,
            patience=train.patience,
            keep_best=train.keep_best,
        ),
        seed=seed,
        alarms=params.alarms,
        checkpoints=Checkpoints(f"{name}-{seed}", digest),
        accelerator=Accelerator(cpu=not _cuda(), mixed_precision="no"),  # dtype is params.yaml's
        name=f"{name} seed {seed}",
        memory_mib=params.compute.memory_mib,
    )
    state = run.train()
    summary: dict[str, Any] = {}
    if run.accelerator.is_main_process:
        summary = _save(run, state, recipe, name, seed)
    run.accelerator.wait_for_everyone()
    run.accelerator.end_training()
    return summary


def _save(run: Run, state: State, recipe: dict[str, Any], name: str, seed: int) -> dict[str, Any]:
    facts = {"arm": name, "seed": seed, "pairs": len(run.pairs), "best_step": state.best_step}
    with whole_directory(paths.model_dir(name, seed)) as folder:
        save_adapter(run.policy, folder, recipe)
    summary = write_training(paths.training_dir(name, seed), state, facts, seed)
    if run.checkpoints:
        run.checkpoints.clear()
    return summary


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def describe(summary: dict[str, Any]) -> str:
    """Two lines for the end of a training stage: what was made, what to look at."""
    if not summary:
        return ""
    name, seed, last = summary["arm"], summary["seed"], summary["last_step"]
    told = [f"loss {last['loss']:.3f}"]
    told += [
        f"{key.replace('_', ' ')} {value:.3f}"
        for v in summary["validations"][-1:]
        for key, value in v.items()
        if key != "step"
    ]
    if summary.get("reward_gain"):
        gain = summary["reward_gain"]
        told.append(f"reward gained {gain['mean']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f})")
    if "diversity_gradient_share" in summary:
        told.append(f"diversity's share of the gradient {summary['diversity_gradient_share']:.2f}")
    return (
        f"{name}, seed {seed}: {summary['steps']} steps on {summary['pairs']} pairs; {', '.join(told)}\n"
        f"adapter in {paths.model_dir(name, seed)}, curves in {paths.training_dir(name, seed)}"
    )
