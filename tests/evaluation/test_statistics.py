"""The statistics against their definitions, and in simulation against what they promise."""

import numpy as np
import pytest

from polychrome.evaluation.statistics import cliffs_delta, compare_paired, holm, wilcoxon

from .fakes import settings

HOW = settings(1000)


def test_values_that_differ_by_rounding_alone_are_ties():
    assert cliffs_delta(np.array([0.1 * 3]), np.array([0.3])) == 0
    assert wilcoxon(np.array([0.1 * 3 - 0.3] * 6))[0] == 1


def test_holm_of_one_and_of_none():
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


def test_a_real_difference_is_seen_by_interval_and_test_with_the_sign_of_a_minus_b():
    generator = np.random.default_rng(8)
    b = generator.normal(size=(3, 40))
    a = b + 0.5 + 0.3 * generator.normal(size=(3, 40))
    effect = compare_paired(a, b, HOW)
    assert effect.difference == pytest.approx((a - b).mean())
    assert effect.low > 0
    assert effect.excludes_zero()
    assert compare_paired(b, a, HOW).excludes_zero()
    assert effect.p < 1e-4
    assert effect.cohens_d == pytest.approx((a - b).mean(0).mean() / (a - b).mean(0).std(ddof=1))
    assert effect.cliffs_delta > 0
    assert (effect.posts, effect.seeds) == (40, 3)


def test_pairing_by_post_sees_what_two_independent_samples_would_hide():
    posts = np.random.default_rng(9).normal(scale=10, size=(1, 30))
    effect = compare_paired(posts + 0.1 + 0.01 * np.arange(30), posts, HOW)
    assert effect.low > 0.1
    assert abs(effect.cliffs_delta) < 0.1  # unpaired by definition: it compares distributions, not pairs


def test_a_post_undefined_for_one_seed_of_one_model_is_left_out_and_counted_and_with_fewer_than_two_there_is_none():
    a, b = np.ones((2, 5)), np.zeros((2, 5))
    a[1, 3] = np.nan
    effect = compare_paired(a, b, HOW)
    assert (effect.posts, effect.dropped_posts, effect.difference) == (4, 1, 1)
    a[0, 1:] = np.nan
    assert compare_paired(a, b, HOW) is None


def test_equal_models_have_p_one_no_d_and_notes_that_say_so():
    values = np.random.default_rng(11).uniform(size=(1, 12))
    effect = compare_paired(values, values, HOW)
    assert (effect.p, effect.cohens_d, effect.low, effect.high) == (1, None, 0, 0)
    assert "every difference is zero" in effect.notes[0]
    assert "standard deviation" in effect.notes[1]
    assert compare_paired(values + 0.1, values, HOW).cohens_d is None  # constant, up to rounding
