"""Kappa, rho and the sign test against other implementations and against definitions worked by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from polychrome.llm_judge.judgement import cohens_kappa, estimate, kappa_of_signs, sign_test, spearman

HOW = {"evaluation": SimpleNamespace(bootstrap=200, confidence=0.95), "seed": 0}


def test_kappa_of_the_textbook_table():
    """Two raters of 50: 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no. (0.7 - 0.5) / (1 - 0.5) = 0.4."""
    a = np.repeat([1, 1, 0, 0], [20, 5, 10, 15])
    b = np.repeat([1, 0, 1, 0], [20, 5, 10, 15])
    assert cohens_kappa(a, b) == pytest.approx(0.4)
    assert kappa_of_signs(np.append(2 * a - 1, 0), np.append(2 * b - 1, 1)) == pytest.approx(0.4)  # a tie says nothing


def test_kappa_and_rho_are_those_of_others_with_ties():
    a, b = np.random.default_rng(0).integers(3, size=(2, 60))
    assert cohens_kappa(a / 2, b / 2) == pytest.approx(cohen_kappa_score(a, b))
    assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)


def test_where_one_side_never_varies_nothing_is_defined():
    assert np.isnan(cohens_kappa(np.ones(5), np.ones(5)))
    assert np.isnan(spearman(np.ones(4), np.arange(4.0)))
    assert estimate(spearman, np.ones((1, 3)), np.ones((1, 3)), **HOW) is None


def test_the_sign_test_leaves_zeros_out():
    assert sign_test(np.array([1.0, 0.5, 0.5, 0.0, 1.0, 0.2])) == {"p": 2 / 2**5, "posts_for_a": 5, "posts_for_b": 0}
    assert sign_test(np.zeros(3)) == {"p": 1.0, "posts_for_a": 0, "posts_for_b": 0}


def test_an_interval_covers_and_repeats_and_there_is_none_where_most_resamples_are_undefined():
    a, noise = np.random.default_rng(2).normal(size=(2, 2, 60))
    made = [estimate(spearman, a, 0.6 * a + 0.8 * noise, **HOW) for _ in range(2)]
    assert made[0] == made[1]
    assert 0 < made[0]["low"] < 0.58 < made[0]["high"]  # the true one is 0.58
    two = np.array([[1.0, 0.0]])
    assert estimate(spearman, two, two, **HOW) == {"value": pytest.approx(1.0), "low": None, "high": None}
