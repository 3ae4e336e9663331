"""Pass@k against its definition: the share of all k-subsets of the n replies that hold one that passes."""

from itertools import combinations
from math import comb

import numpy as np
import pytest

from polychrome.errors import InputError
from polychrome.measures.passk import check_ks, pass_at_k
from tests.reported import reported


@pytest.mark.parametrize(("n", "k"), [(n, k) for n in range(1, 8) for k in range(1, n + 1)])
def test_it_equals_enumeration_of_every_subset_for_every_count(n, k):
    enumerated = [np.mean([min(chosen) < c for chosen in combinations(range(n), k)]) for c in range(n + 1)]
    assert pass_at_k(n, np.arange(n + 1), k) == pytest.approx(enumerated, abs=1e-15)


def test_it_is_unbiased_where_the_plug_in_estimate_is_not():
    n, k, chance = 6, 3, 0.3
    truth = 1 - (1 - chance) ** k
    weights = np.array([comb(n, c) * chance**c * (1 - chance) ** (n - c) for c in range(n + 1)])  # exact expectation
    counts = np.arange(n + 1)
    assert weights @ pass_at_k(n, counts, k) == pytest.approx(truth, abs=1e-12)
    assert weights @ (1 - (1 - counts / n) ** k) < truth - 0.01


@pytest.mark.parametrize(("n", "k"), [(10, 1), (37, 5), (200, 10), (5000, 1000)])  # the last beyond what doubles hold
def test_it_is_the_stable_product_of_the_paper(n, k):
    for c in range(min(n, 40)):
        product = np.prod([1 - k / i for i in range(n - c + 1, n + 1)]) if n - c >= k else 0.0
        assert pass_at_k(n, [c], k)[0] == pytest.approx(1 - product, rel=1e-9, abs=1e-12)


def test_it_keeps_the_shape_of_seeds_and_posts():
    counts = np.array([[0, 1, 2], [2, 1, 0]])
    assert pass_at_k(2, counts, 1).tolist() == [[0, 0.5, 1], [1, 0.5, 0]]


def test_every_k_beyond_n_is_reported():
    assert [problem.found for problem in reported(check_ks, 4, [1, 5, 10, 0])] == ["k = 5", "k = 10", "k = 0"]
    with pytest.raises(InputError, match="k = 5"):
        pass_at_k(4, [1], 5)


@pytest.mark.parametrize("counts", [[5], [-1], [0.5]])
def test_a_count_that_cannot_be_is_an_error(counts):
    with pytest.raises(InputError, match="passing"):
        pass_at_k(4, counts, 1)
