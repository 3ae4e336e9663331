"""Set diversity as an objective: the gradient of E[D(y_1..y_n)], y_i drawn from the policy.

D of texts has no derivative in the weights, so its gradient is the score-function estimator (Williams 1992, REINFORCE)
with, for each sample, the diversity of the set without it as baseline (Kool et al. 2019, "Buy 4 REINFORCE samples"):

    grad E[D] = E[ sum_i (D(y_1..y_n) - D(y_-i)) grad log p(y_i) ]                                              (1)

D(y_-i) does not depend on y_i, so (1) is unbiased. Where a gate says which replies are valid, D is that of the valid
ones: a reply that is not has D(y_-i) = D(y_1..y_n), so it adds nothing to D and gains exactly nothing from (1). The
pairwise form of D follows "polychromic objectives" for sets (arXiv 2509.25424), here as mean pairwise distance.
"""

import torch
from torch import Tensor


def set_diversity(distances: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Mean pairwise distance of the valid replies of each set, and of the set without each member.

    Args: ``distances`` (P, n, n), symmetric with zero diagonal, n >= 3 (ValueError below: without one of two members
    no pair is left); ``valid`` (P, n) bool. Returns D (P,), 0 where fewer than two replies are valid, and
    D(y_-i) (P, n), NaN where fewer than two of the others are: there (1) needs another baseline.
    """
    n = distances.shape[-1]
    if n < 3:
        raise ValueError(f"a leave-one-out baseline needs sets of 3 or more, got {n}")
    keep = valid.to(distances.dtype)
    kept = distances * keep[:, :, None] * keep[:, None, :]
    total, touching = kept.sum((-2, -1)) / 2, kept.sum(-1)  # every pair once (P,), pairs that i is in (P, n)
    members = keep.sum(-1)  # (P,)
    diversity = (total / _pairs(members)).nan_to_num(0.0)
    return diversity, (total[:, None] - touching) / _pairs(members[:, None] - keep)


def _pairs(members: Tensor) -> Tensor:
    """Pairs among so many members; NaN where there is none, so that a mean over them is none either."""
    pairs = members * (members - 1) / 2
    return pairs.masked_fill(pairs == 0, torch.nan)


def leave_one_out_advantages(diversity: Tensor, without: Tensor, elsewhere: Tensor | None = None) -> Tensor:
    """D(y_1..y_n) - D(y_-i): the weight of sample i in eq. (1). ``diversity`` (P,), ``without`` (P, n) -> (P, n).

    ``elsewhere`` (P,) is the baseline where ``without`` is NaN, 0 by default. Any number that these n samples have no
    part in leaves (1) unbiased; what other sets have as D makes its variance small.
    """
    if elsewhere is None:
        elsewhere = torch.zeros_like(diversity)
    return diversity[:, None] - torch.where(without.isnan(), elsewhere[:, None], without)


def standardised(advantages: Tensor, mean_square: Tensor | None = None, floor: float = 1e-6) -> Tensor:
    """Advantages over their root mean square in the batch, so that lambda means the same for every D, model and data.

    Within a set of valid replies they average zero already, so nothing is subtracted. ``mean_square`` is that of
    the whole batch when ``advantages`` are one process's part of it. A batch without any spread (root mean square below
    ``floor``) has nothing to teach: all zero.
    """
    rms = (advantages.square().mean() if mean_square is None else mean_square).sqrt()
    return torch.zeros_like(advantages) if rms < floor else advantages / rms


def score_function_loss(logps: Tensor, mask: Tensor, advantages: Tensor, normaliser: Tensor | float) -> Tensor:
    """Loss whose gradient is minus eq. (1) over ``normaliser``.

    Args: ``logps`` (N, T) of the sampled tokens, ``mask`` (N, T), ``advantages`` (N,), constants; ``normaliser``: 1 per
    set for the plain estimator, the number of sampled tokens to put the term on a token-mean cross-entropy's scale.
    """
    return -(advantages.detach()[:, None] * logps * mask).sum() / normaliser
