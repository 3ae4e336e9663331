"""What published kin of GRPO climb in place of a group's rewards: of (P, G) each, P posts with G replies.

How far each is GRPO but for that is said in ``training/methods/``, a file each.
"""

import torch
from torch import Tensor


def times_difference(rewards: Tensor, classes: Tensor) -> Tensor:
    """Reward times the share of the others in other classes: r_i sum_{j != i} [c_j != c_i] / (G - 1).

    DARLING (Li et al. 2025, arXiv 2509.02534, sections 3.1 and 3.2), which has classes from a classifier and makes
    them transitive. ``classes`` (P, G) are integers; a reply that is in none (below 0) differs from nobody and nobody
    from it, where the paper has it as a class of its own: then nonsense would pay.
    """
    apart = classes[..., :, None] != classes[..., None, :]
    made = classes >= 0
    return rewards * (apart & made[..., :, None] & made[..., None, :]).to(rewards).sum(-1) / (rewards.shape[-1] - 1)


def anchored(rewards: Tensor, reference: Tensor, beta: float, passing: float, cap: float) -> Tensor:
    """The rewards of replies that pass, so that the best policy has them all alike; the others' stay.

        r_i <- r_z + min(beta (log ref(z) - log ref(i)), cap)          where r_i >= passing

    MARA, mode anchored reward augmentation (GX-Chen et al. 2025, arXiv 2510.20817, algorithm 1): the anchor z is the
    passing reply of the group that the reference finds likeliest. The policy that maximises E[r] - beta KL(p || ref) is
    ref exp(r / beta) over a constant: with these r it is the same for every reply that passes and is not capped.

    Args: ``rewards`` and ``reference``, log-probabilities of whole replies, (P, G); ``beta`` the weight of KL; ``cap``
    what rare replies may gain at most, which the paper leaves open.
    """
    passes = rewards >= passing
    anchor = reference.masked_fill(~passes, -torch.inf).argmax(-1, keepdim=True)
    gain = (beta * (reference.gather(-1, anchor) - reference)).clamp(max=cap)
    return torch.where(passes, rewards.gather(-1, anchor) + gain, rewards)


def times_unlikeliness(rewards: Tensor, logps: Tensor, weight: float) -> Tensor:
    """Reward times 1 - weight rank_i / G, the likeliest reply of a group ranked G, the least likely 1.

    He et al. 2025, "Rewarding the unlikely", arXiv 2506.02355, section 4, with weight 0.25. ``logps`` (P, G) are those
    of whole replies under the policy that drew them; equal ones share the mean of their ranks.
    """
    below = (logps[..., :, None] > logps[..., None, :]).to(rewards).sum(-1)
    level = (logps[..., :, None] == logps[..., None, :]).to(rewards).sum(-1)
    return rewards * (1 - weight * (below + (level + 1) / 2) / rewards.shape[-1])


def over_pass_rate(passes: Tensor) -> Tensor:
    """Advantages (c_i - mean c) / mean c of ``passes`` c (P, G), 1 or 0; all 0 in a group that has no pass or no other.

    MaxRL (Tajwar et al. 2026, arXiv 2602.02710). Where q is the chance of a pass, a group estimates without bias the
    gradient of log q = - sum_k (1 - q)^k / k up to k = G - 1, a mean of those of Pass@k:

        E[ (1/G) sum_i A_i grad log p(y_i) ] = sum_{k < G} (1 - q)^(k-1) grad q = sum_{k < G} grad Pass@k / k
    """
    mean = passes.mean(-1, keepdim=True)
    return (passes - mean) / mean.clamp(min=1 / passes.shape[-1])
