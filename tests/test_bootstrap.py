"""The one bootstrap: whole units are drawn, and intervals cover what they promise."""

import numpy as np
import pytest
from scipy import stats

from polychrome.bootstrap import mean_interval, over_groups, resampled_means
from polychrome.errors import InputError

HOW = {"resamples": 1000, "confidence": 0.95, "seed": 0}


def test_the_interval_of_one_seed_is_students_on_normal_values():
    values = np.random.default_rng(3).normal(size=(1, 30))
    interval = mean_interval(values, resamples=20000, confidence=0.95, seed=0)
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
    interval = mean_interval(values, resamples=20000, confidence=0.5, seed=0)
    tail = stats.norm.cdf(np.sqrt(posts / (posts - 1)) * stats.t.ppf(0.25, posts - 1))
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(replicates, [tail, 1 - tail])), abs=0.02)


def blurred(generator):
    """Values around 0 that 8 seeds and 24 posts blur."""
    return generator.normal(size=(8, 1)) * 0.3 + generator.normal(size=(1, 24)) + generator.normal(size=(8, 24))


@pytest.mark.parametrize(
    ("draw", "at_most"),
    [
        (lambda generator: generator.normal(size=(1, 24)), 0.98),
        (lambda generator: generator.exponential(size=(1, 24)) - 1, 0.98),
        (blurred, 1.0),
    ],
)
def test_the_interval_covers_the_truth_about_95_times_in_100(draw, at_most):
    generator = np.random.default_rng(5)
    intervals = [mean_interval(draw(generator), **HOW | {"resamples": 500}) for _ in range(500)]
    covered = np.mean([interval.low <= 0 <= interval.high for interval in intervals])
    assert 0.91 <= covered <= at_most


def test_seeds_that_disagree_widen_the_interval_and_its_seed_alone_moves_it():
    agreeing = np.tile(np.random.default_rng(10).normal(size=(1, 30)), (3, 1))
    disagreeing = agreeing + np.array([[-1.0], [0.0], [1.0]])
    narrow, wide = (mean_interval(values, **HOW) for values in (agreeing, disagreeing))
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)
    assert mean_interval(agreeing, **HOW) == narrow != mean_interval(agreeing, **HOW | {"seed": 1})


def test_resampled_means_are_of_the_same_posts_and_seeds_for_everything_of_one_shape():
    a, b = np.random.default_rng(6).normal(size=(2, 3, 7))
    means = [resampled_means(values, 50) for values in (a, b, a * b)]
    assert resampled_means(3 * a - b, 50) == pytest.approx(3 * means[0] - means[1])
    only = resampled_means(np.eye(1, 7), 4000)  # how often one post of seven is drawn
    assert np.unique(np.round(7 * only)).tolist() == [0, 1, 2, 3, 4, 5]
    assert only.mean() == pytest.approx(1 / 7, abs=0.01)


def test_the_interval_of_a_constant_is_the_constant_and_of_one_post_or_nan_there_is_none():
    interval = mean_interval(np.full((3, 20), 0.25), **HOW)
    assert (interval.mean, interval.low, interval.high) == (0.25, 0.25, 0.25)
    with pytest.raises(InputError, match="at least 2"):
        mean_interval(np.ones((3, 1)), **HOW)
    with pytest.raises(ValueError, match="finite"):
        mean_interval(np.array([[1.0, np.nan]]), **HOW)


def test_a_resample_holds_whole_conversations_with_replacement():
    groups = np.array([3, 0, 3, 1, 0, 3])
    seen = []
    over_groups(lambda rows: seen.append(sorted(rows.tolist())) or 0.0, groups, 200, np.random.default_rng(0))
    whole = {0: [1, 4], 1: [3], 3: [0, 2, 5]}
    possible = {tuple(sorted(whole[a] + whole[b] + whole[c])) for a in whole for b in whole for c in whole}
    assert set(map(tuple, seen)) == possible
