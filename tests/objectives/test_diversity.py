"""The score-function estimator of set diversity against exact enumeration of every set a tiny policy can draw."""

from itertools import combinations

import pytest
import torch

from polychrome.objectives.diversity import leave_one_out_advantages as advantages_of
from polychrome.objectives.diversity import score_function_loss, set_diversity, standardised

from .enumeration import LENGTHS, MASK, SEQUENCES, TinyPolicy, outcomes, weights_of

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
    return set_diversity(distances, VALID[DRAWN] if gate else None)


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


@pytest.mark.parametrize("gate", [None, [True] * 5, [True, False, True, True, True]])
def test_diversity_is_the_mean_over_pairs_and_the_baseline_that_of_the_others(gate):
    vectors = torch.randn(4, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))

    def brute(p, left_out=None):
        pairs = list(combinations([i for i in range(5) if i != left_out and (gate is None or gate[i])], 2))
        return sum(float(torch.dist(vectors[p, i], vectors[p, j])) for i, j in pairs) / len(pairs)

    valid = gate and torch.tensor(gate).expand(4, 5)
    diversity, without = set_diversity(torch.cdist(vectors, vectors), valid)
    assert diversity.tolist() == pytest.approx([brute(p) for p in range(4)])
    for p in range(4):
        assert without[p].tolist() == pytest.approx([brute(p, i) for i in range(5)])


def test_sets_of_two_have_no_leave_one_out_baseline():
    with pytest.raises(ValueError, match="3 or more, got 2"):
        set_diversity(torch.zeros(1, 2, 2))


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


def test_an_invalid_reply_adds_nothing_to_diversity_and_gains_exactly_nothing():
    diversity, without = of_sets(gate=True)
    valid = VALID[DRAWN]
    paired = valid.sum(-1) > 1
    assert (~valid[paired]).any()
    assert (advantages_of(diversity, without)[paired][~valid[paired]] == 0).all()
    assert (diversity[~paired] == 0).all()  # no two valid replies, no diversity
    distances = distances_between_replies()
    distances[~VALID] = distances[:, ~VALID] = 1.9  # whatever an invalid reply is far from
    assert torch.equal(set_diversity(distances[DRAWN[:, :, None], DRAWN[:, None, :]], valid)[0], diversity)


def test_a_valid_reply_gains_by_its_distance_from_the_other_valid_ones():
    """Replies 0 and 1 are near each other, 2 is far from both, 3 is invalid and would be farthest."""
    distances = torch.tensor([[0.0, 0.2, 0.8, 2.0], [0.2, 0.0, 0.8, 2.0], [0.8, 0.8, 0.0, 2.0], [2.0, 2.0, 2.0, 0.0]])
    diversity, without = set_diversity(distances[None].double(), torch.tensor([[True, True, True, False]]))
    assert diversity.item() == pytest.approx(0.6)
    assert without[0].tolist() == pytest.approx([0.8, 0.8, 0.2, 0.6])
    assert advantages_of(diversity, without)[0].tolist() == pytest.approx([-0.2, -0.2, 0.4, 0.0])


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
    assert (standardised(advantages_of(*set_diversity(equal))) == 0).all()


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
