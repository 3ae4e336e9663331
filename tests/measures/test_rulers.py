"""The rulers of a set against their definitions counted out: every order, every draw, every eigenvalue."""

from itertools import combinations, permutations

import numpy as np
import pytest
from scipy.linalg import logm

from polychrome.measures import ead, novelty, people, vendi
from polychrome.measures.sets import ReplySet

SETS = [  # classes, utilities
    ([0, 0, 1, 2, 2, 2], [0.9, 0.1, 0.5, 0.0, 1.0, 0.3]),
    ([3, -1, 3, -1, 0], [0.2, 0.8, 0.7, 0.6, 1.0]),  # -1 makes no class
    ([5, 5, 5, 5], [0.1, 0.2, 0.3, 1.0]),
    ([4, 1, 7], [1.0, 1.0, 1.0]),
    ([0], [0.4]),
    ([-1, -1], [1.0, 1.0]),
]


def a_set(replies=(), vectors=None, **more):
    return ReplySet("post", "human", replies, vectors, **more)


def by_orders(classes, utilities, p=0.8):
    """Utility of the paper, read reply by reply in each order of the set."""
    found = []
    for order in permutations(range(len(classes))):
        seen, gained = {-1}, 0.0
        for place, reply in enumerate(order):
            gained += p**place * utilities[reply] * (classes[reply] not in seen)
            seen.add(classes[reply])
        found.append(gained * (1 - p) / (1 - p ** len(classes)))
    return np.mean(found)


@pytest.mark.parametrize(("classes", "utilities"), SETS)
def test_utility_k_is_the_mean_over_all_orders_of_the_set(classes, utilities):
    found = novelty.metrics(a_set(classes=classes, utilities=utilities))
    assert found["utility_k"] == pytest.approx(by_orders(classes, utilities), abs=1e-12)
    assert found["distinct_k"] == len(set(classes) - {-1})


def test_utility_k_by_hand():
    """Two of a class and one alone, p = 1/2: weights 4/7, 2/7, 1/7 of the places; three orders of the classes."""
    a_a_b, a_b_a, b_a_a = 4 / 7 + 1 / 7 * 0.5, 4 / 7 + 2 / 7 * 0.5, 4 / 7 * 0.5 + 2 / 7
    assert novelty.utility([0, 0, 1], [1, 1, 0.5], 0.5) == pytest.approx((a_a_b + a_b_a + b_a_a) / 3)
    assert novelty.utility([0, 1, 2], [1, 1, 1]) == pytest.approx(1)


def test_without_classes_novelty_is_undefined_and_not_zero():
    assert novelty.metrics(a_set()) == {"utility_k": None, "distinct_k": None}


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_vendi_is_the_exponential_of_the_entropy_of_the_kernels_eigenvalues():
    vectors = unit(np.random.default_rng(0).normal(size=(6, 9)))
    kernel = vectors @ vectors.T / 6
    assert vendi.vendi(vectors) == pytest.approx(np.exp(-np.trace(kernel @ logm(kernel)).real), abs=1e-9)
    groups = np.eye(5)[[0, 0, 0, 1, 1, 2]]  # three of one kind, two of another, one of a third
    shares = np.array([3, 2, 1]) / 6
    assert vendi.vendi(groups) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
    assert vendi.vendi(np.eye(7)) == pytest.approx(7)
    assert vendi.vendi(unit(np.ones((4, 3)))) == pytest.approx(1)


def test_vendi_of_passes_looks_at_them_alone_and_is_undefined_without_one():
    vectors = np.eye(4)[[0, 0, 1, 2]]
    some = vendi.metrics(a_set(vectors=vectors, passes=[False, True, True, False]))
    assert some == {"vendi": pytest.approx(vendi.vendi(vectors)), "vendi_passing": pytest.approx(2)}
    assert vendi.metrics(a_set(vectors=vectors, passes=[False] * 4))["vendi_passing"] is None


def test_ead_is_distinct_tokens_over_those_expected_of_as_many_draws():
    generator, size = np.random.default_rng(0), 60
    drawn = [len(set(generator.integers(ead.VOCABULARY, size=size).tolist())) for _ in range(4000)]
    replies = ["a b c a", " ".join(f"w{i}" for i in range(size - 4)), ""]
    expected = np.mean(drawn)  # a simulation of the formula's denominator
    assert ead.metrics(a_set(replies))["ead"] == pytest.approx((3 + size - 4) / expected, rel=0.005)
    assert ead.metrics(a_set(["yes"]))["ead"] == pytest.approx(1)
    assert ead.metrics(a_set(["", " "]))["ead"] is None


def test_ead_hardly_falls_with_the_length_of_sets_that_draw_alike_where_distinct_1_does():
    generator = np.random.default_rng(1)
    words = [f"w{i}" for i in range(ead.VOCABULARY)]
    short, long = (
        np.mean([ead.metrics(a_set([" ".join(generator.choice(words, size=size))]))["ead"] for _ in range(300)])
        for size in (30, 120)
    )
    assert short == pytest.approx(long, abs=0.02)


def near_of(n, m, seed=0):
    """Random likeness of n replies and m people, and among people."""
    generator = np.random.default_rng(seed)
    among = generator.random((m, m)) < 0.3
    return generator.random((n, m)) < 0.3, among | among.T | np.eye(m, dtype=bool)


def by_draws(near, k):
    """For each column of ``near`` the share of draws of k rows with one that is near it; then their mean."""
    draws = list(combinations(range(len(near)), k))
    return np.mean([[near[list(draw), j].any() for draw in draws] for j in range(near.shape[1])])


@pytest.mark.parametrize(("n", "m"), [(3, 6), (7, 5), (4, 5), (1, 8)])
@pytest.mark.parametrize("seed", range(3))
def test_precision_and_coverage_are_means_over_every_draw_for_models_and_for_people(n, m, seed):
    near, among = near_of(n, m, seed)
    found = people.metrics(a_set(near=near, people=among))
    k = min(n, m - 1)
    assert found["precision"] == pytest.approx(by_draws(near.T, m - 1), abs=1e-12)
    assert found["coverage"] == pytest.approx(by_draws(near, k), abs=1e-12)
    left_out = [np.delete(among[:, [j]], j, axis=0) for j in range(m)]  # the others, against one
    assert found["precision_of_people"] == pytest.approx(np.mean([by_draws(o, m - 1) for o in left_out]), abs=1e-12)
    assert found["coverage_of_people"] == pytest.approx(np.mean([by_draws(o, k) for o in left_out]), abs=1e-12)


def test_a_model_that_writes_what_people_write_reaches_what_they_reach():
    """Each of six people says one of two things; so does the model, in the same shares."""
    said = np.array([0, 0, 0, 1, 1, 1])
    alike = said[:, None] == said[None, :]
    found = people.metrics(a_set(near=alike, people=alike))
    assert found == dict.fromkeys(people.SHOWN, 1.0)
    alone = people.metrics(a_set(near=np.zeros((4, 6), dtype=bool), people=np.eye(6, dtype=bool)))
    assert alone == dict.fromkeys(people.SHOWN, 0.0)


def test_fewer_than_five_people_leave_it_undefined():
    near, among = near_of(3, 4)
    assert people.metrics(a_set(near=near, people=among)) == dict.fromkeys(people.SHOWN)
    assert people.metrics(a_set()) == dict.fromkeys(people.SHOWN)
