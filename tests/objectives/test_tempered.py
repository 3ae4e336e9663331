"""Tempered cross-entropy over a whole vocabulary: GEM's gradient, the focal loss, cross-entropy, its best fit."""

import pytest
import torch

from polychrome.objectives.cross_entropy import cross_entropy
from polychrome.objectives.tempered import focal_weight, tempered

SCORES = torch.tensor([1.3, -0.4, 0.2, 2.0, -1.1], dtype=torch.float64)  # logits of five tokens
MASK = torch.ones(1, 1, dtype=torch.float64)


def loss(scores: torch.Tensor, token: int, beta: float, gamma: float) -> torch.Tensor:
    at_beta, logps = ((scores / t).log_softmax(-1)[token].view(1, 1) for t in (beta, 1.0))
    return tempered(at_beta, logps, MASK, 1, beta=beta, gamma=gamma)


def gradient(value: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(value, scores)[0]


@pytest.mark.parametrize("beta", [0.5, 0.8, 1.0, 1.7])
@pytest.mark.parametrize("token", range(5))
def test_without_gamma_its_gradient_is_that_of_gem(token, beta):
    """sum_v q(v) (log p(v) - log p(y)), q = softmax(s / beta) held constant: GEM's loss, enumerated."""
    scores = SCORES.clone().requires_grad_()
    logps, q = scores.log_softmax(-1), (SCORES / beta).softmax(-1)
    gem = sum(q[v] * (logps[v] - logps[token]) for v in range(5))
    torch.testing.assert_close(gradient(loss(scores, token, beta, 0.0), scores), gradient(gem, scores))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("token", range(5))
def test_at_its_own_temperature_its_gradient_is_that_of_the_focal_loss(token, gamma):
    scores = SCORES.clone().requires_grad_()
    p = scores.softmax(-1)[token]
    focal = -((1 - p) ** gamma) * p.log()
    torch.testing.assert_close(gradient(loss(scores, token, 1.0, gamma), scores), gradient(focal, scores))


def test_both_together_weigh_the_tempered_gradient_by_the_untempered_probability():
    scores = SCORES.clone().requires_grad_()
    weight = float(focal_weight(SCORES.log_softmax(-1)[2], 3.0))
    both = gradient(loss(scores, 2, 0.8, 3.0), scores)
    torch.testing.assert_close(both, weight * gradient(loss(scores, 2, 0.8, 0.0), scores))


def test_beta_1_and_gamma_0_is_cross_entropy_bit_for_bit():
    logps = torch.randn(3, 7, generator=torch.Generator().manual_seed(0)).sub(3).clamp(max=0).requires_grad_()
    mask = (torch.arange(21).view(3, 7) % 3 > 0).float()
    values = tempered(logps, logps, mask, 14, beta=1.0, gamma=0.0), cross_entropy(logps, mask, 14)
    assert torch.equal(*values)
    assert torch.equal(*(gradient(value, logps) for value in values))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 3.0])
def test_the_weight_is_a_number_at_a_token_that_is_certain_and_at_one_that_is_impossible(gamma, dtype):
    weights = focal_weight(torch.tensor([0.0, -1e-12, -700.0], dtype=dtype), gamma)
    assert weights.isfinite().all()
    assert weights[2] == pytest.approx(1.0)
    assert weights[0] == pytest.approx(0.0, abs=1e-3) if gamma else weights.eq(1).all()


def test_the_best_fit_without_gamma_is_the_data_at_temperature_1_over_beta():
    """Gradient 0 where softmax(s / beta) is the data: the policy softmax(s) is data^beta, hotter for beta below 1."""
    data, beta = SCORES.softmax(-1), 0.8
    scores = (beta * data.log()).requires_grad_()
    expected = sum(data[token] * loss(scores, token, beta, 0.0) for token in range(5))
    torch.testing.assert_close(gradient(expected, scores), torch.zeros(5, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(scores.detach().softmax(-1), (SCORES / (1 / beta)).softmax(-1))
