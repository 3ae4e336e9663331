"""How varied a set of replies is, against brute force, sacrebleu and cases with known answers."""

from itertools import combinations

import numpy as np
import pytest
import sacrebleu

from polychrome.measures import rouge
from polychrome.measures.metrics import declared, metrics
from polychrome.measures.sets import ReplySet, distance_to_others, distinct_n, mean_pairwise_cosine_distance, self_bleu

REPLIES = ["I love hiking too!", "I love long walks too, do you?", "where did you go", "No."]


def test_self_bleu_is_the_mean_of_sacrebleus_sentence_scores_against_the_others():
    scores = [
        sacrebleu.sentence_bleu(reply, REPLIES[:i] + REPLIES[i + 1 :], use_effective_order=True).score
        for i, reply in enumerate(REPLIES)
    ]
    assert self_bleu(REPLIES) == pytest.approx(np.mean(scores) / 100, abs=1e-12)
    assert self_bleu(["one two three four five", "alpha beta gamma delta epsilon"]) < 0.1


@pytest.mark.parametrize(
    ("replies", "value"),
    [
        (["same here", "same here"], 1.0),  # shorter than four tokens
        (["what a long way to go"] * 5, 1.0),
        (["same here", "same here", "", " "], 1.0),  # empty replies do not pass for diverse
        (["", "", "alone"], None),
    ],
)
def test_self_bleu_of_equal_and_of_empty_replies(replies, value):
    assert self_bleu(replies) == value


@pytest.mark.parametrize(
    ("replies", "n", "value"),
    [
        (["a b a", "b a"], 1, 2 / 5),
        (["a b a", "b a"], 2, 2 / 3),  # ab, ba, ba
        (["a b a", "b a"], 3, 1),
        (["same here", "same here", ""], 1, 0.5),
        (["a", "b"], 2, None),  # the end of one is never joined to the start of the next
        (["yes", "no"], 3, None),  # undefined, not zero
        (["", ""], 1, None),
    ],
)
def test_distinct_n_is_unique_over_total_within_the_set(replies, n, value):
    assert distinct_n(replies, n) == value


def test_semantic_diversity_in_closed_form_equals_the_mean_over_all_pairs():
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(5, 7, 16)) * generator.uniform(0.1, 9, size=(5, 7, 1))  # five sets of seven
    unit = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    brute = [np.mean([1 - u @ v for u, v in combinations(group, 2)]) for group in unit]
    assert mean_pairwise_cosine_distance(vectors) == pytest.approx(brute, abs=1e-12)
    to_others = [np.mean([1 - u @ v for j, v in enumerate(unit[0]) if j != i]) for i, u in enumerate(unit[0])]
    assert distance_to_others(unit[0]) == pytest.approx(to_others, abs=1e-12)


@pytest.mark.parametrize(("vectors", "value"), [([[1, 0], [1, 0], [2, 0]], 0), ([[1, 0], [-1, 0]], 2), (np.eye(2), 1)])
def test_semantic_diversity_of_equal_opposite_and_orthogonal_vectors(vectors, value):
    assert mean_pairwise_cosine_distance(np.array(vectors)) == pytest.approx(value)


@pytest.mark.parametrize("vectors", [np.ones((1, 3)), np.array([[1.0, 0], [0, 0]]), np.array([[1.0, np.nan], [0, 1]])])
def test_semantic_diversity_that_does_not_exist_is_an_error(vectors):
    with pytest.raises(ValueError, match="vector"):
        mean_pairwise_cosine_distance(vectors)


def test_rouge_against_a_human_reply_that_no_reply_could_match_is_undefined():
    """Its values are held against the package in evaluation/test_reference_implementations."""
    assert set(rouge.metrics(ReplySet("", "\U0001f642", ["hello there"], None)).values()) == {None}
    short = rouge.metrics(ReplySet("", "hello", ["hello there", "hello"], None))
    assert short == {"rouge_1": pytest.approx((2 / 3 + 1) / 2), "rouge_2": None, "rouge_l": short["rouge_1"]}


def test_the_metrics_of_a_set_are_all_there_by_name():
    found = metrics(ReplySet("post", "I love hiking", REPLIES, np.eye(4, 5)))
    assert found["self_bleu"] == self_bleu(REPLIES)
    assert found["distinct_2"] == distinct_n(REPLIES, 2)
    assert found["semantic_diversity"] == pytest.approx(1)
    assert found["words"] == (4 + 7 + 4 + 1) / 4
    assert found["rouge_1"] > 0
    assert set(found) == {*declared("CONTRASTED"), *declared("SHOWN"), "words"}
