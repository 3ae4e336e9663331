"""Set diversity as an objective: the gradient of E[D(y_1..y_n)], y_i drawn from the policy.

D of texts has no derivative in the weights, so its gradient is the score-function estimator (Williams 1992, REINFORCE)
with, for each sample, the diversity of the set without it as baseline (Kool et al. 2019, "Buy 4 REINFORCE samples"):

    grad E[D] = E[ sum_i (D(y_1..y_n) - D(y_-i)) grad log p(y_i) ]                                              (1)

D(y_-i) does not depend on y_i, so (1) is unbiased. The pairwise form of D follows "polychromic objectives" for sets
(arXiv 2509.25424), here as mean pairwise distance.
"""

from __future__ import annotations

import torch


def set_diversity(distances: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean pairwise distance of each set, and of the set without each member.

    Args: ``distances`` (P, n, n), symmetric with zero diagonal, n >= 3 (ValueError below: without one of two members
    no pair is left). Returns D (P,) and D(y_-i) (P, n).
    """
    n = distances.shape[-1]
    if n < 3:
        raise ValueError(f"a leave-one-out baseline needs sets of 3 or more, got {n}")
    total = distances.sum((-2, -1)) / 2  # every pair once, (P,)
    touching = distances.sum(-1)  # pairs that i is in, (P, n)
    return total / (n * (n - 1) / 2), (total[:, None] - touching) / ((n - 1) * (n - 2) / 2)


def gated(distances: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Distances (P, n, n) in which a reply that is not ``valid`` (P, n) is at distance 0 from every other.

    Such a reply adds nothing to D; and since D(y_-i), the set without it, is then at least D, eq. (1) never pays it.
    """
    keep = valid.to(distances.dtype)
    return distances * keep[:, :, None] * keep[:, None, :]


def leave_one_out_advantages(diversity: torch.Tensor, without: torch.Tensor) -> torch.Tensor:
    """D(y_1..y_n) - D(y_-i): the weight of sample i in eq. (1). ``diversity`` (P,), ``without`` (P, n) -> (P, n)."""
    return diversity[:, None] - without


def standardised(
    advantages: torch.Tensor, mean_square: torch.Tensor | None = None, floor: float = 1e-6
) -> torch.Tensor:
    """Advantages over their root mean square in the batch, so that lambda means the same for every D, model and data.

    They already average zero within a set of pairwise distances, so nothing is subtracted. ``mean_square`` is that of
    the whole batch when ``advantages`` are one process's part of it. A batch without any spread (root mean square below
    ``floor``) has nothing to teach: all zero.
    """
    rms = (advantages.square().mean() if mean_square is None else mean_square).sqrt()
    return torch.zeros_like(advantages) if rms < floor else advantages / rms


def score_function_loss(
    logps: torch.Tensor, mask: torch.Tensor, advantages: torch.Tensor, normaliser: torch.Tensor | float
) -> torch.Tensor:
    """Loss whose gradient is minus eq. (1) over ``normaliser``.

    Args: ``logps`` (N, T) of the sampled tokens, ``mask`` (N, T), ``advantages`` (N,), constants; ``normaliser``: 1 per
    set for the plain estimator, the number of sampled tokens to put the term on a token-mean cross-entropy's scale.
    """
    return -(advantages.detach()[:, None] * logps * mask).sum() / normaliser
