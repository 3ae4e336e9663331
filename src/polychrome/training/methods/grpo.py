"""Group relative policy optimisation from a warm start, against a frozen reference: a step, told in order.

Completions are drawn in groups (:mod:`~polychrome.training.methods.groups`), rewarded, compared within their group
and, with what the reference says of them, given to the loss (:mod:`polychrome.objectives.grpo`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

import numpy as np

from polychrome import paths
from polychrome.declare import Rule
from polychrome.measures.encoder import Encoder
from polychrome.measures.sets import mean_pairwise_cosine_distance
from polychrome.pairs.schema import Pair
from polychrome.randomness import torch_generator
from polychrome.rewards.interface import REWARDS, Reward, Setting, make_reward
from polychrome.training.methods.interface import Context, Metrics, Piece, Rollout, Step
from polychrome.training.settings import Arm

if TYPE_CHECKING:
    import torch

    from polychrome.engine.packing import Packed
    from polychrome.engine.recording import Replay
    from polychrome.engine.sampler import Completion
    from polychrome.params import Params
    from polychrome.rewards.composite import GroupBonus
    from polychrome.training.methods.groups import Drawn

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
            "what is climbed: heuristic, learned, hybrid, or a function of yours as module:function",
            pattern="|".join([*REWARDS, OWN]),
            words=f"{', '.join(REWARDS)} or module:function",
        ),
    ]
    shuffle_rewards: Annotated[bool, Rule("true deals rewards out at random: a control that must gain nothing")]


@dataclass
class Grpo:
    """GRPO as ``arm`` sets it."""

    settings: ClassVar[type[Arm]] = GrpoArm

    arm: GrpoArm
    reward: Reward
    distance: Callable[[Sequence[str]], float]  # mean pairwise semantic distance of a set, to watch
    bonus: GroupBonus | None = None  # what a reply earns by differing from its group

    @classmethod
    def build(cls, arm: GrpoArm, params: Params, pairs: Sequence[Pair]) -> Self:
        """With the reward and the bonus of params.yaml; what they are calibrated on are the arm's own pairs."""
        from polychrome.rewards.composite import GroupBonus

        encoder, form = Encoder.open(paths.ENCODER), params.reward.diversity_form
        reward = make_reward(arm.reward, Setting(params.reward, encoder, pairs))
        bonus = None if form == "none" else GroupBonus(encoder, form, params.reward.diversity_weight)
        return cls(arm, reward, lambda texts: float(mean_pairwise_cosine_distance(encoder.embed(list(texts)))), bonus)

    @property
    def repeats(self) -> int:
        """Optimiser steps a batch of rollouts serves."""
        return self.arm.num_iterations

    def step(self, context: Context, batch: Sequence[Pair], number: int) -> Step:
        """Draw groups, reward them, compare within groups, and make the pieces."""
        import torch

        from polychrome.objectives.grpo import group_advantages, zero_variance

        # What the sampler computes, training takes over: on policy, where memory allows. Every so many steps it
        # computes it again, so that the gap between two whole computations is measured too.
        drawn = self._draw(context, batch, ("grpo", number), record=self.repeats == 1 and number % GAP_EVERY != 0)
        rewards = self._rewards(batch, drawn.texts)
        climbed = rewards if self.bonus is None else self.bonus(drawn.texts, rewards)
        if self.arm.shuffle_rewards:  # a control: rewards dealt out at random must teach nothing
            order = torch_generator(context.seed, "shuffled rewards", number, context.rank)
            climbed = climbed.flatten()[torch.randperm(climbed.numel(), generator=order)].view_as(climbed)
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

    def _draw(self, context: Context, pairs: Sequence[Pair], purpose: tuple[object, ...], *, record: bool) -> Drawn:
        from polychrome.training.methods.groups import draw

        sampling = {name: getattr(self.arm, name) for name in ("temperature", "max_new_tokens", "top_p", "top_k")}
        return draw(context, pairs, self.arm.num_generations, purpose, record=record, **sampling)

    def _rewards(self, batch: Sequence[Pair], texts: Sequence[Sequence[str]]) -> torch.Tensor:
        """(B, G), float64."""
        import torch

        posts = [pair.post for pair, group in zip(batch, texts, strict=True) for _ in group]
        scores = self.reward(posts, [text for group in texts for text in group])
        return torch.from_numpy(scores).view(len(batch), self.arm.num_generations)

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
        from polychrome.models.policy import reference_active
        from polychrome.objectives.grpo import grpo_terms, k3
        from polychrome.training.methods.groups import as_sampled

        arm, temperature = self.arm, self.arm.temperature
        advantages = advantages.to(packed.completion_mask)
        sampler = packed.spread(advantages.new_tensor([x for group in drawn for c in group for x in c.logps]))
        with as_sampled(context.policy):
            with reference_active(context.policy):
                trunk = replay and replay.trunk()
                reference, _, trunk = context.scorer(packed, temperature, trunk, with_entropy=False)
            old = context.scorer(packed, temperature, trunk)[0] if self.repeats > 1 else None

        def loss(logps: torch.Tensor, entropies: torch.Tensor) -> tuple[torch.Tensor, Metrics]:
            mask = packed.completion_mask.to(logps)
            before = logps.detach() if old is None else old
            terms = grpo_terms(
                logps, before, reference, advantages, mask, loss_type=arm.loss_type, epsilon=arm.epsilon,
                epsilon_high=arm.epsilon if arm.epsilon_high is None else arm.epsilon_high,
                max_completion_length=arm.max_new_tokens, sequences=sequences, tokens=tokens,
            )  # fmt: skip
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
        """Minus the mean reward of one group per post, sampled from fixed streams."""
        drawn = self._draw(context, pairs, ("validation",), record=False)
        return "validation_negative_reward", -float(self._rewards(pairs, drawn.texts).mean())


def _rollouts(batch: Sequence[Pair], drawn: Drawn, rewards: torch.Tensor) -> list[Rollout]:
    """One per post. Rewards are those of the replies themselves, without bonus, unshuffled."""
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
