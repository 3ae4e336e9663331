"""How arms are trained (params.yaml: train, arms)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

from polychrome.declare import Rule, Section, at_most
from polychrome.errors import Problem
from polychrome.rewards.interface import REWARDS

REWARD = "|".join([*REWARDS, r"[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*"])


@dataclass(frozen=True, kw_only=True)
class TrainSettings(Section):
    """The training loop, common to all arms."""

    weight_decay: Annotated[float, Rule("AdamW", minimum=0)]
    warmup_ratio: Annotated[float, Rule("share of steps with rising learning rate", minimum=0, maximum=1)]
    max_grad_norm: Annotated[float, Rule("clip above", above=0)]
    gradient_accumulation: Annotated[int, Rule("micro-batches per step", minimum=1)]
    checkpoint_every: Annotated[int, Rule("steps between checkpoints", minimum=1)]
    evaluate_every: Annotated[int, Rule("batches of posts between validations; 0 is once an epoch", minimum=0)]
    patience: Annotated[int, Rule("validations without improvement before stopping; 0 never stops early", minimum=0)]
    keep_best: Annotated[bool, Rule("true ends with the weights of the best validation, false with the last")]


@dataclass(frozen=True, kw_only=True)
class Arm(Section):
    """What every arm that is trained has."""

    stage: ClassVar[str]  # of dvc.yaml, which trains it

    objective: Annotated[str, Rule("untouched, or one of ARMS in training/settings.py")]
    data: Annotated[str, Rule()]
    epochs: Annotated[int, Rule("passes over the data", minimum=1)]
    learning_rate: Annotated[float, Rule("AdamW's peak", above=0)]
    batch_size: Annotated[int, Rule("posts per step", minimum=1)]


@dataclass(frozen=True, kw_only=True)
class CrossEntropyArm(Arm):
    """An arm trained by cross-entropy alone."""

    stage: ClassVar[str] = "sft"

    data: Annotated[str, Rule(choices=("full", "phase1_sft"))]


@dataclass(frozen=True, kw_only=True)
class PolychromicArm(CrossEntropyArm):
    """An arm trained by cross-entropy minus lambda times set diversity."""

    lambda_: Annotated[float, Rule("weight of set diversity, standardised; 0 is cross_entropy bit for bit", minimum=0)]
    diversity: Annotated[str, Rule(choices=("semantic", "self_bleu", "distinct_n"))]
    # the leave-one-out baseline is a mean over pairs of the others
    samples: Annotated[int, Rule("replies per set", minimum=3)]
    posts_per_step: Annotated[int, Rule("posts of the batch that a set is drawn for; at most batch_size", minimum=1)]
    diversity_temperature: Annotated[float, Rule("of the policy that sets are drawn from", above=0)]
    max_new_tokens: Annotated[int, Rule("tokens of a sampled reply", minimum=1)]
    gate: Annotated[bool, Rule("leaves malformed and off-topic replies out of D; false counts every reply")]

    def disagreements(self) -> Iterator[Problem]:
        """A step's diverse posts are among its batch."""
        yield from at_most("posts_per_step", self.posts_per_step, "batch_size", self.batch_size)


@dataclass(frozen=True, kw_only=True)
class GrpoArm(Arm):
    """An arm trained by GRPO from a warm-start; names and meanings are those of TRL's GRPOConfig."""

    stage: ClassVar[str] = "grpo"

    data: Annotated[str, Rule(choices=("phase2_grpo",))]
    num_generations: Annotated[int, Rule("completions per group (G)", minimum=2)]
    beta: Annotated[float, Rule("weight of KL to the warm-start", minimum=0)]
    epsilon: Annotated[float, Rule("clip range of the ratio; binds only when num_iterations > 1", above=0)]
    epsilon_high: Annotated[float | None, Rule("upper clip range; null is epsilon", above=0)]
    num_iterations: Annotated[int, Rule("optimiser steps per batch of rollouts", minimum=1)]
    loss_type: Annotated[str, Rule(choices=("grpo", "bnpo", "dr_grpo", "dapo"))]
    scale_rewards: Annotated[str, Rule("group divides advantages by the group's std", choices=("group", "none"))]
    temperature: Annotated[float, Rule("of the policy, in sampling and in log-probabilities", above=0)]
    top_p: Annotated[float, Rule("; below 1 sampling leaves the policy that is trained", above=0, maximum=1)]
    top_k: Annotated[int, Rule("tokens; 0 keeps all", minimum=0)]
    max_new_tokens: Annotated[int, Rule("tokens of a sampled reply", minimum=1)]
    reward: Annotated[
        str,
        Rule(
            "what is climbed: heuristic, learned, hybrid, or a function of yours as module:function",
            pattern=REWARD,
            words=f"{', '.join(REWARDS)} or module:function",
        ),
    ]
    shuffle_rewards: Annotated[bool, Rule("true deals rewards out at random: a control that must gain nothing")]


ARMS: dict[str, type[Arm]] = {
    "cross_entropy": CrossEntropyArm,
    "polychromic": PolychromicArm,
    "grpo": GrpoArm,
}  # objective -> the settings of its arms
