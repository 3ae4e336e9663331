"""Group relative policy optimisation (Shao et al. 2024, DeepSeekMath, arXiv 2402.03300), as TRL's GRPOConfig names it.

How this differs from the paper's algorithm 1:
1. advantages of a group whose rewards are all equal are exactly 0, not rounding noise over a small number;
2. ``loss_type`` chooses the normalisation: grpo (mean of sequence means, the paper), bnpo (mean over step's tokens),
   dr_grpo (sum over a constant length, arXiv 2503.20783), dapo (mean over all tokens of the step, arXiv 2503.14476);
3. ``epsilon_high`` may widen the upper clip (DAPO), ``scale_rewards: none`` leaves out the division by std (Dr. GRPO).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

STD_FLOOR = 1e-4  # added to a group's standard deviation, as in TRL


def group_advantages(rewards: Tensor, scale_rewards: str = "group") -> Tensor:
    """(r - mean) / (std + 1e-4) within each group, eq. in section 4.1.2; std with Bessel's correction.

    Args: ``rewards`` (P, G), G >= 2; ``scale_rewards`` "group", or "none" to leave out the division. Returns (P, G).
    """
    if rewards.shape[-1] < 2:
        raise ValueError(f"a group needs 2 or more completions, got {rewards.shape[-1]}")
    if scale_rewards not in ("group", "none"):
        raise ValueError(f"scale_rewards is group or none, got {scale_rewards!r}")
    advantages = rewards - rewards.mean(-1, keepdim=True)
    if scale_rewards == "group":
        advantages = advantages / (rewards.std(-1, keepdim=True) + STD_FLOOR)
    return advantages.masked_fill(zero_variance(rewards)[:, None], 0.0)


def zero_variance(rewards: Tensor) -> Tensor:
    """Which groups (P,) have equal rewards (P, G) throughout and so carry no signal."""
    return rewards.amax(-1) == rewards.amin(-1)


def k3(logps: Tensor, reference: Tensor) -> Tensor:
    """Per-token estimate of KL(policy || reference): exp(d) - d - 1 >= 0, d = log ref - log policy (eq. 4); (N, T)."""
    difference = reference - logps
    return difference.exp() - difference - 1


@dataclass(frozen=True, slots=True)
class GrpoTerms:
    """The two terms of the loss, each a scalar with gradient, and what to watch."""

    policy: Tensor
    kl: Tensor  # not yet times beta
    clip_fraction: Tensor  # share of tokens at which the clip binds, detached


def grpo_terms(
    logps: Tensor, old_logps: Tensor, reference_logps: Tensor, advantages: Tensor, mask: Tensor, *,
    loss_type: str, epsilon: float, epsilon_high: float, max_completion_length: int, sequences: float, tokens: float,
    weights: Tensor | None = None,
) -> GrpoTerms:  # fmt: skip
    """Policy and KL terms; the loss is ``policy + beta * kl`` (eq. 3, minimised).

    Args: ``logps``, ``old_logps``, ``reference_logps``, ``mask`` (N, T); ``advantages`` (N,). ``sequences`` and
    ``tokens`` count the whole optimiser step, of which these N completions may be a part: parts then add up.
    ``weights`` (N, T) multiply the policy term of each token, the KL stays as it is: see
    :mod:`~polychrome.objectives.importance`.
    """
    ratio = (logps - old_logps).exp()
    clipped = ratio.clamp(1 - epsilon, 1 + epsilon_high)
    a = advantages[:, None]
    per_token = -torch.min(ratio * a, clipped * a)
    if weights is not None:
        per_token = per_token * weights
    binds = ((ratio < 1 - epsilon) & (a < 0)) | ((ratio > 1 + epsilon_high) & (a > 0))

    def reduce(values: Tensor) -> Tensor:
        if loss_type == "grpo":
            return ((values * mask).sum(-1) / mask.sum(-1).clamp(min=1)).sum() / sequences
        if loss_type in ("bnpo", "dapo"):
            return (values * mask).sum() / tokens
        if loss_type == "dr_grpo":
            return (values * mask).sum() / (sequences * max_completion_length)
        raise ValueError(f"loss_type is grpo, bnpo, dapo or dr_grpo, got {loss_type!r}")

    clip_fraction = ((binds * mask).sum() / tokens).detach()
    return GrpoTerms(reduce(per_token), reduce(k3(logps, reference_logps)), clip_fraction)
