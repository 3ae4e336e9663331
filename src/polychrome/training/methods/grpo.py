"""Group relative policy optimisation from a warm start, against a frozen reference: a step, told in order.

Completions are drawn in groups (:mod:`~polychrome.training.methods.groups`), rewarded, compared within their group
and, with what the reference says of them, given to the loss (:mod:`polychrome.objectives.grpo`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from polychrome import paths
from polychrome.engine.packing import Packed
from polychrome.engine.recording import Replay
from polychrome.engine.sampler import Completion
from polychrome.engine.sampling import SamplingSettings
from polychrome.measures.encoder import Encoder
from polychrome.models.policy import reference_active, set_training
from polychrome.objectives.grpo import group_advantages, grpo_terms, k3, zero_variance
from polychrome.pairs.schema import Pair
from polychrome.randomness import torch_generator
from polychrome.rewards.composite import GroupBonus
from polychrome.rewards.interface import Reward, Setting, make_reward
from polychrome.training.diversity import semantic_distance
from polychrome.training.methods.groups import Drawn, draw
from polychrome.training.methods.interface import Context, Metrics, Piece, Rollout, Step

if TYPE_CHECKING:
    from polychrome.params import Params
    from polychrome.training.settings import GrpoArm

GAP_EVERY = 8  # steps from one that computes all again to the next


@dataclass
class Grpo:
    """GRPO as ``arm`` sets it."""

    arm: GrpoArm
    reward: Reward
    distance: Callable[[Sequence[str]], float]  # mean pairwise semantic distance of a set, to watch
    bonus: GroupBonus | None = None  # what a reply earns by differing from its group

    @classmethod
    def build(cls, arm: GrpoArm, params: Params, pairs: Sequence[Pair]) -> Self:
        """With the reward and the bonus of params.yaml; relevance is calibrated on the arm's own pairs."""
        encoder, form = Encoder.open(paths.ENCODER), params.reward.diversity_form
        reward = make_reward(arm.reward, Setting(params.reward, encoder, pairs))
        bonus = None if form == "none" else GroupBonus(encoder, form, params.reward.diversity_weight)
        return cls(arm, reward, semantic_distance(encoder), bonus)

    @property
    def repeats(self) -> int:
        """Optimiser steps a batch of rollouts serves."""
        return self.arm.num_iterations

    def step(self, context: Context, batch: Sequence[Pair], number: int) -> Step:
        """Draw groups, reward them, compare within groups, and make the pieces."""
        # What the sampler computes, training takes over: on policy, where memory allows. Every so many steps it
        # computes it again, so that the gap between two whole computations is measured too.
        record = self.repeats == 1 and number % GAP_EVERY != 0
        drawn = draw(context, batch, self.arm.num_generations, self._sampling, ("grpo", number), record=record)
        rewards = self._rewards(batch, drawn.texts)
        climbed = self._climbed(context, rewards, drawn.texts, number)
        advantages = group_advantages(climbed, self.arm.scale_rewards).float()
        posts, sequences, tokens = map(context.total, (len(batch), rewards.numel(), drawn.tokens))
        pieces = [
            self._piece(context, packed, replay, drawn.completions[span], advantages[span].flatten(), sequences, tokens)
            for span, packed, replay in drawn.packs(context)
        ]
        ended = sum(c.ended for group in drawn.completions for c in group)
        metrics = {
            "reward": context.total(float(rewards.sum())) / sequences,
            "reward_std": context.total(float(rewards.std(-1).sum())) / posts,
            "zero_variance_share": context.total(float(zero_variance(climbed).sum())) / posts,
            "completion_length": tokens / sequences,
            "ended_share": context.total(ended) / sequences,
            "diversity": context.total(float(np.sum([self.distance(group) for group in drawn.texts]))) / posts,
        }
        return Step(pieces, metrics, _rollouts(batch, drawn, rewards))

    @property
    def _sampling(self) -> SamplingSettings:
        return SamplingSettings(self.arm.temperature, self.arm.max_new_tokens, self.arm.top_p, self.arm.top_k)

    def _rewards(self, batch: Sequence[Pair], texts: Sequence[Sequence[str]]) -> torch.Tensor:
        """(B, G), float64."""
        posts = [pair.post for pair, group in zip(batch, texts, strict=True) for _ in group]
        scores = self.reward(posts, [text for group in texts for text in group])
        return torch.from_numpy(scores).view(len(batch), self.arm.num_generations)

    def _climbed(self, context: Context, rewards: torch.Tensor, texts: Sequence[Sequence[str]], n: int) -> torch.Tensor:
        """(B, G): what advantages are made of: the rewards, with the group's bonus, or permuted for the control."""
        climbed = rewards if self.bonus is None else self.bonus(texts, rewards)
        if not self.arm.shuffle_rewards:
            return climbed
        order = torch_generator(context.seed, "shuffled rewards", n, context.rank)
        return climbed.flatten()[torch.randperm(climbed.numel(), generator=order)].view_as(climbed)

    def _piece(
        self,
        context: Context,
        packed: Packed,
        replay: Replay | None,
        drawn: Sequence[Sequence[Completion]],
        advantages: torch.Tensor,
        sequences: float,
        tokens: float,
    ) -> Piece:
        """Score one pack under the reference, and where it serves several steps under the policy that drew it."""
        arm, temperature = self.arm, self.arm.temperature
        advantages = advantages.to(packed.completion_mask)
        sampler = packed.spread(torch.tensor([x for group in drawn for c in group for x in c.logps]).to(advantages))
        with torch.no_grad(), _without_dropout(context.policy):
            with reference_active(context.policy):
                trunk = None if replay is None else replay.trunk()
                reference, _, trunk = context.scorer(packed, temperature, trunk, with_entropy=False)
            old = context.scorer(packed, temperature, trunk)[0] if self.repeats > 1 else None

        def loss(logps: torch.Tensor, entropies: torch.Tensor) -> tuple[torch.Tensor, Metrics]:
            mask = packed.completion_mask.to(logps)
            before = logps.detach() if old is None else old
            terms = grpo_terms(
                logps,
                before,
                reference,
                advantages,
                mask,
                loss_type=arm.loss_type,
                epsilon=arm.epsilon,
                epsilon_high=arm.epsilon if arm.epsilon_high is None else arm.epsilon_high,
                max_completion_length=arm.max_new_tokens,
                sequences=sequences,
                tokens=tokens,
            )
            gap = (before - sampler).abs() * mask
            return terms.policy + arm.beta * terms.kl, {
                "policy_loss": terms.policy.detach(),
                "kl": (k3(logps, reference).detach() * mask).sum() / sequences,
                "clip_fraction": terms.clip_fraction,
                "entropy": entropies.sum() / tokens,
                "sampler_gap": gap.sum() / tokens,
                "sampler_gap_max": gap.max(),
                "sampler_kl": (k3(sampler, before) * mask).sum() / tokens,
            }

        return Piece("grpo", packed, loss, temperature, trunk=trunk, replay=replay)

    def validate(self, context: Context, pairs: Sequence[Pair]) -> tuple[str, float]:
        """Minus the mean reward of one group a post, drawn from fixed streams."""
        drawn = draw(context, pairs, self.arm.num_generations, self._sampling, ("validation",), record=False)
        return "validation_negative_reward", -float(self._rewards(pairs, drawn.texts).mean())


def _rollouts(batch: Sequence[Pair], drawn: Drawn, rewards: torch.Tensor) -> list[Rollout]:
    """One a post. Rewards are those of the replies themselves, without bonus, unshuffled."""
    return [
        {
            "id": pair.id,
            "post": pair.post,
            "replies": replies,
            "rewards": [float(f"{reward:.6g}") for reward in own],
            "ended": [c.ended for c in completions],
        }
        for pair, completions, replies, own in zip(batch, drawn.completions, drawn.texts, rewards.tolist(), strict=True)
    ]


@contextmanager
def _without_dropout(policy: Any) -> Iterator[None]:
    """As in sampling: the reference, and the policy that replies were drawn from, are the models without noise."""
    was_training = policy.training
    set_training(policy, False)
    try:
        yield
    finally:
        set_training(policy, was_training)
