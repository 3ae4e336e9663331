"""The statistics against their definitions, and in simulation against what they promise."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from polychrome.errors import InputError
from polychrome.evaluation.statistics import (
    bootstrap_interval,
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


def test_the_interval_of_a_constant_is_the_constant():
    interval = bootstrap_interval(np.full((3, 20), 0.25), **HOW)
    assert (interval.mean, interval.low, interval.high) == (0.25, 0.25, 0.25)


def test_the_interval_of_one_seed_is_students_on_normal_values():
    values = np.random.default_rng(3).normal(size=(1, 30))
    interval = bootstrap_interval(values, resamples=20000, confidence=0.95, seed=0)
    low, high = stats.t.interval(0.95, 29, loc=values.mean(), scale=values.std(ddof=1) / np.sqrt(30))
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.03 * values.std())


def test_the_resamples_of_seeds_and_posts_have_the_variance_of_the_crossed_bootstrap():
    """The replicates' variance, from the draws themselves: Var_posts + Var_seeds + what both draws do together."""
    generator = np.random.default_rng(4)
    values = 0.5 * generator.normal(size=(3, 1)) + generator.normal(size=(1, 8)) + 0.3 * generator.normal(size=(3, 8))
    seeds, posts = values.shape
    replicates = [
        values[generator.integers(seeds, size=seeds)][:, generator.integers(posts, size=posts)].mean()
        for _ in range(20000)
    ]
    interval = bootstrap_interval(values, resamples=20000, confidence=0.5, seed=0)
    tail = stats.norm.cdf(np.sqrt(posts / (posts - 1)) * stats.t.ppf(0.25, posts - 1))
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(replicates, [tail, 1 - tail])), abs=0.02)


@pytest.mark.parametrize("draw", [np.random.Generator.normal, np.random.Generator.exponential])
def test_the_interval_covers_the_truth_about_95_times_in_100(draw):
    generator = np.random.default_rng(5)
    truth = 1.0 if draw is np.random.Generator.exponential else 0.0
    covered = 0
    for _ in range(500):
        interval = bootstrap_interval(draw(generator, size=(1, 24)), resamples=500, confidence=0.95, seed=0)
        covered += interval.low <= truth <= interval.high
    assert 0.91 <= covered / 500 <= 0.98


def test_with_many_seeds_the_interval_covers_a_truth_that_seeds_and_posts_blur():
    generator = np.random.default_rng(6)
    covered = 0
    for _ in range(300):
        values = generator.normal(size=(8, 1)) * 0.3 + generator.normal(size=(1, 24)) + generator.normal(size=(8, 24))
        interval = bootstrap_interval(values, resamples=400, confidence=0.95, seed=0)
        covered += interval.low <= 0 <= interval.high
    assert covered / 300 >= 0.92


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


def test_seeds_that_disagree_widen_the_interval():
    agreeing = np.tile(np.random.default_rng(10).normal(size=(1, 30)), (3, 1))
    disagreeing = agreeing + np.array([[-1.0], [0.0], [1.0]])
    narrow, wide = (bootstrap_interval(values, **HOW) for values in (agreeing, disagreeing))
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_a_post_that_is_undefined_for_one_seed_of_one_model_is_left_out_and_counted():
    a, b = np.ones((2, 5)), np.zeros((2, 5))
    a[1, 3] = np.nan
    effect = compare_paired(a, b, **HOW)
    assert (effect.posts, effect.dropped_posts, effect.difference.mean) == (4, 1, 1)


def test_a_comparison_of_fewer_than_two_defined_posts_does_not_exist():
    a = np.full((1, 3), np.nan)
    a[0, 0] = 1.0
    assert compare_paired(a, np.zeros((1, 3)), **HOW) is None
    with pytest.raises(InputError, match="at least 2"):
        bootstrap_interval(np.ones((3, 1)), **HOW)


def test_equal_models_have_p_one_no_d_and_notes_that_say_so():
    values = np.random.default_rng(11).uniform(size=(1, 12))
    effect = compare_paired(values, values, **HOW)
    assert (effect.p, effect.cohens_d, effect.difference.low, effect.difference.high) == (1, None, 0, 0)
    assert len(effect.notes) == 2


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    values = np.random.default_rng(12).normal(size=(2, 20))
    first, second, other = (bootstrap_interval(values, resamples=200, confidence=0.95, seed=seed) for seed in (0, 0, 1))
    assert first == second
    assert first != other
