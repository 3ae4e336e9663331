"""Pass@k and the ideal policies of the audience world, against enumeration."""

from itertools import combinations, product

import numpy as np
import pytest
from scipy.stats import dirichlet

from polychrome.audience.exact import best, best_of_sets, ideals, pass_curve, pass_of, set_score

W = np.array([0.25, 0.06, 0.08, 0.04, 0.12, 0.15, 0.20, 0.10])
Q = np.array([0.13, 0.35, 0.20, 0.09, 0.08, 0.06, 0.05, 0.04])
SMALL = np.array([0.5, 0.3, 0.2])  # of three kinds


@pytest.mark.parametrize("kinds", [[0, 0, 0, 0, 0], [0, 1, 2, 3, 4, 5, 6, 7], [-1, 2, 2, -1, 6, 0], [-1, -1]])
def test_pass_at_k_of_a_set_is_the_mean_over_every_k_of_its_replies_and_every_reader(kinds):
    curve = pass_curve(kinds, W)
    for k in range(1, len(kinds) + 1):
        found = [sum(W[m] for m in set(drawn) - {-1}) for drawn in combinations(kinds, k)]
        assert curve[k - 1] == pytest.approx(np.mean(found), abs=1e-12)


@pytest.mark.parametrize("policy", [[0.2, 0.5, 0.3], [1.0, 0.0, 0.0]])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_pass_at_k_and_the_set_score_of_a_policy_are_the_means_over_every_outcome(policy, k):
    policy = np.array(policy)
    outcomes = list(product(range(3), repeat=k))
    chances = [policy[list(drawn)].prod() for drawn in outcomes]
    passed = [SMALL[sorted(set(drawn))].sum() for drawn in outcomes]
    assert pass_of(policy, SMALL, k) == pytest.approx(np.dot(chances, passed))
    scores = [SMALL[list(drawn)].mean() * len(set(drawn)) / k for drawn in outcomes]
    assert set_score(policy, SMALL, k) == pytest.approx(np.dot(chances, scores))


def test_the_unbiased_pass_at_k_of_drawn_sets_has_the_mean_of_the_policy():
    policy = np.array([0.6, 0.3, 0.1])
    curves = [policy[list(drawn)].prod() * pass_curve(drawn, SMALL) for drawn in product(range(3), repeat=5)]
    assert np.sum(curves, axis=0) == pytest.approx([pass_of(policy, SMALL, k) for k in range(1, 6)])


OTHERS = dirichlet.rvs([1.0] * 8, size=20_000, random_state=0)


@pytest.mark.parametrize("n", [2, 4, 6, 10])
def test_no_other_policy_is_above_the_best(n):
    """Neither policies drawn at random nor those around it, for either score."""
    for policy, score in (
        (best(W, n), lambda policies: (1 - (1 - policies) ** n) @ W),
        (best_of_sets(W, n), lambda policies: np.array([set_score(policy, W, n) for policy in policies])),
    ):
        assert policy.sum() == pytest.approx(1)
        assert policy.min() >= 0
        [own] = score(policy[None])
        assert (score(OTHERS[:4000]) <= own).all()
        near = (1 - 1e-3) * policy + 1e-3 * np.vstack([OTHERS[:4000], np.eye(8)])
        assert (score(near) <= own + 1e-12).all()


def test_the_ideals_of_the_world():
    found = {name.removeprefix("ideal: "): curve[-1] for name, curve in ideals(Q, W, 10).items()}
    at_best = found["best for Pass@10"]
    assert found["likeliest taste"] == pytest.approx(0.25)
    assert [found[name] for name in ("as people write", "all kinds alike")] == pytest.approx([0.594, 0.737], abs=5e-4)
    assert at_best == pytest.approx(0.779, abs=5e-4)
    shares = [found[f"mean reward x distinct, sets of {n}"] / at_best for n in (4, 6)]
    assert shares == pytest.approx([0.93, 0.97], abs=5e-3)
    assert best(W, 10) == pytest.approx([0.21, 0.07, 0.10, 0.03, 0.14, 0.16, 0.19, 0.12], abs=5e-3)


def test_a_kind_that_nobody_likes_is_not_written():
    liked = np.array([0.5, 0.5, 0.0])
    assert best(liked, 4) == pytest.approx([0.5, 0.5, 0])
    assert best(liked, 1).tolist() == [1, 0, 0]
