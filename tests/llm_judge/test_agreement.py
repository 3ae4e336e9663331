"""Kappa, rho and the sign test against other implementations and against definitions worked by hand."""

import numpy as np
import pytest
from scipy import stats

from polychrome.llm_judge.agreement import cohens_kappa, resampled, sign_test, spearman


def test_kappa_of_the_textbook_table():
    """Two raters of 50: 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no. (0.7 - 0.5) / (1 - 0.5) = 0.4."""
    a = np.repeat([1, 1, 0, 0], [20, 5, 10, 15])
    b = np.repeat([1, 0, 1, 0], [20, 5, 10, 15])
    assert cohens_kappa(a, b) == pytest.approx(0.4)


def test_kappa_of_three_kinds_by_its_definition():
    generator = np.random.default_rng(0)
    a, b = generator.integers(3, size=(2, 60)) / 2
    observed = np.mean(a == b)
    expected = sum(np.mean(a == kind) * np.mean(b == kind) for kind in (0, 0.5, 1))
    assert cohens_kappa(a, b) == pytest.approx((observed - expected) / (1 - expected))


def test_kappa_is_undefined_where_both_say_one_thing_only():
    assert np.isnan(cohens_kappa(np.ones(5), np.ones(5)))


def test_spearman_is_scipys_with_ties():
    generator = np.random.default_rng(1)
    a, b = generator.integers(3, size=40).astype(float), generator.normal(size=40)
    assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    assert np.isnan(spearman(np.ones(4), np.arange(4.0)))


def test_the_sign_test_leaves_zeros_out():
    p, above, below = sign_test(np.array([1.0, 0.5, 0.5, 0.0, 1.0, 0.2]))
    assert (above, below) == (5, 0)
    assert p == pytest.approx(2 / 2**5)
    assert sign_test(np.zeros(3)) == (1.0, 0, 0)


def test_an_interval_covers_a_correlation_and_repeats():
    generator = np.random.default_rng(2)
    a = generator.normal(size=(2, 60))
    b = 0.6 * a + 0.8 * generator.normal(size=(2, 60))
    made = [resampled(spearman, a, b, resamples=300, confidence=0.95, seed=0) for _ in range(2)]
    assert made[0] == made[1]
    assert made[0].low < 0.58 < made[0].high  # the true one is 0.58
    assert made[0].low > 0


def test_no_interval_where_most_resamples_are_undefined():
    a = np.array([[1.0, 0.0]])
    assert resampled(spearman, a, a, resamples=200, confidence=0.95, seed=0).low is None
    assert resampled(spearman, np.ones((1, 3)), np.ones((1, 3)), resamples=9, confidence=0.9, seed=0) is None
