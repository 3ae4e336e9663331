"""Group relative policy optimisation from a warm start, against a frozen reference: a step, told in order.

Completions are drawn in groups (:mod:`~polychrome.training.methods.context`), rewarded, compared within their group
and, with what the reference says of them, given to the loss (:mod:`polychrome.objectives.grpo`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple, Self

import numpy as np

from polychrome import paths
from polychrome.declare import Rule
from polychrome.measures.encoder import Encoder
from polychrome.measures.sets import mean_pairwise_cosine_distance
from polychrome.pairs.schema import Pair
from polychrome.randomness import torch_generator
from polychrome.rewards.interface import REWARDS, Reward, Setting, make_reward
from polychrome.training.methods.interface import Metrics, Piece, Step
from polychrome.training.settings import Arm

if TYPE_CHECKING:
    from torch import Tensor

    from polychrome.params import Params
    from polychrome.rewards.composite import GroupBonus
    from polychrome.training.methods.context import Context, Drawn, Part

OWN = r"[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*"  # a reward of the user's own
GAP_EVERY = 8  # steps from one that computes all again to the next


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
            "what is climbed: heuristic, learned, hybrid, audience, or a function of yours as module:function",
            pattern="|".join([*REWARDS, OWN]),
            words=f"{', '.join(REWARDS)} or module:function",
        ),
    ]
    shuffle_rewards: Annotated[bool, Rule("true deals rewards out at random: a control that must gain nothing")]


class Rewarded(NamedTuple):
    """What the advantages of this process's B posts of a step are made from."""

    context: Context
    pairs: Sequence[Pair]  # (B,), of the posts
    number: int  # of the batch, from 0; the run has context.batches
    drawn: Drawn  # .texts[b][g], and .completions[b][g] with its tokens and log-probabilities (.logps)
    rewards: Tensor  # (B, G), float64: what is climbed, with any bonus
    reference: Tensor  # (B, G), float64: log-probabilities of the completions under the warm-start
    whole: Tensor | None = None  # (B, G) bool: which replies count as replies, cut ones do not; None where all do


class Counts(NamedTuple):
    """What a loss is a mean over, of the whole step."""

    sequences: float
    tokens: float


class Scored(NamedTuple):
    """A part of what was drawn, with its tokens' log-probabilities (N, T)."""

    part: Part
    reference: Tensor  # under the warm-start
    old: Tensor | None  # under the policy that drew them, where it is not the one that is trained
    trunk: Tensor | None


@dataclass
class Grpo:
    """GRPO as ``arm`` sets it."""

    settings: ClassVar[type[Arm]] = GrpoArm

    arm: GrpoArm
    reward: Reward
    distance: Callable[[Sequence[str]], float]  # mean pairwise semantic distance of a set, to watch
    bonus: GroupBonus | None = None  # what a reply earns by differing from its group
    cut: str = "keep"  # what becomes of a reply that was cut: `reward.cut`

    @classmethod
    def build(cls, arm: GrpoArm, params: Params, pairs: Sequence[Pair]) -> Self:
        """With the reward and the bonus of params.yaml; what they are calibrated on are the arm's own pairs."""
        from polychrome.rewards.composite import GroupBonus

        encoder, form = Encoder.open(paths.ENCODER), params.reward.diversity_form
        reward = make_reward(arm.reward, Setting(params.reward, encoder, pairs))
        bonus = None if form == "none" else GroupBonus(encoder, form, params.reward.diversity_weight)
        fields: dict[str, Any] = {"reward": reward, "distance": partial(distance, encoder.embed), "bonus": bonus}
        return cls(arm, **fields | {"cut": params.reward.cut} | cls.own(arm, encoder, pairs))

    @classmethod
    def own(cls, arm: Any, encoder: Encoder, pairs: Sequence[Pair]) -> dict[str, Any]:
        """Fields, by name, that a kin of GRPO has beside or in place of these."""
        return {}

    @property
    def repeats(self) -> int:
        """Optimiser steps a batch of rollouts serves."""
        return self.arm.num_iterations

    @property
    def kl_weight(self) -> float:
        """Of the KL in the loss; what is logged is not weighed."""
        return self.arm.beta

    def step(self, context: Context, batch: Sequence[Pair], number: int) -> Step:
        """Draw groups, reward them, compare within groups, and make the pieces."""
        import torch

        from polychrome.objectives.grpo import zero_variance

        # What the sampler computes, training takes over: on policy, where memory allows. Every so many steps it
        # computes it again, so that the gap between two whole computations is measured too.
        record = self.repeats == 1 and number % GAP_EVERY != 0
        drawn, rewards = self._rewarded(context, batch, ("grpo", number), record)
        climbed = rewards if self.bonus is None else self.bonus(drawn.texts, rewards)
        if self.arm.shuffle_rewards:  # a control: rewards dealt out at random must teach nothing
            order = torch_generator(context.seed, "shuffled rewards", number, context.rank)
            climbed = climbed.flatten()[torch.randperm(climbed.numel(), generator=order)].view_as(climbed)
        scored = [self._scored(context, part) for part in drawn.parts(context)]
        logps = [each.reference.sum(-1).to(climbed) for each in scored]
        reference = torch.cat([climbed.new_zeros(0), *logps]).view_as(climbed)
        ended = torch.tensor(drawn.ended, dtype=torch.bool).view_as(climbed)
        whole = None if self.cut == "keep" else ended
        advantages, watched = self.advantages(Rewarded(context, batch, number, drawn, climbed, reference, whole))
        total = context.total
        posts, sequences, tokens = map(total, (len(batch), rewards.numel(), drawn.tokens))
        lengths = torch.tensor([[len(c.tokens) for c in group] for group in drawn.completions]).view_as(ended)
        taught = ended if self.cut == "mask" else torch.ones_like(ended)
        left = Counts(*(max(1.0, total(float(count.sum()))) for count in (taught, lengths * taught)))
        pieces = [
            self._piece(
                each,
                advantages[each.part.span].flatten().float(),
                taught[each.part.span].flatten(),
                left,
                Counts(sequences, tokens),
            )
            for each in scored
        ]
        metrics = {
            "reward": total(float(rewards.sum())) / sequences,
            "reward_std": total(float(rewards.std(-1).sum())) / posts,
            "zero_variance_share": total(float(zero_variance(climbed).sum())) / posts,
            "completion_length": tokens / sequences,
            "ended_share": total(float(ended.sum())) / sequences,
            "diversity": total(float(np.sum([self.distance(group) for group in drawn.texts]))) / posts,
        }
        logged = [[float(f"{reward:.6g}") for reward in own] for own in rewards.tolist()]  # without bonus, unshuffled
        rollouts = [
            {"id": pair.id, "post": pair.post, "replies": replies, "rewards": own, "ended": ends}
            for pair, replies, own, ends in zip(batch, drawn.texts, logged, ended.tolist(), strict=True)
        ]
        return Step(pieces, metrics | watched, rollouts)

    def advantages(self, of: Rewarded) -> tuple[Tensor, dict[str, float]]:
        """The weight (B, G) of every completion's log-probability, and what to log: what a kin of GRPO overrides.

        Every process is asked, also one whose part is empty (B = 0), and calls ``of.context.total`` equally often. What
        is logged is that of the whole step; the loss, its clip and its KL stay GRPO's.
        """
        from polychrome.objectives.grpo import group_advantages

        return group_advantages(of.rewards, self.arm.scale_rewards), {}

    def _rewarded(
        self, context: Context, pairs: Sequence[Pair], purpose: tuple[object, ...], record: bool
    ) -> tuple[Drawn, Tensor]:
        """A group of completions per post, and their rewards (B, G), float64; 0 for a cut one, unless those count."""
        import torch

        arm = self.arm
        sampling = {name: getattr(arm, name) for name in ("temperature", "max_new_tokens", "top_p", "top_k")}
        drawn = context.draw(pairs, arm.num_generations, purpose, record, **sampling)
        posts = [pair.post for pair in pairs]
        if visited := getattr(self.reward, "visited", None):
            scores = visited(posts, drawn.texts, [(context.seed, *purpose, pair.id) for pair in pairs])
        else:
            each = [post for post in posts for _ in range(arm.num_generations)]
            scores = self.reward(each, [text for group in drawn.texts for text in group])
        rewards = torch.from_numpy(scores).view(len(pairs), arm.num_generations)
        if self.cut != "keep":
            rewards = rewards.masked_fill(~torch.tensor(drawn.ended, dtype=torch.bool).view_as(rewards), 0.0)
        return drawn, rewards

    def _scored(self, context: Context, part: Part) -> Scored:
        """Score one part under the reference, and where it serves several steps under the policy that drew it."""
        from polychrome.models.policy import reference_active

        packed, temperature = part.packed, self.arm.temperature
        with context.as_sampled():
            with reference_active(context.policy):
                trunk = part.replay and part.replay.trunk()
                reference, _, trunk = context.scorer(packed, temperature, trunk, with_entropy=False)
            old = context.scorer(packed, temperature, trunk)[0] if self.repeats > 1 else None
        return Scored(part, reference, old, trunk)

    def _piece(self, scored: Scored, advantages: Tensor, taught: Tensor, left: Counts, drawn: Counts) -> Piece:
        """The loss of completions that are ``taught`` (N,), ``left`` in all; what is watched is of all ``drawn``."""
        from polychrome.objectives.grpo import grpo_terms, k3

        arm, (part, reference, old, trunk) = self.arm, scored
        packed = part.packed
        advantages, taught = (of.to(packed.completion_mask) for of in (advantages, taught))
        sampler = part.sampler_logps

        def loss(logps: Tensor, entropies: Tensor) -> tuple[Tensor, Metrics]:
            mask = packed.completion_mask.to(logps)
            before = logps.detach() if old is None else old
            terms = grpo_terms(
                logps, before, reference, advantages, mask * taught[:, None],
                loss_type=arm.loss_type, epsilon=arm.epsilon,
                epsilon_high=arm.epsilon if arm.epsilon_high is None else arm.epsilon_high,
                max_completion_length=arm.max_new_tokens, sequences=left.sequences, tokens=left.tokens,
                weights=part.weights(before),
            )  # fmt: skip
            gap = (before - sampler).abs() * mask
            return terms.policy + self.kl_weight * terms.kl, {
                "policy_loss": terms.policy.detach(),
                "kl": (k3(logps, reference).detach() * mask).sum() / drawn.sequences,
                "clip_fraction": terms.clip_fraction,
                "entropy": entropies.sum() / drawn.tokens,
                "sampler_gap": gap.sum() / drawn.tokens,
                "sampler_gap_max": gap.max(),
                "sampler_kl": (k3(sampler, before) * mask).sum() / drawn.tokens,
            }

        return Piece("grpo", packed, loss, arm.temperature, trunk=trunk, replay=part.replay)

    def validate(self, context: Context, pairs: Sequence[Pair]) -> tuple[str, float]:
        """Minus the mean reward of one group per post, sampled from fixed streams."""
        _, rewards = self._rewarded(context, pairs, ("validation",), record=False)
        return "validation_negative_reward", -float(rewards.mean())


def distance(embed: Callable[[list[str]], np.ndarray], texts: Sequence[str]) -> float:
    """Mean pairwise cosine distance of a set of texts, by an encoder's ``embed``."""
    return float(mean_pairwise_cosine_distance(embed(list(texts))))
