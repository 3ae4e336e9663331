"""The statistics against their definitions, and in simulation against what they promise."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from polychrome.evaluation.statistics import (
    cliffs_delta,
    cohens_d,
    compare_paired,
    holm,
    wilcoxon,
)

HOW = {"resamples": 1000, "confidence": 0.95, "seed": 0}


def test_cliffs_delta_equals_the_definition_over_all_pairs_with_ties():
    generator = np.random.default_rng(1)
    a, b = generator.integers(0, 6, size=13) / 10, generator.integers(1, 7, size=9) / 10
    brute = np.mean([np.sign(round(x - y, 9)) for x, y in product(a, b)])
    assert cliffs_delta(a, b) == pytest.approx(brute, abs=1e-15)
    assert cliffs_delta(b, a) == pytest.approx(-brute, abs=1e-15)
    assert cliffs_delta(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1


def test_values_that_differ_by_rounding_alone_are_ties():
    assert cliffs_delta(np.array([0.1 * 3]), np.array([0.3])) == 0
    assert wilcoxon(np.array([0.1 * 3 - 0.3] * 6))[0] == 1


def test_cohens_d_is_the_mean_difference_over_its_standard_deviation():
    differences = np.array([1.0, 2, 4, 5])
    by_hand = 3 / np.sqrt((4 + 1 + 1 + 4) / 3)
    assert cohens_d(differences) == (pytest.approx(by_hand), "")


def test_cohens_d_of_a_constant_difference_is_null_with_a_reason():
    d, note = cohens_d(np.full(9, 0.1))
    assert d is None
    assert "standard deviation" in note


def test_holm_equals_the_calculation_by_hand():
    # in order 0.01, 0.02, 0.03, 0.04: 4 * 0.01, 3 * 0.02, 2 * 0.03, then 0.04 raised to the 0.06 before it
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9, 0.5]) == [1, 1, 1]
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


def test_holm_rejects_a_true_null_in_at_most_five_families_of_a_hundred():
    generator = np.random.default_rng(2)
    families = generator.uniform(size=(2000, 6))
    assert np.mean([min(holm(family)) < 0.05 for family in families]) == pytest.approx(0.05, abs=0.015)


def test_wilcoxon_is_scipys_with_zeros_by_pratt():
    differences = np.array([0.1, -0.2, 0.3, 0.0, 0.0, 0.4, 0.1, 0.5] * 3)
    expected = stats.wilcoxon(differences, zero_method="pratt", correction=True).pvalue
    assert wilcoxon(differences) == (pytest.approx(expected), "")


def test_wilcoxon_of_a_few_posts_with_ties_counts_every_flip_of_signs():
    differences = np.array([0.1, 0.1, 0.2, 0.2, 0.3])
    assert wilcoxon(differences)[0] == pytest.approx(2 / 2**5)


def test_wilcoxon_without_any_difference_has_p_one_and_says_why():
    p, note = wilcoxon(np.zeros(20))
    assert p == 1
    assert "every difference is zero" in note


def test_an_a_a_comparison_is_called_different_about_5_times_in_100():
    """Two runs of one model: 10 replies each pass by each post's own chance, so differences tie and are often zero."""
    generator = np.random.default_rng(7)
    tests, rejected, excluded = 600, 0, 0
    for _ in range(tests):
        chance = generator.beta(0.6, 1.2, size=40)
        a, b = (generator.binomial(10, chance)[None, :] / 10 for _ in range(2))
        effect = compare_paired(a, b, resamples=400, confidence=0.95, seed=0)
        rejected += effect.p < 0.05
        excluded += effect.difference.excludes_zero()
    assert 0.025 <= rejected / tests <= 0.075
    assert 0.025 <= excluded / tests <= 0.075


def test_a_real_difference_is_seen_by_interval_and_test_with_the_sign_of_a_minus_b():
    generator = np.random.default_rng(8)
    b = generator.normal(size=(3, 40))
    a = b + 0.5 + 0.3 * generator.normal(size=(3, 40))
    effect = compare_paired(a, b, **HOW)
    assert effect.difference.mean == pytest.approx((a - b).mean())
    assert effect.difference.low > 0
    assert effect.p < 1e-4
    assert effect.cohens_d == pytest.approx((a - b).mean(0).mean() / (a - b).mean(0).std(ddof=1))
    assert effect.cliffs_delta > 0
    assert (effect.posts, effect.seeds) == (40, 3)


def test_pairing_by_post_sees_what_two_independent_samples_would_hide():
    posts = np.random.default_rng(9).normal(scale=10, size=(1, 30))
    effect = compare_paired(posts + 0.1 + 0.01 * np.arange(30), posts, **HOW)
    assert effect.difference.low > 0.1
    assert abs(effect.cliffs_delta) < 0.1  # unpaired by definition: it compares distributions, not pairs


def test_a_post_that_is_undefined_for_one_seed_of_one_model_is_left_out_and_counted():
    a, b = np.ones((2, 5)), np.zeros((2, 5))
    a[1, 3] = np.nan
    effect = compare_paired(a, b, **HOW)
    assert (effect.posts, effect.dropped_posts, effect.difference.mean) == (4, 1, 1)


def test_a_comparison_of_fewer_than_two_defined_posts_does_not_exist():
    a = np.full((1, 3), np.nan)
    a[0, 0] = 1.0
    assert compare_paired(a, np.zeros((1, 3)), **HOW) is None


def test_equal_models_have_p_one_no_d_and_notes_that_say_so():
    values = np.random.default_rng(11).uniform(size=(1, 12))
    effect = compare_paired(values, values, **HOW)
    assert (effect.p, effect.cohens_d, effect.difference.low, effect.difference.high) == (1, None, 0, 0)
    assert len(effect.notes) == 2
