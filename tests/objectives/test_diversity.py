"""The score-function estimator of set diversity against exact enumeration of every set a tiny policy can draw."""

import pytest
import torch

from polychrome.objectives.diversity import leave_one_out_advantages as advantages_of
from polychrome.objectives.diversity import score_function_loss, set_diversity, standardised

from .enumeration import MASK, SEQUENCES, TinyPolicy, outcomes, weights_of

N = 3
DRAWN = outcomes(N)  # (343, 3)
VALID = torch.tensor([True, True, False, True, False, True, True])  # a gate: which replies count, in SEQUENCES' order


def distances_between_replies(seed=0):
    """(7, 7) symmetric, zero diagonal, in [0, 2] as cosine distances are."""
    generator = torch.Generator().manual_seed(seed)
    raw = 2 * torch.rand(len(SEQUENCES), len(SEQUENCES), dtype=torch.float64, generator=generator)
    return (raw + raw.T) / 2 * (1 - torch.eye(len(SEQUENCES)))


def of_sets(gate: bool):
    """D (343,) and D(y_-i) (343, 3) of every set."""
    distances = distances_between_replies()[DRAWN[:, :, None], DRAWN[:, None, :]]
    return set_diversity(distances, VALID[DRAWN] if gate else torch.ones_like(DRAWN, dtype=torch.bool))


def mean_and_variance(policy, advantages):
    """Expectation (12,) and total variance of the gradient of the loss over every set."""
    logps, probabilities = policy.logps(), weights_of(policy, DRAWN).detach()[:, None]
    losses = [score_function_loss(logps[d], MASK[d], a, 1) for d, a in zip(DRAWN, advantages, strict=True)]
    values = torch.stack([policy.gradient(loss) for loss in losses])
    mean = (probabilities * values).sum(0)
    return mean, (probabilities * (values - mean).square()).sum()


@pytest.mark.parametrize(("gate", "elsewhere"), [(False, 0.0), (True, 0.0), (True, 0.7)])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_expected_gradient_of_the_loss_is_minus_the_exact_gradient_of_expected_diversity(seed, gate, elsewhere):
    policy = TinyPolicy(seed)
    diversity, without = of_sets(gate)
    exact = policy.gradient((weights_of(policy, DRAWN) * diversity).sum())
    baseline = torch.full_like(diversity, elsewhere)
    mean, _ = mean_and_variance(policy, advantages_of(diversity, without, baseline))
    torch.testing.assert_close(mean, -exact, rtol=1e-10, atol=1e-12)
    assert exact.norm() > 1e-2  # there is something to estimate


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_leave_one_out_baseline_lowers_the_variance(seed):
    diversity, without = of_sets(gate=False)
    _, plain = mean_and_variance(TinyPolicy(seed), diversity[:, None].expand(-1, N))
    _, centred = mean_and_variance(TinyPolicy(seed), advantages_of(diversity, without))
    assert centred < 0.9 * plain


def test_sets_of_two_have_no_leave_one_out_baseline():
    with pytest.raises(ValueError, match="3 or more, got 2"):
        set_diversity(torch.zeros(1, 2, 2), torch.ones(1, 2, dtype=torch.bool))


def test_a_baseline_from_elsewhere_lowers_the_variance_where_no_two_others_are_valid():
    diversity, without = of_sets(gate=True)
    probabilities = weights_of(TinyPolicy(0), DRAWN).detach()
    paired = VALID[DRAWN].sum(-1) > 1
    typical = (probabilities * diversity)[paired].sum() / probabilities[paired].sum()
    none, from_elsewhere = (
        mean_and_variance(TinyPolicy(0), advantages_of(diversity, without, baseline.expand(len(DRAWN))))[1]
        for baseline in (torch.zeros(1), typical)
    )
    assert from_elsewhere < none


def test_a_set_that_no_two_valid_replies_are_in_falls_short_of_the_others():
    """D = 0 for it, whose samples are all held against what other sets have: a lone valid reply is no set."""
    distances = torch.full((1, 3, 3), 0.9, dtype=torch.float64) * (1 - torch.eye(3))
    diversity, without = set_diversity(distances, torch.tensor([[True, False, False]]))
    assert without.isnan().all()
    assert advantages_of(diversity, without, torch.tensor([0.75])).tolist() == [[-0.75] * 3]


def test_standardised_advantages_do_not_know_the_scale_of_the_distance_nor_how_a_batch_is_parted():
    advantages = advantages_of(*of_sets(gate=False))
    whole = standardised(advantages)
    assert whole.square().mean().item() == pytest.approx(1)
    torch.testing.assert_close(whole.mean(-1), torch.zeros(len(DRAWN), dtype=torch.float64))  # within a set
    for scale in (1e-3, 7.0):
        torch.testing.assert_close(standardised(scale * advantages), whole)
    torch.testing.assert_close(standardised(advantages[:9], advantages.square().mean()), whole[:9])


def test_sets_without_spread_teach_nothing():
    equal = torch.full((2, 3, 3), 0.1, dtype=torch.float64) * (1 - torch.eye(3))
    assert (standardised(advantages_of(*set_diversity(equal, torch.ones(2, 3)))) == 0).all()


def test_the_loss_weighs_every_token_of_a_reply_alike_and_treats_advantages_as_constants():
    """-(2 * (-1 - 2) - 1 * (-3)) / 4 = 3 / 4; the token beyond the second reply's end is not read."""
    logps = torch.tensor([[-1.0, -2.0], [-3.0, -50.0]], requires_grad=True)
    advantages = torch.tensor([2.0, -1.0], requires_grad=True)
    mask = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    loss = score_function_loss(logps, mask, advantages, 4)
    loss.backward()
    assert loss.item() == pytest.approx(0.75)
    torch.testing.assert_close(logps.grad, torch.tensor([[-0.5, -0.5], [0.25, 0.0]]))
    assert advantages.grad is None
