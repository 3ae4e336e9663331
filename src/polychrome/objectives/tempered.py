"""Cross-entropy of the policy at another temperature, with more weight on what it finds unlikely.

    L = - sum_t g(p(y_t)) beta log p_beta(y_t) / tokens,    g(p) = (1 - p)^gamma - gamma p (1 - p)^(gamma - 1) log p

TOFU, tempered focal loss (Klypa and Cherednichenko 2026, arXiv 2605.00195): p_beta is the softmax of the logits over
beta, and g, taken as a constant, the factor between the gradients of the focal loss and of cross-entropy. With
gamma = 0 the gradient is that of GEM (Li et al. 2024, arXiv 2408.16673, with linear h),

    sum_v p_beta(v) (grad log p(v) - grad log p(y_t)) = - beta grad log p_beta(y_t)

and with beta = 1, too, that of cross-entropy. Where gamma is 0 the best fit of data is the data at temperature
1 / beta: all the diversity that this gains is had by sampling the baseline hotter.
"""

import torch
from torch import Tensor

from polychrome.objectives.cross_entropy import cross_entropy


def tempered(
    at_beta: Tensor, logps: Tensor, mask: Tensor, tokens: Tensor | float, *, beta: float, gamma: float
) -> Tensor:
    """The loss in nats per token.

    Args: ``at_beta`` (N, T), log p_beta of the reply tokens, and ``logps`` (N, T), log p, of which no gradient is
    taken; ``mask`` and ``tokens`` as :func:`~polychrome.objectives.cross_entropy.cross_entropy` has them.
    """
    return beta * cross_entropy(focal_weight(logps.detach(), gamma) * at_beta, mask, tokens)


def focal_weight(logps: Tensor, gamma: float) -> Tensor:
    """g of the module's equation for log p: 1 where gamma is 0, above 1 in the middle, and towards 0 as p nears 1."""
    p, miss = logps.exp(), (-torch.expm1(logps)).clamp(min=torch.finfo(logps.dtype).eps)
    return miss**gamma - gamma * p * miss ** (gamma - 1) * logps
