"""A policy so small that every outcome can be listed: three tokens, token 0 ends a reply, two tokens at most."""

from itertools import product

import torch

SEQUENCES = [(0,), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]  # every reply there is, of unequal lengths
MASK = torch.tensor([[1.0, float(len(s) > 1)] for s in SEQUENCES], dtype=torch.float64)  # (7, 2)
LENGTHS = MASK.sum(-1)


class TinyPolicy:
    """Free logits: three of the first token, three of the second behind each first one, in float64."""

    def __init__(self, seed: int):
        generator = torch.Generator().manual_seed(seed)
        self.first = torch.randn(3, dtype=torch.float64, generator=generator).requires_grad_()
        self.second = torch.randn(3, 3, dtype=torch.float64, generator=generator).requires_grad_()

    def logps(self) -> torch.Tensor:
        """(7, 2) log-probabilities of each reply's tokens, 0 beyond its end."""
        first, second = self.first.log_softmax(-1), self.second.log_softmax(-1)
        zero = first.new_zeros(())
        return torch.stack([torch.stack([first[s[0]], second[s[0], s[1]] if len(s) > 1 else zero]) for s in SEQUENCES])

    def probabilities(self) -> torch.Tensor:
        """(7,) probability of each reply; they sum to 1."""
        return self.logps().sum(-1).exp()

    def gradient(self, value: torch.Tensor) -> torch.Tensor:
        """d value / d parameters, flat (12,)."""
        parts = torch.autograd.grad(value, [self.first, self.second], retain_graph=True, materialize_grads=True)
        return torch.cat([part.flatten() for part in parts])


def outcomes(draws: int) -> torch.Tensor:
    """(7^draws, draws): every ordered outcome of independent draws, as indices of SEQUENCES."""
    return torch.tensor(list(product(range(len(SEQUENCES)), repeat=draws)))


def weights_of(policy: TinyPolicy, drawn: torch.Tensor) -> torch.Tensor:
    """Probability of each outcome in ``drawn``, with gradient."""
    return policy.probabilities()[drawn].prod(-1)
