"""Which replies say the same, against brute force and by hand."""

from itertools import combinations

import numpy as np
import pytest

from polychrome.errors import InputError
from polychrome.measures import partition
from polychrome.measures.partition import components, same_class_threshold, similar
from tests.encoders import at


def unit(count, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(count, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("quantile", [0.95, 0.99, 0.999])
def test_the_threshold_is_the_quantile_of_the_cosines_of_replies_to_different_posts(quantile):
    vectors, posts = unit(40), [f"post {i % 7}" for i in range(40)]
    apart = [vectors[i] @ vectors[j] for i, j in combinations(range(40), 2) if posts[i] != posts[j]]
    assert same_class_threshold(vectors, posts, quantile) == pytest.approx(np.quantile(apart, quantile))


def test_of_many_replies_a_sample_sets_the_threshold_always_the_same(monkeypatch):
    vectors, posts = unit(300), [str(i // 2) for i in range(300)]
    whole = same_class_threshold(vectors, posts)
    monkeypatch.setattr(partition, "MOST", 200)
    sampled = same_class_threshold(vectors, posts)
    assert sampled == same_class_threshold(vectors, posts) != whole
    assert sampled == pytest.approx(whole, abs=0.01)


def test_replies_to_one_post_set_no_threshold():
    with pytest.raises(InputError, match="found 3 replies to one post"):
        same_class_threshold(unit(3), ["the same"] * 3)


def test_replies_are_alike_from_the_threshold_on_and_equal_ones_at_any():
    vectors = np.array(at(0, 10, 25, 10), dtype=np.float32)
    alike = similar(vectors, float(np.cos(np.radians(12))))
    assert alike.tolist() == [[1, 1, 0, 1], [1, 1, 0, 1], [0, 0, 1, 0], [1, 1, 0, 1]]
    assert similar(vectors, 1.5).tolist() == [[1, 0, 0, 0], [0, 1, 0, 1], [0, 0, 1, 0], [0, 1, 0, 1]]


def test_classes_are_chains_of_likenesses_and_what_is_invalid_joins_nothing_and_is_in_none():
    vectors, threshold = np.array(at(90, 0, 10, 20, 95)), float(np.cos(np.radians(12)))
    assert components(similar(vectors, threshold)).tolist() == [0, 1, 1, 1, 0]
    valid = np.array([True, True, False, True, True])
    assert components(similar(vectors, threshold, valid)).tolist() == [0, 1, -1, 2, 0]
    bridge = similar(vectors, threshold)
    bridge[2, 2] = False  # though it is still said to be like 0 and 20
    assert components(bridge).tolist() == [0, 1, -1, 2, 0]
    assert components(similar(vectors, threshold, ~np.ones(5, dtype=bool))).tolist() == [-1] * 5
