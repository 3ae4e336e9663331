"""Maximal marginal relevance, against its definition counted out at every step."""

import numpy as np
import pytest

from polychrome.measures.mmr import mmr


def by_definition(quality, similar, k, weight):
    taken = []
    while len(taken) < min(k, len(quality)):
        left = [i for i in range(len(quality)) if i not in taken]
        worth = {i: weight * quality[i] - (1 - weight) * max((similar[i][j] for j in taken), default=0) for i in left}
        taken.append(max(left, key=worth.get))
    return taken


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.7, 1.0])
def test_every_step_takes_the_best_by_the_published_rule(weight):
    rng = np.random.default_rng(0)
    for n in (1, 2, 5, 9):
        vectors = rng.normal(size=(n, 3))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        quality, similar = rng.random(n), vectors @ vectors.T
        for k in range(n + 2):
            assert mmr(quality, similar, k, weight) == by_definition(quality, similar, k, weight)


def test_of_two_that_are_alike_the_better_one_is_taken_and_a_worse_but_different_one_beside_it():
    similar = np.array([[1, 0.99, 0], [0.99, 1, 0], [0, 0, 1]])
    assert mmr([0.9, 0.8, 0.5], similar, 2) == [0, 2]
    assert mmr([0.9, 0.8, 0.5], similar, 2, weight=1.0) == [0, 1]
    assert mmr([0.5, 0.5, 0.5], similar, 1) == [0]


def test_what_is_undefined_takes_nothing_off():
    for near, taken in ((0.1, [0, 1]), (0.99, [0, 2])):
        alike = np.array([[1, near, np.nan], [near, 1, np.nan], [np.nan, np.nan, np.nan]])
        assert mmr([0.9, 0.8, 0.5], alike, 2) == taken
    assert mmr([0.5, 0.9, 0.7], np.full((3, 3), np.nan), 3, weight=0.1) == [1, 2, 0]


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="similarity"):
        mmr([0.1, 0.2], np.eye(3), 1)
    with pytest.raises(ValueError, match="k = -1"):
        mmr([0.1], np.eye(1), -1)
