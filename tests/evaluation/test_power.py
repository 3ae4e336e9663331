"""The detectable difference: against closed forms, against every outcome counted, and against compare's own rule."""

from math import comb

import numpy as np
import pytest
from scipy import stats

from polychrome.bootstrap import mean_interval
from polychrome.evaluation.power import (
    Design,
    bootstrap_error,
    closed_form,
    components,
    detectable,
    power_at,
    wilcoxon_of_levels,
)
from polychrome.evaluation.statistics import compare_paired, wilcoxon

from .fakes import settings

HOW = {"threshold": 0.05, "confidence": 0.95}


def binary(posts, seeds=1, seed=0):
    """Differences of Pass@10 between two runs of one model, each post with its own chance."""
    generator = np.random.default_rng(seed)
    chance = generator.beta(0.6, 1.2, size=posts)
    a, b = (generator.binomial(10, chance, size=(seeds, posts)) > 0 for _ in range(2))
    return a.astype(float) - b


@pytest.mark.parametrize("threshold", [0.05, 0.05 / 42])
def test_of_normal_differences_it_is_that_of_the_z_test_by_wilcoxons_efficiency(threshold):
    differences = stats.norm.ppf((np.arange(200) + 0.5) / 200)[None, :]  # a sample without an accident in it
    found = detectable(differences, threshold=threshold, confidence=0.95, simulations=4000)
    assert found == pytest.approx(np.sqrt(np.pi / 3) * closed_form(differences, threshold=threshold), rel=0.04)


def test_of_wins_and_losses_its_power_is_that_of_every_outcome_counted():
    """20 posts of which some differ by 1 or -1: each outcome is how many won and lost, with its multinomial chance."""
    differences = np.array([[1.0] * 4 + [-1.0] * 3 + [0.0] * 13])
    posts, delta = 20, 0.4
    theta = np.log(next(x for x in np.linspace(1, 50, 200000) if tilted_mean(x) >= delta))
    chances = np.array([np.exp(theta), np.exp(-theta), 13 / 3.5]) / (np.exp(theta) + np.exp(-theta) + 13 / 3.5)
    power = 0.0
    for won in range(posts + 1):
        for lost in range(posts + 1 - won):
            outcome = np.array([1.0] * won + [-1.0] * lost + [0.0] * (posts - won - lost))
            error = outcome.std() / np.sqrt(posts)
            low = outcome.mean() - error * np.sqrt(posts / (posts - 1)) * stats.t.ppf(0.975, posts - 1)
            if wilcoxon(outcome)[0] < 0.05 and low > 0:
                ways = comb(posts, won) * comb(posts - won, lost)
                power += ways * chances[0] ** won * chances[1] ** lost * chances[2] ** (posts - won - lost)
    assert 0.5 < power < 0.95
    assert power_at(Design.of(differences, 0.05, 0.95, 20000), delta) == pytest.approx(power, abs=0.015)


def tilted_mean(odds):
    return (odds - 1 / odds) / (odds + 1 / odds + 13 / 3.5)


def test_at_the_answer_compares_own_rule_sees_about_80_in_100():
    """Brute force: draw posts from the mirrored, tilted differences and put them to Wilcoxon and the bootstrap."""
    differences = binary(60)
    threshold = 0.01
    found = detectable(differences, threshold=threshold, confidence=0.95)
    values = np.concatenate([differences[0], -differences[0]])
    theta = next(t for t in np.linspace(0, 9, 9000) if np.exp(t * values) @ values / np.exp(t * values).sum() >= found)
    weights = np.exp(theta * values) / np.exp(theta * values).sum()
    generator = np.random.default_rng(1)
    called = 0
    for _ in range(400):
        drawn = generator.choice(values, p=weights, size=(1, 60))
        effect = compare_paired(drawn, np.zeros((1, 60)), settings(800))
        called += effect.p < threshold and effect.low > 0
    assert called / 400 == pytest.approx(0.8, abs=0.06)


def test_with_several_seeds_compares_own_rule_sees_about_80_in_100_of_worlds_like_it():
    """Posts, seeds and noise drawn afresh: what one world says it can see is what such worlds see."""
    seeds, posts, generator = 8, 60, np.random.default_rng(2)

    def world(delta):
        of_seeds, of_posts = 0.25 * generator.normal(size=(seeds, 1)), generator.normal(size=(1, posts))
        return delta + of_seeds + of_posts + 0.5 * generator.normal(size=(seeds, posts))

    found = float(np.median([detectable(world(0.0), **HOW) for _ in range(15)]))
    called = 0
    for _ in range(300):
        effect = compare_paired(world(found), np.zeros((seeds, posts)), settings(400))
        called += effect.p < 0.05 and effect.low > 0
    assert called / 300 == pytest.approx(0.8, abs=0.08)


@pytest.mark.parametrize("magnitudes", [[0.0, 0.1, 0.2, 0.5], [0.1, 0.2, 0.5]])
def test_all_simulations_at_once_have_scipys_p(magnitudes):
    generator, distinct = np.random.default_rng(3), len(magnitudes)
    levels = generator.integers(0, distinct, size=(50, 25))
    values = np.array(magnitudes)[levels] * generator.choice([-1, 1], size=levels.shape)
    expected = [stats.wilcoxon(row, zero_method="pratt", correction=True, method="asymptotic").pvalue for row in values]
    assert wilcoxon_of_levels(levels, values, distinct, magnitudes[0] == 0) == pytest.approx(expected, rel=1e-9)
    assert wilcoxon_of_levels(np.zeros((2, 9), dtype=int), np.zeros((2, 9)), 1, True).tolist() == [1, 1]


@pytest.mark.parametrize("seeds", [1, 4])
def test_the_closed_standard_error_is_that_of_the_crossed_bootstrap(seeds):
    generator = np.random.default_rng(4)
    values = 0.5 * generator.normal(size=(seeds, 1)) + generator.normal(size=(1, 25))
    values = values + generator.normal(size=(seeds, 25))
    interval = mean_interval(values, resamples=20000, confidence=0.95, seed=0)
    parts = components(values)
    of_seeds = values.mean(axis=1).var() - parts.residual / 25 if seeds > 1 else 0.0
    error = bootstrap_error(np.array([parts.by_post.var()]), np.array([of_seeds]), parts)[0]
    width = 2 * error * np.sqrt(25 / 24) * stats.t.ppf(0.975, 24)
    assert interval.high - interval.low == pytest.approx(width, rel=0.04)


def test_the_effect_of_a_seed_is_what_is_left_of_its_spread_without_the_noise():
    generator = np.random.default_rng(5)
    noise = generator.normal(size=(40, 1, 30, 200))[:, 0]
    silent = [components(values).seed_variance for values in noise]
    loud = [components(values + 0.3 * generator.normal(size=(30, 1))).seed_variance for values in noise]
    assert np.mean(silent) < 0.002
    assert np.mean(loud) == pytest.approx(0.09, rel=0.15)
    assert components(noise[0][:1]).seed_variance == 0


def test_a_smaller_threshold_fewer_posts_and_seeds_that_disagree_hide_more():
    posts = binary(120)
    easy = detectable(posts, **HOW)
    assert easy < detectable(posts, threshold=0.05 / 42, confidence=0.95) <= 1  # within the bounds of Pass@10
    assert easy < detectable(posts[:, :40], **HOW) <= 1
    agreeing = np.tile(np.random.default_rng(6).normal(size=(1, 60)), (3, 1))
    disagreeing = agreeing + np.array([[-0.6], [0.0], [0.6]])
    assert detectable(disagreeing, **HOW) > 1.2 * detectable(agreeing, **HOW)


def test_posts_that_do_not_differ_are_not_turned_into_small_wins():
    """Adding a constant would make one difference in a hundred posts enough; tilting keeps the zeros."""
    differences = np.zeros((1, 100))
    differences[0, :4] = [1, 1, -1, -1]
    assert detectable(differences, **HOW) > 0.04


def test_what_can_never_be_called_has_no_detectable_difference():
    assert detectable(np.zeros((2, 30)), **HOW) is None  # nothing varies
    assert detectable(np.array([[1.0, -1.0, 1.0, 0.5]]), **HOW) is None  # four posts: p is 1 / 8 at the least
    assert detectable(np.full((1, 5), np.nan), **HOW) is None


def test_an_undefined_post_is_left_out_and_the_answer_is_symmetric_and_repeats():
    differences = binary(40, seeds=3)
    with_holes = np.concatenate([differences, np.full((3, 3), np.nan)], axis=1)
    assert detectable(with_holes, **HOW) == detectable(-differences, **HOW) == detectable(differences, **HOW)
