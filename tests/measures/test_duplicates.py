from itertools import combinations

import numpy as np
import pytest

from polychrome.measures.duplicates import NearDuplicates, jaccard, near_duplicate_pairs, same_text_key, shingles


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 1.0])
def test_the_index_finds_exactly_what_comparing_each_with_each_finds(threshold):
    """Random sentences, and copies of them with a few characters changed, so that every similarity occurs."""
    rng = np.random.default_rng(0)
    texts = [rng.choice(list("abcde "), int(rng.integers(1, 60))) for _ in range(120)]
    for text in texts[:120]:
        changed = text.copy()
        changed[rng.integers(len(text), size=rng.integers(0, 4))] = rng.choice(list("abcde "))
        texts.append(changed)
    texts = ["".join(text) for text in texts]
    sets = [shingles(text) for text in texts]
    brute = {(i, j) for i, j in combinations(range(len(texts)), 2) if jaccard(sets[i], sets[j]) >= threshold}
    assert len(brute) > 10
    assert set(near_duplicate_pairs(texts, threshold)) == brute


def test_similarity_exactly_at_the_threshold_is_a_near_duplicate():
    texts = ["abcdefgh", "abcdefghi"]  # 4 and 5 shingles, 4 shared
    assert jaccard(*map(shingles, texts)) == 0.8
    assert list(near_duplicate_pairs(texts, 0.8)) == [(0, 1)]
    assert list(near_duplicate_pairs(texts, 0.81)) == []


def test_only_added_texts_are_found():
    index = NearDuplicates(["one and the same text", "One and the  same text", "another text altogether"], 0.8)
    assert index.of(1) == []
    index.add(0)
    assert index.of(1) == [0]
    assert index.of(2) == []


def test_texts_that_differ_in_case_space_or_compatibility_forms_are_the_same():
    assert same_text_key("  Oh\nno,\t WHY?? \u00a0 ") == "oh no, why??"
    assert same_text_key("\uff28ello   W\u00d6RLD\n") == same_text_key("hello w\u00f6rld")


def test_shingles_are_character_five_grams_and_a_short_text_is_its_own():
    assert [shingles(text) for text in ("Abcdef", "abc", "")] == [{"abcde", "bcdef"}, {"abc"}, {""}]
