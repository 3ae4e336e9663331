"""The score-function estimator of set diversity against exact enumeration of every set a tiny policy can draw."""

from itertools import combinations

import pytest
import torch

from polychrome.objectives.diversity import (
    leave_one_out_advantages,
    score_function_loss,
    set_diversity,
    standardised,
)

from .enumeration import LENGTHS, MASK, SEQUENCES, TinyPolicy, outcomes, weights_of

N = 3
DRAWN = outcomes(N)  # (343, 3)
VALID = torch.tensor([True, True, False, True, False, True, True])  # a gate: which replies count, in SEQUENCES' order


def distances_between_replies(seed=0):
    """(7, 7) symmetric, zero diagonal, in [0, 2] as cosine distances are."""
    raw = 2 * torch.rand(
        len(SEQUENCES), len(SEQUENCES), dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    return (raw + raw.T) / 2 * (1 - torch.eye(len(SEQUENCES)))


def of_sets(gate: bool):
    """D (343,) and D(y_-i) (343, 3) of every set."""
    distances = distances_between_replies()[DRAWN[:, :, None], DRAWN[:, None, :]]
    return set_diversity(distances, VALID[DRAWN] if gate else None)


def gradients_of_every_outcome(policy, advantages):
    """(343, 12): gradient of the loss of each set alone."""
    logps = policy.logps()
    return torch.stack(
        [
            policy.gradient(score_function_loss(logps[drawn], MASK[drawn], weights, 1))
            for drawn, weights in zip(DRAWN, advantages, strict=True)
        ]
    )


def mean_and_variance(values, probabilities):
    """Expectation (P,) and total variance of ``values`` (O, P)."""
    mean = (probabilities[:, None] * values).sum(0)
    return mean, (probabilities[:, None] * (values - mean).square()).sum()


@pytest.mark.parametrize(("gate", "elsewhere"), [(False, 0.0), (True, 0.0), (True, 0.7)])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_expected_gradient_of_the_loss_is_minus_the_exact_gradient_of_expected_diversity(seed, gate, elsewhere):
    policy = TinyPolicy(seed)
    diversity, without = of_sets(gate)
    probabilities = weights_of(policy, DRAWN)
    exact = policy.gradient((probabilities * diversity).sum())
    baseline = torch.full_like(diversity, elsewhere)
    estimates = gradients_of_every_outcome(policy, leave_one_out_advantages(diversity, without, baseline))
    mean, _ = mean_and_variance(estimates, probabilities.detach())
    torch.testing.assert_close(mean, -exact, rtol=1e-10, atol=1e-12)
    assert exact.norm() > 1e-2  # there is something to estimate


def test_the_leave_one_out_baseline_has_the_same_expectation_as_diversity_itself():
    """E[D(y_-i)] = E[D] for each i: two of n draws are as far apart, on average, whichever two they are."""
    probabilities = weights_of(TinyPolicy(0), DRAWN).detach()
    diversity, without = of_sets(gate=False)
    expected = (probabilities * diversity).sum()
    torch.testing.assert_close((probabilities[:, None] * without).sum(0), expected.expand(N))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_leave_one_out_baseline_leaves_the_gradient_unbiased_and_lowers_its_variance(seed):
    policy = TinyPolicy(seed)
    diversity, without = of_sets(gate=False)
    probabilities = weights_of(policy, DRAWN).detach()
    plain = gradients_of_every_outcome(policy, diversity[:, None].expand(-1, N))
    centred = gradients_of_every_outcome(policy, leave_one_out_advantages(diversity, without))
    plain_mean, plain_variance = mean_and_variance(plain, probabilities)
    centred_mean, centred_variance = mean_and_variance(centred, probabilities)
    torch.testing.assert_close(centred_mean, plain_mean, rtol=1e-10, atol=1e-12)
    assert centred_variance < 0.9 * plain_variance


def test_a_baseline_that_looks_at_the_sample_itself_would_be_biased():
    """Why leave-one-out: the mean distance of the pairs that y_i is in, as baseline, moves the expectation."""
    policy = TinyPolicy(0)
    diversity, _ = of_sets(False)
    distances = distances_between_replies()[DRAWN[:, :, None], DRAWN[:, None, :]]
    probabilities = weights_of(policy, DRAWN)
    exact = policy.gradient((probabilities * diversity).sum())
    estimates = gradients_of_every_outcome(policy, diversity[:, None] - distances.sum(-1) / (N - 1))
    mean, _ = mean_and_variance(estimates, probabilities.detach())
    assert (mean + exact).norm() > 0.1 * exact.norm()


def test_diversity_is_the_mean_over_pairs_and_the_baseline_that_of_the_others():
    vectors = torch.randn(4, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    distances = torch.cdist(vectors, vectors)

    def brute(p, members):
        pairs = list(combinations(members, 2))
        return sum(float(torch.dist(vectors[p, i], vectors[p, j])) for i, j in pairs) / len(pairs)

    diversity, without = set_diversity(distances)
    assert diversity.tolist() == pytest.approx([brute(p, range(5)) for p in range(4)])
    for p in range(4):
        assert without[p].tolist() == pytest.approx([brute(p, [j for j in range(5) if j != i]) for i in range(5)])


def test_sets_of_two_have_no_leave_one_out_baseline():
    with pytest.raises(ValueError, match="3 or more, got 2"):
        set_diversity(torch.zeros(1, 2, 2))


def test_a_baseline_from_elsewhere_lowers_the_variance_where_no_two_others_are_valid():
    policy = TinyPolicy(0)
    diversity, without = of_sets(gate=True)
    probabilities = weights_of(policy, DRAWN).detach()
    paired = VALID[DRAWN].sum(-1) > 1
    typical = (probabilities * diversity)[paired].sum() / probabilities[paired].sum()
    variance = [
        mean_and_variance(
            gradients_of_every_outcome(
                policy, leave_one_out_advantages(diversity, without, typical.expand(len(DRAWN)) * on)
            ),
            probabilities,
        )[1]
        for on in (0, 1)
    ]
    assert variance[1] < variance[0]


def test_an_invalid_reply_adds_nothing_to_diversity_and_gains_exactly_nothing():
    distances = distances_between_replies()[DRAWN[:, :, None], DRAWN[:, None, :]]
    valid = VALID[DRAWN]
    diversity, without = set_diversity(distances, valid)
    advantages = leave_one_out_advantages(diversity, without)
    paired = valid.sum(-1) > 1
    assert (~valid[paired]).any()
    assert (advantages[paired][~valid[paired]] == 0).all()
    assert (diversity[~paired] == 0).all()  # no two valid replies, no diversity
    elsewhere = distances.clone()
    elsewhere[~valid] = 1.9  # wherever an invalid reply stands
    elsewhere.transpose(-1, -2)[~valid] = 1.9
    assert torch.equal(set_diversity(elsewhere, valid)[0], diversity)


def test_a_valid_reply_gains_by_its_distance_from_the_other_valid_ones():
    """Replies 0 and 1 are near each other, 2 is far from both, 3 is invalid and would be farthest."""
    distances = torch.tensor([[0.0, 0.2, 0.8, 2.0], [0.2, 0.0, 0.8, 2.0], [0.8, 0.8, 0.0, 2.0], [2.0, 2.0, 2.0, 0.0]])
    diversity, without = set_diversity(distances[None].double(), torch.tensor([[True, True, True, False]]))
    assert diversity.item() == pytest.approx(0.6)
    assert without[0].tolist() == pytest.approx([0.8, 0.8, 0.2, 0.6])
    assert leave_one_out_advantages(diversity, without)[0].tolist() == pytest.approx([-0.2, -0.2, 0.4, 0.0])


def test_a_set_that_no_two_valid_replies_are_in_falls_short_of_the_others():
    """D = 0 for it, whose samples are all held against what other sets have: a lone valid reply is no set."""
    distances = torch.full((1, 3, 3), 0.9, dtype=torch.float64) * (1 - torch.eye(3))
    diversity, without = set_diversity(distances, torch.tensor([[True, False, False]]))
    assert without.isnan().all()
    assert leave_one_out_advantages(diversity, without, torch.tensor([0.75])).tolist() == [[-0.75] * 3]


def test_a_gate_that_all_pass_changes_nothing():
    distances = distances_between_replies()[None]
    for plain, passed in zip(
        set_diversity(distances), set_diversity(distances, torch.ones(1, 7, dtype=torch.bool)), strict=True
    ):
        assert torch.equal(plain, passed)


def test_advantages_of_a_set_average_to_zero():
    advantages = leave_one_out_advantages(*of_sets(gate=False))
    torch.testing.assert_close(advantages.mean(-1), torch.zeros(len(DRAWN), dtype=torch.float64))


@pytest.mark.parametrize("scale", [1e-3, 7.0])
def test_standardised_advantages_do_not_know_the_scale_of_the_distance(scale):
    advantages = leave_one_out_advantages(*of_sets(gate=False))
    torch.testing.assert_close(standardised(scale * advantages), standardised(advantages))
    assert standardised(advantages).square().mean().item() == pytest.approx(1)


def test_a_part_of_a_batch_is_standardised_by_the_whole_batch():
    advantages = leave_one_out_advantages(*of_sets(gate=False))
    whole = standardised(advantages)
    torch.testing.assert_close(standardised(advantages[:9], advantages.square().mean()), whole[:9])


def test_sets_without_spread_teach_nothing():
    equal = torch.full((2, 3, 3), 0.1, dtype=torch.float64) * (1 - torch.eye(3))
    advantages = standardised(leave_one_out_advantages(*set_diversity(equal)))
    assert torch.equal(advantages, torch.zeros(2, 3, dtype=torch.float64))


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


def test_parts_normalised_by_the_whole_add_up_to_the_whole():
    logps, tokens = TinyPolicy(4).logps(), LENGTHS.sum()
    advantages = torch.linspace(-1, 1, 7, dtype=torch.float64)
    parts = [score_function_loss(logps[r], MASK[r], advantages[r], tokens) for r in (slice(0, 3), slice(3, 7))]
    torch.testing.assert_close(sum(parts), score_function_loss(logps, MASK, advantages, tokens))
