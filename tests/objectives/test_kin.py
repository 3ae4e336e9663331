"""What kin of GRPO climb, by hand and against exact enumeration of a policy over a tiny vocabulary."""

import pytest
import torch

from polychrome.objectives.kin import anchored, over_pass_rate, times_difference, times_unlikeliness

from .enumeration import TinyPolicy, outcomes, weights_of

REWARDS = torch.tensor([0.2, 1.0, 0.8, 0.9, 0.0, 0.3, 0.7], dtype=torch.float64)  # of SEQUENCES
CLASSES = torch.tensor([0, 1, 1, 2, -1, 0, -1])
ONE = torch.ones(1, 4, dtype=torch.float64)


def expected_gradient(policy: TinyPolicy, group: int, climbed) -> torch.Tensor:
    """E[(1/G) sum_i a_i grad log p(y_i)] over every group, a (7^G, G) what ``climbed`` makes of its indices."""
    drawn = outcomes(group)
    weights = (weights_of(policy, drawn).detach()[:, None] * climbed(drawn)).flatten() / group
    return policy.gradient((weights * policy.logps().sum(-1)[drawn.flatten()]).sum())


# --- darling ------------------------------------------------------------------------------------------------------


def test_difference_is_the_share_of_the_others_in_other_classes_and_nonsense_differs_from_nobody():
    """Classes 0 0 1 2: 2 of 3 others differ from each 0, 3 of 3 from 1. An invalid one has and gives nothing."""
    rewards = torch.tensor([[0.3, 0.6, 0.9, 1.0]], dtype=torch.float64)
    by_hand = torch.tensor([[0.3 * 2 / 3, 0.6 * 2 / 3, 0.9, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(times_difference(rewards, torch.tensor([[0, 0, 1, 2]])), by_hand)
    assert times_difference(ONE, torch.tensor([[0, 0, 1, -1]])).tolist() == [[1 / 3, 1 / 3, 2 / 3, 0]]


@pytest.mark.parametrize("group", [2, 3])
def test_a_reply_is_paid_for_its_own_difference_and_not_for_what_it_lends_to_the_others(group):
    """F = E[r(y) d(y, y')], y and y' drawn alike, d 1 in other classes: the gradient is that of F in y alone."""
    policy = TinyPolicy(0)
    p = policy.probabilities()
    made = CLASSES >= 0
    differs = ((CLASSES[:, None] != CLASSES) & made[:, None] & made).double()
    own = policy.gradient((p * REWARDS * (differs @ p.detach())).sum())
    assert not torch.allclose(own, policy.gradient((p * REWARDS * (differs @ p)).sum()), rtol=0.05)
    climbed = expected_gradient(policy, group, lambda drawn: times_difference(REWARDS[drawn], CLASSES[drawn]))
    torch.testing.assert_close(climbed, own, rtol=1e-10, atol=1e-12)


# --- mara ---------------------------------------------------------------------------------------------------------


def test_the_best_policy_has_all_passing_replies_alike_however_rare_they_were():
    """max E[r] - beta KL(p || ref) is ref exp(r / beta) / Z; the gradient there is 0, and p is level where r >= 0.7."""
    beta, reference = 0.3, TinyPolicy(1).probabilities().detach()
    rewards = anchored(REWARDS[None], reference.log()[None], beta, 0.7, cap=torch.inf)[0]
    best = torch.softmax(reference.log() + rewards / beta, 0)
    passes = REWARDS >= 0.7
    torch.testing.assert_close(best[passes], best[passes].max().expand(int(passes.sum())))
    torch.testing.assert_close(rewards[~passes], REWARDS[~passes])
    plain = torch.softmax(reference.log() + REWARDS / beta, 0)
    assert plain[passes].max() > 3 * plain[passes].min()

    logits = best.log().requires_grad_()
    p = logits.softmax(-1)
    (gradient,) = torch.autograd.grad((p * (rewards - beta * (p / reference).log())).sum(), logits)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-12)


def test_the_anchor_is_the_likeliest_passing_reply_and_a_gain_is_capped():
    """Pass at 0.5: replies 1, 2, 3, of which 2 is likeliest. 0.6 + 0.1 (-2 + 5) = 0.9; 0.1 (-2 + 42) = 4, capped."""
    rewards = torch.tensor([[0.4, 0.9, 0.6, 0.5], [0.1, 0.2, 0.3, 0.4]], dtype=torch.float64)
    reference = torch.tensor([[-1.0, -5.0, -2.0, -42.0]] * 2, dtype=torch.float64)
    by_hand = torch.tensor([[0.4, 0.9, 0.6, 1.6], [0.1, 0.2, 0.3, 0.4]], dtype=torch.float64)
    torch.testing.assert_close(anchored(rewards, reference, 0.1, 0.5, cap=1.0), by_hand)


def test_with_kl_in_the_reward_the_gradient_of_pairs_is_that_of_what_a_reply_has_beside_any_other_less_kl():
    """G = 2: a passing reply has its reward, or a likelier passing one's and beta log(ref' / ref), ``cap`` at most."""
    policy, reference, beta, cap = TinyPolicy(0), TinyPolicy(1).probabilities().detach(), 0.3, 0.2
    p, passes = policy.probabilities(), REWARDS >= 0.7
    rare = beta * (reference / reference[:, None]).log()
    anchors = passes[:, None] & passes & (reference > reference[:, None])  # row: the reply, column: the other
    assert (anchors & (rare > cap)).any()
    assert (anchors & (rare < cap)).any()
    beside = torch.where(anchors, REWARDS + rare.clamp(max=cap), REWARDS[:, None]) @ p.detach()
    exact = policy.gradient((p * (beside - beta * (p / reference).log())).sum())
    ratio = (p / reference).log().detach()

    def climbed(drawn):
        return anchored(REWARDS[drawn], reference.log()[drawn], beta, 0.7, cap) - beta * ratio[drawn]

    torch.testing.assert_close(expected_gradient(policy, 2, climbed), exact, rtol=1e-10, atol=1e-12)


# --- unlikely -----------------------------------------------------------------------------------------------------


def test_the_likeliest_loses_most_and_equally_likely_replies_the_same():
    """Ranks 4, 1, 2.5, 2.5 of G = 4 at weight 0.25: 1 - 0.25 = 0.75, 0.9375, 0.84375 twice."""
    logps = torch.tensor([[-1.0, -9.0, -3.0, -3.0]], dtype=torch.float64)
    assert times_unlikeliness(ONE, logps, 0.25).tolist() == [[0.75, 0.9375, 0.84375, 0.84375]]
    assert times_unlikeliness(ONE, logps, 0.0).tolist() == ONE.tolist()


def test_of_a_pair_its_gradient_is_that_of_the_reward_times_what_it_loses_in_expectation():
    """G = 2: rank of y is 1 + P(the other is less likely) + P(equally likely) / 2, the other drawn from p."""
    policy = TinyPolicy(0)
    p = policy.probabilities()
    q = p.detach()
    rank = 1 + ((q[:, None] > q) + 0.5 * (q[:, None] == q)).double() @ q
    exact = policy.gradient((p * REWARDS * (1 - 0.25 * rank / 2)).sum())
    logps = q.log()
    climbed = expected_gradient(policy, 2, lambda drawn: times_unlikeliness(REWARDS[drawn], logps[drawn], 0.25))
    torch.testing.assert_close(climbed, exact, rtol=1e-10, atol=1e-12)


# --- maxrl --------------------------------------------------------------------------------------------------------


def test_advantages_are_passes_over_their_share_and_nothing_without_a_pass():
    """One pass of four: (1 - 1/4) / (1/4) = 3, the others -1; three of four: 1/3 and -1."""
    passes = torch.tensor([[1.0, 0, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]], dtype=torch.float64)
    third = 1 / 3
    by_hand = torch.tensor([[3.0, -1, -1, -1], [third, third, third, -1], [0] * 4, [0] * 4], dtype=torch.float64)
    torch.testing.assert_close(over_pass_rate(passes), by_hand)


@pytest.mark.parametrize("group", [2, 3, 4])
def test_its_gradient_is_that_of_the_log_of_the_pass_rate_up_to_order_g_minus_1(group):
    policy = TinyPolicy(0)
    passes = (REWARDS >= 0.7).double()
    rate = (policy.probabilities() * passes).sum()
    exact = policy.gradient(-sum((1 - rate) ** k / k for k in range(1, group)))
    as_pass_at_k = policy.gradient(sum((1 - (1 - rate) ** k) / k for k in range(1, group)))
    climbed = expected_gradient(policy, group, lambda drawn: over_pass_rate(passes[drawn]))
    torch.testing.assert_close(climbed, exact, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(climbed, as_pass_at_k, rtol=1e-10, atol=1e-12)
