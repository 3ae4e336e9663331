"""What an arm trains on at each step: cross-entropy, polychromic, GRPO. Each plugs into the one loop.

A method turns a batch of pairs into pieces. A piece is one forward and backward: packed tokens and a pure loss of their
log-probabilities. Whatever needs the model without gradient (sampling, the reference) happens while pieces are made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch

from polychrome.engine.packing import Group, Packed, pack
from polychrome.engine.recording import Recording, Replay
from polychrome.engine.sampler import MEMORY_MIB, Completion, Request, recording_of, sample
from polychrome.engine.sampling import SamplingSettings
from polychrome.engine.scoring import CompletionScorer, tokens_within
from polychrome.measures.encoder import Encoder
from polychrome.models.chat import Chat
from polychrome.models.policy import reference_active, set_training
from polychrome.objectives.cross_entropy import cross_entropy
from polychrome.objectives.diversity import leave_one_out_advantages, score_function_loss, standardised
from polychrome.objectives.grpo import group_advantages, grpo_terms, k3, zero_variance
from polychrome.pairs.schema import Pair
from polychrome.randomness import torch_generator
from polychrome.rewards.composite import GroupBonus
from polychrome.rewards.interface import Reward
from polychrome.training.diversity import SetDiversity, Sets, Validity

Metrics = dict[str, torch.Tensor]  # each a sum over this piece that adds up over pieces and processes; *_max: maxima


GAP_EVERY = 8  # steps from one that computes all anew to the next


@dataclass(frozen=True)
class Piece:
    """One forward and backward."""

    term: str  # which term of the objective its gradient belongs to
    packed: Packed
    temperature: float
    loss: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, Metrics]]  # of (logps, entropies), both (N, T)
    trunk: torch.Tensor | None = None  # (T, hidden), where another model's pass over the pack has computed it
    replay: Replay | None = None  # what the policy computed when it drew these completions


Rollout = dict[str, Any]  # one group: pair id, post, replies, their rewards, whether each ended


@dataclass
class Step:
    """The pieces of one optimiser step and what was seen while making them."""

    pieces: list[Piece]
    metrics: dict[str, float] = field(default_factory=dict)  # already those of the whole step
    rollouts: list[Rollout] | None = None  # the groups that were drawn for reward; None: nothing was rewarded


@dataclass(frozen=True)
class Context:
    """What every method needs to know of the run."""

    policy: Any
    scorer: CompletionScorer
    chat: Chat
    seed: int
    micro_batches: int
    total: Callable[[float], float]  # sums a number over processes
    processes: int = 1
    rank: int = 0  # this process holds posts rank, rank + processes, ... of every batch
    memory_mib: int = MEMORY_MIB  # for rows that are sampled side by side, and for what a backward pass needs

    @cached_property  # which layers have adapters does not change
    def most_tokens(self) -> int:
        """Tokens of one forward and backward; more groups than fit are taken one after another."""
        return tokens_within(self.memory_mib, self.policy)


class Method(Protocol):
    """An objective that the loop can train."""

    repeats: int  # optimiser steps a batch serves

    def step(self, context: Context, batch: Sequence[Pair], number: int) -> Step:
        """The pieces of optimiser step ``number`` for this process's part of the batch, which may be empty.

        Every process calls ``context.total`` equally often, whatever its part.
        """
        ...

    def validate(self, context: Context, pairs: Sequence[Pair]) -> tuple[str, float]:
        """Name and value of the quantity that best-checkpoint selection minimises, on held-out pairs."""
        ...


def _parts(context: Context, groups: Sequence[Group]) -> list[slice]:
    """``groups`` in so many micro-batches of about as many each, or in more where one would exceed ``most_tokens``."""
    size = max(1, -(-len(groups) // context.micro_batches))
    starts, tokens, most = [0], 0, context.most_tokens
    for i, group in enumerate(groups):
        if i - starts[-1] == size or (tokens and tokens + len(group) > most):
            starts.append(i)
            tokens = 0
        tokens += len(group)
    return [slice(*span) for span in pairwise([*starts, len(groups)]) if groups]


def _packs(context: Context, groups: Sequence[Group]) -> list[tuple[slice, Packed]]:
    """Each of the parts and its pack, where the policy is."""
    return [(span, pack(groups[span]).to(_device(context.policy))) for span in _parts(context, groups)]


@dataclass
class CrossEntropy:
    """Cross-entropy on the human replies."""

    repeats: int = 1

    def step(self, context: Context, batch: Sequence[Pair], number: int) -> Step:
        """One piece a micro-batch."""
        groups = [Group(context.chat.prompt(pair.post), [context.chat.reply(pair.reply)]) for pair in batch]
        tokens = context.total(sum(len(group.completions[0]) for group in groups))

        def piece(part: Sequence[Group]) -> Piece:
            packed = pack(part)

            def loss(logps: torch.Tensor, entropies: torch.Tensor) -> tuple[torch.Tensor, Metrics]:
                value = cross_entropy(logps, packed.completion_mask.to(logps), tokens)
                return value, {"cross_entropy": value.detach(), "entropy": entropies.sum() / tokens}

            return Piece("cross_entropy", packed, 1.0, loss)

        return Step([piece(groups[span]) for span in _parts(context, groups)])

    @torch.no_grad()
    def validate(self, context: Context, pairs: Sequence[Pair]) -> tuple[str, float]:
        """Cross-entropy in nats a token."""
        groups = [Group(context.chat.prompt(pair.post), [context.chat.reply(pair.reply)]) for pair in pairs]
        total = 0.0
        for span in _parts(context, groups):
            packed = pack(groups[span]).to(_device(context.policy))
            total -= float(context.scorer(packed, with_entropy=False)[0].double().sum())
        return "validation_cross_entropy", total / sum(len(group.completions[0]) for group in groups)


@dataclass
class Polychromic:
    """Cross-entropy minus lambda times the diversity of sets drawn from the policy."""

    lambda_: float
    encoder: Encoder  # of replies and posts
    diversity: SetDiversity
    validity: Validity
    sampling: SamplingSettings
    samples: int  # replies a set, n >= 3
    posts: int  # posts of the batch that a set is drawn for
    base: CrossEntropy = field(default_factory=CrossEntropy)
    repeats: int = 1

    def step(self, context: Context, batch: Sequence[Pair], number: int) -> Step:
        """The pieces of cross-entropy, then those of diversity. With lambda = 0 it is cross-entropy, bit for bit."""
        step = self.base.step(context, batch, number)
        if self.lambda_ == 0:
            return step
        chosen = list(batch[: len(range(context.rank, self.posts, context.processes))])  # the first of the whole batch
        prompts = [context.chat.prompt(pair.post) for pair in chosen]
        requests = _requests(context, prompts, chosen, self.samples, self.sampling, ("polychromic", number))
        recording = recording_of(context.policy, requests, context.memory_mib)
        drawn = _sample(context, requests, recording)
        (ungated, gated), advantages, valid = self._advantages(context, chosen, drawn)
        tokens = context.total(sum(len(c.tokens) for completions in drawn for c in completions))
        step.pieces += [
            self._piece(packed, advantages[span], tokens, _replay(recording, span, packed))
            for span, packed in _packs(context, _groups(prompts, drawn))
        ]
        sets = context.total(len(chosen))
        step.metrics |= {
            "diversity": context.total(float(ungated.sum())) / sets,
            "gated_diversity": context.total(float(gated.sum())) / sets,
            "valid_share": context.total(float(valid.sum())) / (sets * self.samples),
        }
        return step

    def _advantages(
        self, context: Context, pairs: Sequence[Pair], drawn: Sequence[Sequence[Completion]]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        texts = [[context.chat.text(c.tokens) for c in completions] for completions in drawn]
        if texts:
            sets = Sets(self.encoder, texts)
            valid = torch.from_numpy(self.validity([pair.post for pair in pairs], sets))
            diversity, without = self.diversity(sets, valid)
            ungated, _ = self.diversity(sets, torch.ones_like(valid))
        else:
            diversity, without, ungated = torch.zeros(0), torch.zeros(0, self.samples), torch.zeros(0)
            valid = torch.zeros(0, self.samples, dtype=torch.bool)
        raw = leave_one_out_advantages(diversity, without, _elsewhere(context, diversity, valid))
        mean_square = torch.tensor(context.total(float(raw.square().sum())) / context.total(raw.numel()))
        seen = torch.stack([ungated, diversity]) if texts else torch.zeros(2, 0)
        return seen, standardised(raw, mean_square), valid

    def _piece(self, packed: Packed, advantages: torch.Tensor, tokens: float, replay: Replay | None) -> Piece:
        def loss(logps: torch.Tensor, entropies: torch.Tensor) -> tuple[torch.Tensor, Metrics]:
            mask = packed.completion_mask.to(logps)
            value = self.lambda_ * score_function_loss(logps, mask, advantages.flatten().to(logps), tokens)
            return value, {"diversity_loss": value.detach()}

        trunk = None if replay is None else replay.trunk()
        return Piece("diversity", packed, self.sampling.temperature, loss, trunk, replay)

    def validate(self, context: Context, pairs: Sequence[Pair]) -> tuple[str, float]:
        """Cross-entropy in nats a token, as for the baseline."""
        return self.base.validate(context, pairs)


@dataclass
class Grpo:
    """Group relative policy optimisation from a warm start, against a frozen reference."""

    reward: Reward
    distance: Callable[[Sequence[str]], float]  # mean pairwise semantic distance of a set, to watch
    sampling: SamplingSettings
    num_generations: int
    beta: float
    epsilon: float
    epsilon_high: float
    loss_type: str
    scale_rewards: str
    repeats: int = 1  # num_iterations
    bonus: GroupBonus | None = None  # what a reply earns by differing from its group
    shuffle_rewards: bool = False  # a control: rewards dealt out at random must teach nothing

    def step(self, context: Context, batch: Sequence[Pair], number: int) -> Step:
        """Draw groups, reward them, score them under the reference, and make the pieces."""
        prompts = [context.chat.prompt(pair.post) for pair in batch]
        requests = _requests(context, prompts, batch, self.num_generations, self.sampling, ("grpo", number))
        # What the sampler computes, training takes over: on policy, where memory allows. Every so many steps it
        # computes it anew, so that the gap between two whole computations is measured too.
        anew = self.repeats > 1 or number % GAP_EVERY == 0
        recording = None if anew else recording_of(context.policy, requests, context.memory_mib)
        drawn = _sample(context, requests, recording)
        texts = [[context.chat.text(c.tokens) for c in completions] for completions in drawn]
        rewards = self._rewards(batch, texts)
        climbed = self._climbed(context, rewards, texts, number)
        advantages = group_advantages(climbed, self.scale_rewards).float()
        completions = [c for group in drawn for c in group]
        tokens = context.total(sum(len(c.tokens) for c in completions))
        sequences = context.total(len(completions))
        pieces = [
            self._piece(
                context, packed, drawn[span], advantages[span], sequences, tokens, _replay(recording, span, packed)
            )
            for span, packed in _packs(context, _groups(prompts, drawn))
        ]
        posts = context.total(len(batch))
        metrics = {
            "reward": context.total(float(rewards.sum())) / sequences,
            "reward_std": context.total(float(rewards.std(-1).sum())) / posts,
            "zero_variance_share": context.total(float(zero_variance(climbed).sum())) / posts,
            "completion_length": tokens / sequences,
            "ended_share": context.total(sum(c.ended for c in completions)) / sequences,
            "diversity": context.total(float(np.sum([self.distance(group) for group in texts]))) / posts,
        }
        return Step(pieces, metrics, _rollouts(batch, drawn, texts, rewards))

    def _climbed(self, context: Context, rewards: torch.Tensor, texts: Sequence[Sequence[str]], n: int) -> torch.Tensor:
        """(B, G): what advantages are made of: the rewards, with the group's bonus, or permuted for the control."""
        climbed = rewards if self.bonus is None else self.bonus(texts, rewards)
        if not self.shuffle_rewards:
            return climbed
        order = torch_generator(context.seed, "shuffled rewards", n, context.rank)
        return climbed.flatten()[torch.randperm(climbed.numel(), generator=order)].view_as(climbed)

    def _rewards(self, batch: Sequence[Pair], texts: Sequence[Sequence[str]]) -> torch.Tensor:
        posts = [pair.post for pair, group in zip(batch, texts, strict=True) for _ in group]
        scores = self.reward(posts, [text for group in texts for text in group])
        return torch.from_numpy(scores).view(len(batch), self.num_generations)

    def _piece(
        self,
        context: Context,
        packed: Packed,
        drawn: Sequence[Sequence[Completion]],
        group_advantages: torch.Tensor,
        sequences: float,
        tokens: float,
        replay: Replay | None,
    ) -> Piece:
        advantages = group_advantages.flatten().to(packed.completion_mask)
        sampler = packed.spread(torch.tensor([x for group in drawn for c in group for x in c.logps]).to(advantages))
        with torch.no_grad(), _without_dropout(context.policy):
            with reference_active(context.policy):
                trunk = None if replay is None else replay.trunk()
                reference, _, trunk = context.scorer(packed, self.sampling.temperature, trunk, with_entropy=False)
            old = context.scorer(packed, self.sampling.temperature, trunk)[0] if self.repeats > 1 else None

        def loss(logps: torch.Tensor, entropies: torch.Tensor) -> tuple[torch.Tensor, Metrics]:
            mask = packed.completion_mask.to(logps)
            before = logps.detach() if old is None else old
            terms = grpo_terms(
                logps,
                before,
                reference,
                advantages,
                mask,
                loss_type=self.loss_type,
                epsilon=self.epsilon,
                epsilon_high=self.epsilon_high,
                max_completion_length=self.sampling.max_new_tokens,
                sequences=sequences,
                tokens=tokens,
            )
            estimate = k3(logps, reference).detach() * mask
            return terms.policy + self.beta * terms.kl, {
                "policy_loss": terms.policy.detach(),
                "kl": estimate.sum() / sequences,
                "clip_fraction": terms.clip_fraction,
                "entropy": entropies.sum() / tokens,
                "sampler_gap": ((before - sampler).abs() * mask).sum() / tokens,
                "sampler_gap_max": ((before - sampler).abs() * mask).max(),
                "sampler_kl": (k3(sampler, before) * mask).sum() / tokens,
            }

        return Piece("grpo", packed, self.sampling.temperature, loss, trunk, replay)

    def validate(self, context: Context, pairs: Sequence[Pair]) -> tuple[str, float]:
        """Minus the mean reward of one group a post, drawn from fixed streams."""
        prompts = [context.chat.prompt(pair.post) for pair in pairs]
        drawn = _sample(
            context, _requests(context, prompts, pairs, self.num_generations, self.sampling, ("validation",))
        )
        texts = [[context.chat.text(c.tokens) for c in completions] for completions in drawn]
        return "validation_negative_reward", -float(self._rewards(pairs, texts).mean())


def _replay(recording: Recording | None, span: slice, packed: Packed) -> Replay | None:
    return None if recording is None else recording.replay(range(span.start, span.stop), packed)


def _rollouts(
    batch: Sequence[Pair],
    drawn: Sequence[Sequence[Completion]],
    texts: Sequence[Sequence[str]],
    rewards: torch.Tensor,
) -> list[Rollout]:
    """One a post. Rewards are those of the replies themselves, without bonus, unshuffled."""
    return [
        {
            "id": pair.id,
            "post": pair.post,
            "replies": list(replies),
            "rewards": [float(f"{reward:.6g}") for reward in own.tolist()],
            "ended": [c.ended for c in completions],
        }
        for pair, completions, replies, own in zip(batch, drawn, texts, rewards, strict=True)
    ]


def _groups(prompts: Sequence[Sequence[int]], drawn: Sequence[Sequence[Completion]]) -> list[Group]:
    return [Group(prompt, [c.tokens for c in group]) for prompt, group in zip(prompts, drawn, strict=True)]


def _elsewhere(context: Context, diversity: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """(P,): the mean D of the step's other sets, on all processes, that have two valid replies; 0 without any."""
    paired = (valid.sum(-1) > 1).to(diversity)
    own = diversity * paired
    total, count = context.total(float(own.sum())), context.total(float(paired.sum()))
    return (total - own) / (count - paired).clamp(min=1)


def _device(policy: Any) -> torch.device:
    return next(policy.parameters()).device


@contextmanager
def _without_dropout(policy: Any) -> Iterator[None]:
    """As in sampling: the reference, and the policy that replies were drawn from, are the models without noise."""
    was_training = policy.training
    set_training(policy, False)
    try:
        yield
    finally:
        set_training(policy, was_training)


def _requests(
    context: Context,
    prompts: Sequence[Sequence[int]],
    pairs: Sequence[Pair],
    count: int,
    settings: SamplingSettings,
    purpose: tuple[object, ...],
) -> list[Request]:
    return [
        Request(prompt, count, (*purpose, pair.id), settings, (context.chat.stop_id,), context.seed)
        for prompt, pair in zip(prompts, pairs, strict=True)
    ]


def _sample(
    context: Context, requests: Sequence[Request], recording: Recording | None = None
) -> list[list[Completion]]:
    return sample(
        context.policy, requests, pad_id=context.chat.pad_id, memory_mib=context.memory_mib, recording=recording
    )
