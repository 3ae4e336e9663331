"""Ranks of engagement against their definitions."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from polychrome.engagement.ranks import folds_of, rank_normalised, spearman
from polychrome.errors import InputError


def test_ranks_are_shares_of_the_pool_and_ties_share_theirs():
    assert rank_normalised([5.0, 1.0, 1.0, 9.0], "f").tolist() == [0.625, 0.25, 0.25, 0.875]


def test_engagement_that_does_not_vary_is_told():
    with pytest.raises(InputError, match=r"f:engagement: found 1\.0 throughout"):
        rank_normalised([1.0, 1.0], "f")


def test_spearman_is_scipys():
    x, y = np.random.default_rng(0).integers(0, 5, size=(2, 50))
    assert spearman(x, y, "f") == pytest.approx(spearmanr(x, y).statistic)


def test_a_correlation_that_does_not_exist_is_an_error():
    with pytest.raises(InputError, match="hardly vary"):
        spearman(np.ones(5), np.arange(5), "f")


def test_a_conversation_is_in_one_fold_only_and_folds_are_even():
    groups = np.repeat(np.arange(20), 3)
    folds = folds_of(groups, 5, 1, "judge", "f")
    assert all(len(set(folds[groups == g])) == 1 for g in range(20))
    assert np.bincount(folds).tolist() == [12] * 5
    with pytest.raises(InputError, match="4 conversations; expected at least 5"):
        folds_of(np.arange(4), 5, 1, "judge", "f")
