"""Cross-entropy by hand arithmetic and by enumeration."""

import math

import pytest
import torch

from polychrome.objectives.cross_entropy import cross_entropy

from .enumeration import LENGTHS, MASK, TinyPolicy


def test_it_is_the_mean_negative_log_likelihood_of_the_unmasked_tokens():
    """-(ln 1/2 + ln 1/4 + ln 1/8) / 3 = (1 + 2 + 3) ln 2 / 3 = 2 ln 2; what stands beyond an end is not read."""
    logps = torch.tensor([[0.5, 0.25], [0.125, 0.9]]).log().requires_grad_()
    mask = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    loss = cross_entropy(logps, mask, 3)
    loss.backward()
    assert loss.item() == pytest.approx(2 * math.log(2))
    torch.testing.assert_close(logps.grad, -mask / 3)


def test_its_gradient_in_a_logit_is_probability_minus_target():
    logits = torch.tensor([[0.3, -1.2, 0.7]], dtype=torch.float64, requires_grad=True)
    cross_entropy(logits.log_softmax(-1)[:, 1:2], torch.ones(1, 1, dtype=torch.float64), 1).backward()
    expected = logits.detach().softmax(-1) - torch.tensor([[0.0, 1.0, 0.0]])
    torch.testing.assert_close(logits.grad, expected, rtol=1e-12, atol=1e-12)


def test_parts_divided_by_the_tokens_of_the_whole_add_up_to_the_whole():
    logps, tokens = TinyPolicy(1).logps(), LENGTHS.sum()
    parts = sum(cross_entropy(logps[rows], MASK[rows], tokens) for rows in (slice(0, 1), slice(1, 4), slice(4, 7)))
    torch.testing.assert_close(parts, cross_entropy(logps, MASK, tokens))


def test_its_expectation_under_the_data_is_least_where_the_policy_is_the_data():
    """Gibbs: E_data[-log p] has gradient zero at p = data and is larger at every other policy."""
    data, other = TinyPolicy(2), TinyPolicy(3)
    p = data.probabilities().detach()

    def expected(policy: TinyPolicy) -> torch.Tensor:
        return cross_entropy(p[:, None] * policy.logps(), MASK, 1)

    at_data = expected(data)
    torch.testing.assert_close(data.gradient(at_data), torch.zeros(12, dtype=torch.float64))
    assert expected(other) > at_data
