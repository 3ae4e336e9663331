"""Cross-entropy by hand arithmetic and by enumeration."""

import math

import pytest
import torch

from polychrome.objectives.cross_entropy import cross_entropy

from .enumeration import MASK, TinyPolicy


def test_it_is_the_mean_negative_log_likelihood_of_the_unmasked_tokens():
    """-(ln 1/2 + ln 1/4 + ln 1/8) / 3 = (1 + 2 + 3) ln 2 / 3 = 2 ln 2; what stands beyond an end is not read."""
    logps = torch.tensor([[0.5, 0.25], [0.125, 0.9]]).log().requires_grad_()
    mask = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    loss = cross_entropy(logps, mask, 3)
    loss.backward()
    assert loss.item() == pytest.approx(2 * math.log(2))
    torch.testing.assert_close(logps.grad, -mask / 3)


def test_its_expectation_under_the_data_is_least_where_the_policy_is_the_data():
    """Gibbs: E_data[-log p] has gradient zero at p = data and is larger at every other policy."""
    data, other = TinyPolicy(2), TinyPolicy(3)
    p = data.probabilities().detach()

    def expected(policy: TinyPolicy) -> torch.Tensor:
        return cross_entropy(p[:, None] * policy.logps(), MASK, 1)

    at_data = expected(data)
    torch.testing.assert_close(data.gradient(at_data), torch.zeros(12, dtype=torch.float64))
    assert expected(other) > at_data
