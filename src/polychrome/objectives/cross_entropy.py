"""Cross-entropy on reply tokens."""

from torch import Tensor


def cross_entropy(logps: Tensor, mask: Tensor, tokens: Tensor | float) -> Tensor:
    """Mean negative log-likelihood in nats per token, L = -sum_t log p(y_t | y_<t, x) / tokens.

    Args: ``logps`` (N, T) log-probabilities of the reply tokens, prompts are not in it; ``mask`` (N, T), 1 where there
    is a token; ``tokens`` the number to divide by: that of the whole optimiser step, so that micro-batches and
    processes add up to the step's mean.
    """
    return -(logps * mask).sum() / tokens
