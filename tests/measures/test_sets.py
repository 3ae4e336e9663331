"""How varied a set of replies is, against brute force, sacrebleu and cases with known answers."""

from itertools import combinations

import numpy as np
import pytest
import sacrebleu

from polychrome.measures.sets import distinct_n, mean_pairwise_cosine_distance, self_bleu

REPLIES = ["I love hiking too!", "I love long walks too, do you?", "where did you go", "No."]


def test_self_bleu_is_the_mean_of_sacrebleus_sentence_scores_against_the_others():
    scores = [
        sacrebleu.sentence_bleu(reply, REPLIES[:i] + REPLIES[i + 1 :], use_effective_order=True).score
        for i, reply in enumerate(REPLIES)
    ]
    assert self_bleu(REPLIES) == pytest.approx(np.mean(scores) / 100, abs=1e-12)


def test_self_bleu_of_equal_replies_is_one_even_when_they_are_shorter_than_four_tokens():
    assert self_bleu(["same here", "same here"]) == 1.0
    assert self_bleu(["what a long way to go"] * 5) == 1.0


def test_self_bleu_of_replies_without_a_common_word_is_nearly_zero():
    assert self_bleu(["one two three four five", "alpha beta gamma delta epsilon"]) < 0.1


def test_empty_replies_do_not_pass_for_diverse():
    assert self_bleu(["same here", "same here", "", " "]) == 1.0
    assert self_bleu(["", "", "alone"]) is None
    assert distinct_n(["same here", "same here", ""], 1) == 0.5


def test_distinct_n_is_unique_over_total_within_the_set():
    assert distinct_n(["a b a", "b a"], 1) == 2 / 5
    assert distinct_n(["a b a", "b a"], 2) == 2 / 3  # ab, ba, ba
    assert distinct_n(["a b a", "b a"], 3) == 1


def test_distinct_n_never_joins_the_end_of_one_reply_to_the_start_of_the_next():
    assert distinct_n(["a", "b"], 2) is None


def test_distinct_n_without_a_single_n_gram_is_undefined_and_not_zero():
    assert distinct_n(["yes", "no"], 3) is None
    assert distinct_n(["", ""], 1) is None


def test_semantic_diversity_in_closed_form_equals_the_mean_over_all_pairs():
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(5, 7, 16)) * generator.uniform(0.1, 9, size=(5, 7, 1))  # five sets of seven

    def cosine(u, v):
        return u @ v / np.linalg.norm(u) / np.linalg.norm(v)

    brute = [np.mean([1 - cosine(u, v) for u, v in combinations(group, 2)]) for group in vectors]
    assert mean_pairwise_cosine_distance(vectors) == pytest.approx(brute, abs=1e-12)


def test_semantic_diversity_of_equal_opposite_and_orthogonal_vectors():
    east, north = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    assert mean_pairwise_cosine_distance(np.stack([east, east, 2 * east])) == pytest.approx(0)
    assert mean_pairwise_cosine_distance(np.stack([east, -east])) == pytest.approx(2)
    assert mean_pairwise_cosine_distance(np.stack([east, north])) == pytest.approx(1)


@pytest.mark.parametrize("vectors", [np.ones((1, 3)), np.array([[1.0, 0], [0, 0]]), np.array([[1.0, np.nan], [0, 1]])])
def test_semantic_diversity_that_does_not_exist_is_an_error(vectors):
    with pytest.raises(ValueError, match="vector"):
        mean_pairwise_cosine_distance(vectors)
