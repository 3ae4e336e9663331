"""What the tests of training share: tiny runs of every method, a toy encoder and reward, files as bytes."""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from ruamel.yaml import YAML

from polychrome.models.chat import Chat
from polychrome.models.policy import open_adapter, open_base, open_tokenizer
from polychrome.pairs.schema import Pair
from polychrome.params import Params
from polychrome.training.alarms import Alarms
from polychrome.training.classes import Classes, distinct_share
from polychrome.training.diversity import Validity, make_diversity
from polychrome.training.loop import Run
from polychrome.training.methods import method_of
from polychrome.training.methods.context import Context
from polychrome.training.methods.cross_entropy import CrossEntropy, CrossEntropyArm
from polychrome.training.methods.grpo import Grpo, GrpoArm
from polychrome.training.methods.interface import Method, Step
from polychrome.training.methods.polychromic import Polychromic, PolychromicArm
from polychrome.training.methods.sets import SetArm, SetGrpo
from polychrome.training.methods.tempered import Tempered, TemperedArm
from polychrome.training.runs import train
from polychrome.training.settings import TrainSettings
from polychrome.training.shards import Shards

NO_ALARMS = Alarms(kl_warn=math.inf, kl_stop=math.inf, reward_flat_steps=0, length_collapse_ratio=0.0)
LOOP: dict[str, Any] = {"epochs": 1, "batch_size": 4, "learning_rate": 1e-2}
SETTINGS: dict[str, Any] = {
    "weight_decay": 0.01, "warmup_ratio": 0.0, "max_grad_norm": 1.0, "gradient_accumulation": 1,
    "checkpoint_every": 1000, "evaluate_every": 0, "patience": 0, "keep_best": False,
}  # fmt: skip


class LetterEncoder:
    """Embeds a text as its normalised character counts: texts of other letters are far apart."""

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        vectors = np.full((len(texts), 32), 1e-3, dtype=np.float32)
        for row, text in enumerate(texts):
            for character in text:
                vectors[row, zlib.crc32(character.encode()) % 32] += 1
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class EveryPost(dict):
    """The vector of any post, as letters embed it."""

    def __missing__(self, post: str) -> np.ndarray:
        return LetterEncoder().embed([post])[0]


def likes_ascii(posts: Sequence[str], replies: Sequence[str]) -> np.ndarray:
    """A toy reward: the share of a reply's characters that are ASCII."""
    return np.array([sum(c.isascii() for c in reply) / max(1, len(reply)) for reply in replies], dtype=np.float64)


def polychromic(gate: float | None = None, **changes: Any) -> Polychromic:
    """The polychromic method over character counts; ``gate`` is the cosine that a reply must reach."""
    arm = PolychromicArm(
        objective="polychromic", data="full", **LOOP, gate=gate is not None,
        **{"lambda_": 1.0, "diversity": "semantic", "samples": 4, "posts_per_step": 4}
        | {"diversity_temperature": 1.0, "max_new_tokens": 6} | changes,
    )  # fmt: skip
    letters: Any = LetterEncoder()
    validity, classes = Validity(gate, EveryPost()), Classes("partition", letters, Validity(None), 0.9)
    diversity = distinct_share(classes) if arm.diversity == "partition" else make_diversity(arm.diversity)
    return Polychromic(arm, letters, diversity, validity)


def grpo(reward: Any = None, bonus: Any = None, **changes: Any) -> Grpo:
    """GRPO on a toy reward, without KL; keywords change the arm."""
    arm = GrpoArm(
        objective="grpo", data="phase2_grpo", **LOOP, reward="toy",
        **{"num_generations": 4, "beta": 0.0, "epsilon": 0.2, "epsilon_high": None, "num_iterations": 1}
        | {"loss_type": "dapo", "scale_rewards": "group", "shuffle_rewards": False}
        | {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_new_tokens": 6}
        | {key: value for key, value in changes.items() if key in GrpoArm.__dataclass_fields__},
    )  # fmt: skip
    return Grpo(arm, reward or likes_ascii, lambda replies: 0.0, bonus)


def sets(objective: str = "set_poly", reward: Any = None, alike: float = 0.9, **changes: Any) -> SetGrpo:
    """GRPO on sets of 2 of 4, of replies that are alike from the cosine ``alike`` of their character counts."""
    letters, plain = LetterEncoder(), grpo(**{"scale_rewards": "batch"} | changes)
    classes = Classes("partition", letters, Validity(None), alike)
    sizes = {"set_size": 2, "set_size_end": None, "classes": "partition"}
    arm = SetArm(**vars(plain.arm) | sizes | changes | {"objective": objective})
    return SetGrpo(arm, reward or likes_ascii, plain.distance, classes=classes)


def tiny_run(
    base: Path, warmstart: Path, pairs: Sequence[Pair], method: Method, shard: bool = False, **changes: Any
) -> Run:
    """A run of ``method`` from the adapter in ``warmstart``; keywords change the arm, loop settings or the run."""
    accelerator = Accelerator(cpu=True, mixed_precision="no")
    policy = open_adapter(open_base(base, torch.float32), warmstart, trainable=True, with_reference=True)
    arm, settings = dict(LOOP), dict(SETTINGS)
    run: dict[str, Any] = {"pairs": pairs, "validation": [], "seed": 11, "alarms": NO_ALARMS, "checkpoints": None}
    for name, value in changes.items():
        next(part for part in (arm, settings, run) if name in part or part is run)[name] = value
    return Run(
        policy=policy,
        method=method,
        chat=Chat(open_tokenizer(base), "Reply.", 128, 64),
        arm=CrossEntropyArm(objective="cross_entropy", data="full", **arm),
        settings=TrainSettings(**settings),
        accelerator=accelerator,
        name="test",
        shards=Shards(policy, accelerator.device) if shard else None,
        **run,
    )


KIN: dict[str, dict[str, Any]] = {
    "darling": {"scale_rewards": "none", "classes": "partition"},
    "mara": {"scale_rewards": "none", "beta": 0.1, "pass_reward": 0.6, "gain_cap": 0.5},
    "unlikely": {"rank_weight": 0.25},
    "maxrl": {"scale_rewards": "passes", "pass_reward": 0.6},
}


def kin(objective: str, **changes: Any) -> Grpo:
    """One of KIN on a toy reward; keywords change the arm."""
    plain, method, own = grpo(), method_of(objective), {}
    if "classes" in KIN[objective]:
        own["classes"] = sets(alike=0.5).classes
    arm: Any = method.settings(**vars(plain.arm) | KIN[objective] | changes | {"objective": objective})
    return method(arm, plain.reward, plain.distance, **own)  # type: ignore[call-arg]


def tempered(**changes: Any) -> Tempered:
    """Tempered cross-entropy; keywords change the arm."""
    own = {"beta": 0.8, "gamma": 3.0} | changes
    return Tempered(TemperedArm(objective="tempered", data="full", **LOOP, **own))


@dataclass
class Watched(CrossEntropy):
    """Cross-entropy that remembers its batches."""

    batches: list[list[str]] = field(default_factory=list)

    def step(self, context: Context, batch: Sequence[Pair], number: int) -> Step:
        self.batches.append([pair.id for pair in batch])
        return super().step(context, batch, number)


@dataclass
class Scripted(CrossEntropy):
    """Cross-entropy whose validations are given, and which remembers the weights at each of them."""

    values: list[float]
    weights: list[dict[str, torch.Tensor]] = field(default_factory=list)

    def validate(self, context: Context, pairs: Sequence[Pair]) -> tuple[str, float]:
        assert not context.policy.training
        self.weights.append({n: p.detach().clone() for n, p in context.policy.named_parameters() if p.requires_grad})
        return "validation_cross_entropy", self.values.pop(0)


def write_params(folder: Path, changes: dict[str, Any] | None = None) -> None:
    """Make params.yaml in ``folder`` fit the tiny model; ``changes`` maps dotted keys to values."""
    yaml = YAML()
    file = folder / "params.yaml"
    values = yaml.load(file)
    small = {
        "seeds": [1],
        "controls.seed": 1,
        "compute.dtype": "float32",
        "compute.threads": 1,
        "prompt.max_prompt_tokens": 300,
        "prompt.max_reply_tokens": 64,
        "lora.rank": 2,
        "lora.targets": ["q_proj", "v_proj"],
        "train.checkpoint_every": 2,
        "alarms.kl_warn": 1e6,
        "alarms.kl_stop": 1e6,
        "alarms.reward_flat_steps": 0,
    }
    fitting = {"batch_size": 4, "epochs": 1, "learning_rate": 1e-2, "max_new_tokens": 5}
    fitting |= {"samples": 3, "posts_per_step": 2, "gate": False}
    for arm, settings in values["arms"].items():
        if "reward" in settings:  # no model of engagement is trained for these tests
            small[f"arms.{arm}.reward"] = "heuristic"
        small |= {f"arms.{arm}.{key}": value for key, value in fitting.items() if key in settings}
    for dotted, value in (small | (changes or {})).items():
        *path, last = dotted.split(".")
        section = values
        for name in path:
            section = section[name]
        assert last in section, dotted
        section[last] = value
    with file.open("w") as handle:
        yaml.dump(values, handle)


def rewarded(folder: Path, arm: str) -> dict[str, Any]:
    """Changes of params.yaml by which ``arm`` climbs :func:`likes_ascii` in ``folder``: few replies earn the same."""
    (folder / "custom_rewards").mkdir(exist_ok=True)
    (folder / "custom_rewards/of_ascii.py").write_text(
        "import numpy as np\n\n\ndef share(posts, replies):\n"
        "    return np.array([sum(c.isascii() for c in reply) / max(1, len(reply)) for reply in replies])\n"
    )
    return {"reward.cut": "keep", f"arms.{arm}.reward": "custom_rewards.of_ascii:share"}


def train_arm(params: Params, name: str) -> dict[str, Any]:
    """Train an arm with seed 1 as its stage does."""
    return train(params, name, 1, [name])


def outputs(folder: Path) -> dict[str, bytes]:
    """Every file that training left in a scratch repository, by its path in it."""
    kept = [file for part in ("models", "results") for file in sorted((folder / part).rglob("*")) if file.is_file()]
    return {str(file.relative_to(folder)): file.read_bytes() for file in kept}
