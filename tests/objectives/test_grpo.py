"""GRPO by hand arithmetic, and its gradients against exact enumeration of every group a tiny policy can draw."""

import pytest
import torch

from polychrome.objectives.grpo import group_advantages, grpo_terms, k3, zero_variance

from .enumeration import MASK, TinyPolicy, outcomes, weights_of

REWARDS = torch.tensor([0.2, 1.0, -0.4, 0.9, 0.0, 0.3, 2.0], dtype=torch.float64)  # of SEQUENCES


def terms(logps, old=None, reference=None, advantages=None, mask=None, **changed):
    """grpo_terms with what a test does not speak of left plain: on policy, one step, epsilon 0.2."""
    mask = torch.ones_like(logps) if mask is None else mask
    settings = {
        "loss_type": "dapo", "epsilon": 0.2, "epsilon_high": 0.2, "max_completion_length": logps.shape[1],
        "sequences": len(logps), "tokens": float(mask.sum()), **changed,
    }  # fmt: skip
    old, reference = (logps.detach() if given is None else given for given in (old, reference))
    advantages = torch.ones(len(logps), dtype=logps.dtype) if advantages is None else advantages
    return grpo_terms(logps, old, reference, advantages, mask, **settings)


# --- advantages ---------------------------------------------------------------------------------------------------


def test_advantages_are_rewards_centred_and_divided_by_the_groups_own_spread_if_asked():
    """Rewards 1, 2, 3, 6: mean 3; deviations -2, -1, 0, 3; variance (4 + 1 + 0 + 9) / 3 = 14 / 3 (Bessel)."""
    rewards = torch.tensor([[1.0, 2.0, 3.0, 6.0], [0.0, 0.0, 1.0, 1.0]], dtype=torch.float64)
    centred = torch.tensor([[-2.0, -1.0, 0.0, 3.0], [-0.5, -0.5, 0.5, 0.5]], dtype=torch.float64)
    spread = torch.tensor([[14 / 3], [1 / 3]], dtype=torch.float64).sqrt() + 1e-4
    torch.testing.assert_close(group_advantages(rewards), centred / spread)
    torch.testing.assert_close(group_advantages(rewards, scale_rewards="none"), centred)


@pytest.mark.parametrize("scale", ["group", "none"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [2, 3, 6, 7, 10])
def test_a_group_of_equal_rewards_contributes_exactly_nothing_and_leaves_the_others_alone(count, dtype, scale):
    """0.1 and 0.7 have no exact binary form: their mean may differ from them, and that residue must not grow."""
    for reward in (0.1, 0.7, 1e6 / 3):
        rewards = torch.full((2, count), reward, dtype=dtype)
        rewards[1, 0] += 1.0
        assert zero_variance(rewards).tolist() == [True, False]
        advantages = group_advantages(rewards, scale)
        assert (advantages[0] == 0).all()
        assert (advantages[1] != 0).all()


def test_a_group_of_one_an_unknown_scaling_and_an_unknown_loss_are_refused():
    with pytest.raises(ValueError, match="2 or more completions, got 1"):
        group_advantages(torch.zeros(3, 1))
    with pytest.raises(ValueError, match="'batch'"):
        group_advantages(torch.zeros(3, 2), scale_rewards="batch")
    with pytest.raises(ValueError, match="'ppo'"):
        terms(torch.zeros(1, 1), loss_type="ppo")


# --- the policy term ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", [2, 3])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_expected_policy_gradient_is_the_exact_one_times_g_minus_1_over_g(seed, group):
    """The group mean holds r_i itself, so E[(r_i - mean) grad log p_i] = (1 - 1/G) grad E[r]: a known factor, no bias.

    dr_grpo divides by G completions times L tokens: E[grad loss] = -(G - 1) / (G L) grad E[r], at ratio 1.
    """
    policy, length = TinyPolicy(seed), 2
    exact = policy.gradient((policy.probabilities() * REWARDS).sum())
    drawn = outcomes(group)
    probabilities = weights_of(policy, drawn).detach()
    advantages = group_advantages(REWARDS[drawn], scale_rewards="none")
    logps = policy.logps()
    expected = torch.zeros(12, dtype=torch.float64)
    for one, weights, probability in zip(drawn, advantages, probabilities, strict=True):
        term = terms(logps[one], advantages=weights, mask=MASK[one], loss_type="dr_grpo", max_completion_length=length)
        expected += probability * policy.gradient(term.policy)
    torch.testing.assert_close(expected, -(group - 1) / (group * length) * exact, rtol=1e-10, atol=1e-12)
    assert exact.norm() > 1e-2


def test_off_policy_the_ratio_corrects_for_who_sampled():
    """Drawn from another policy and not clipped, the term is -E_new[A]: importance sampling, token by token.

    Exact for replies of one token, where the token's ratio is the reply's.
    """
    sampler, policy = TinyPolicy(0), TinyPolicy(1)
    values = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)
    old, new = (p.first.log_softmax(-1)[:, None] for p in (sampler, policy))
    chances = old.detach().exp().squeeze(-1)  # dapo's mean over 3 tokens, each weighed by how often it is drawn
    value = terms(new, old=old, advantages=3 * chances * values, epsilon=1.0, epsilon_high=1e9).policy
    exact = -(policy.first.softmax(-1) * values).sum()
    torch.testing.assert_close(value, exact)
    torch.testing.assert_close(policy.gradient(value), policy.gradient(exact))


def test_the_clip_binds_only_where_the_ratio_left_the_range_in_the_direction_of_the_advantage():
    """epsilon 0.2, epsilon_high 0.3. Ratios 0.5, 1.0, 1.25, 1.5.

    A = +1: min(r, clip r) = 0.5, 1, 1.25, 1.3 -> only 1.5 binds, there the gradient is 0, elsewhere -r / 8.
    A = -1: min(-r, -clip r) = -0.8, -1, -1.25, -1.5 -> only 0.5 binds, elsewhere the gradient is +r / 8.
    """
    ratios = torch.tensor([[0.5, 1.0, 1.25, 1.5]] * 2, dtype=torch.float64)
    logps = ratios.log().requires_grad_()
    advantages = torch.tensor([1.0, -1.0], dtype=torch.float64)
    result = terms(logps, old=torch.zeros_like(ratios), advantages=advantages, epsilon_high=0.3)
    result.policy.backward()
    assert result.policy.item() == pytest.approx((-(0.5 + 1 + 1.25 + 1.3) + (0.8 + 1 + 1.25 + 1.5)) / 8)
    expected = torch.tensor([[-0.5, -1.0, -1.25, 0.0], [0.0, 1.0, 1.25, 1.5]], dtype=torch.float64) / 8
    torch.testing.assert_close(logps.grad, expected)
    assert result.clip_fraction.item() == 2 / 8


# --- the KL term --------------------------------------------------------------------------------------------------


def test_k3_is_never_negative_and_zero_only_where_the_policies_agree():
    logps, reference = torch.meshgrid(-torch.linspace(0, 8, 33), -torch.linspace(0, 8, 33), indexing="ij")
    values = k3(logps, reference)
    assert torch.equal(values > 0, logps != reference)
    assert (values >= 0).all()


def test_k3_summed_over_a_sampled_reply_is_an_unbiased_estimate_of_the_divergence_of_replies():
    policy, reference = TinyPolicy(0), TinyPolicy(1)
    p, q = policy.probabilities(), reference.probabilities()
    estimates = (k3(policy.logps(), reference.logps()) * MASK).sum(-1)
    torch.testing.assert_close((p * estimates).sum(), (p * (p / q).log()).sum())


def test_the_gradient_of_k3_over_samples_is_that_of_the_reverse_divergence():
    """Samples are constants, as in the paper and TRL: E_p[grad k3] = -E_q[grad log p] = grad KL(reference || policy).

    Zero exactly where policy and reference agree, so it holds the policy at the reference all the same.
    """
    policy, reference = TinyPolicy(0), TinyPolicy(1)
    q = reference.first.softmax(-1).detach()
    logp = policy.first.log_softmax(-1)
    sampled = (logp.detach().exp() * k3(logp, q.log())).sum()
    torch.testing.assert_close(policy.gradient(sampled), policy.gradient((q * (q.log() - logp)).sum()))
