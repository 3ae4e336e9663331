"""What weighing each token by policy over sampler corrects, by enumeration of every reply that a sampler can draw."""

import pytest
import torch

from polychrome.objectives.diversity import score_function_loss
from polychrome.objectives.importance import CLIP_MAX, truncated_ratio

from .enumeration import MASK, TinyPolicy
from .test_grpo import REWARDS, terms

POLICY, SAMPLER = TinyPolicy(0), TinyPolicy(1)
UNTRUNCATED = 1e9


def grpo(logps, advantages, mask, weights):
    settings = {"loss_type": "dr_grpo", "sequences": 1, "max_completion_length": 1}
    return terms(logps, advantages=advantages, mask=mask, weights=weights, **settings).policy


def diversity(logps, advantages, mask, weights):
    return score_function_loss(logps, mask * weights, advantages, 1)


both = pytest.mark.parametrize("loss", [grpo, diversity])


def expected(loss, logps, chances, rewards, mask, weights):
    """The gradient of the policy loss, on average over replies that are drawn with ``chances``."""
    return POLICY.gradient(loss(logps, chances.detach() * rewards, mask, weights))


@both
def test_for_replies_of_one_token_the_gradient_is_that_of_the_policys_own_replies(loss):
    """E_q[(p / q) r grad log p] = grad E_p[r]; without the ratio it is E_q[r grad log p], which points elsewhere."""
    values = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)
    p, q = (policy.first.log_softmax(-1)[:, None] for policy in (POLICY, SAMPLER))
    mask, chances = torch.ones_like(p), q.squeeze(-1).exp()
    exact = -POLICY.gradient((p.squeeze(-1).exp() * values).sum())
    weighed = expected(loss, p, chances, values, mask, truncated_ratio(p, q, UNTRUNCATED))
    torch.testing.assert_close(weighed, exact, rtol=1e-10, atol=1e-12)
    plain = expected(loss, p, chances, values, mask, torch.ones_like(p))
    assert torch.cosine_similarity(plain, exact, dim=0) < 0.95


@both
def test_for_longer_replies_each_token_counts_as_the_policys_among_tokens_of_the_sampler(loss):
    p, q = POLICY.logps(), SAMPLER.logps()
    weighed = expected(loss, p, SAMPLER.probabilities(), REWARDS, MASK, truncated_ratio(p, q, UNTRUNCATED))
    one_of_the_policy = [p[:, 0] + q[:, 1], q[:, 0] + p[:, 1]]  # the first token, or the second
    chances = torch.stack([logp.detach().exp() for logp in one_of_the_policy], dim=1)
    torch.testing.assert_close(chances.sum(0), torch.ones(2, dtype=torch.float64))
    surrogate = (chances * REWARDS[:, None] * p * MASK).sum()
    torch.testing.assert_close(weighed, -POLICY.gradient(surrogate), rtol=1e-10, atol=1e-12)
    exact = -POLICY.gradient((POLICY.probabilities() * REWARDS).sum())
    assert (weighed - exact).norm() > 1e-2  # what a sampler costs that is far off, corrected or not


def test_truncation_leaves_out_what_the_policy_has_beyond_the_limit_times_the_sampler():
    """E_q[min(p / q, C) r grad log p] = sum min(p, C q) r grad log p: a smaller variance for that bias."""
    values, limit = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64), 1.2
    p, q = (policy.first.log_softmax(-1)[:, None] for policy in (POLICY, SAMPLER))
    ratios = truncated_ratio(p, q, limit)
    assert (ratios == limit).any()
    assert (ratios < limit).any()
    weighed = expected(grpo, p, q.squeeze(-1).exp(), values, torch.ones_like(p), ratios)
    kept = torch.minimum(p.exp(), limit * q.exp()).squeeze(-1).detach()
    torch.testing.assert_close(weighed, -POLICY.gradient((kept * values * p.squeeze(-1)).sum()), rtol=1e-10, atol=1e-12)


def test_weights_are_constants_that_are_one_where_the_sampler_is_the_policy_and_leave_the_kl_as_it_is():
    p, q = POLICY.logps(), SAMPLER.logps()
    assert torch.equal(truncated_ratio(p, p), torch.ones_like(p))
    assert not truncated_ratio(p, q).requires_grad
    assert float(truncated_ratio(p, p - 9.0).max()) == CLIP_MAX == 3.0
    plain, weighed = (terms(p, reference=q, mask=MASK, weights=w) for w in (None, truncated_ratio(p, q)))
    assert torch.equal(plain.kl, weighed.kl)
    assert plain.policy != weighed.policy
