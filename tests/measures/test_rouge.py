"""ROUGE, against the rouge-score package and cases with known answers."""

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer

from polychrome.measures.rouge import rouge

REPLIES = ["I love hiking too!", "I love long walks too, do you?", "where did you go", "No."]
HUMAN = "I love hiking in the mountains"
THEIRS = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeL"}


def of_rouge_score(replies, human):
    scorer = RougeScorer(list(THEIRS.values()))
    scores = [scorer.score(human, reply) for reply in replies]
    return {ours: float(np.mean([score[theirs].fmeasure for score in scores])) for ours, theirs in THEIRS.items()}


def test_rouge_is_the_mean_f_measure_over_the_replies():
    assert rouge(REPLIES, HUMAN) == of_rouge_score(REPLIES, HUMAN)
    assert rouge(REPLIES, HUMAN)["rouge_l"] > 0


def test_rouge_against_a_human_reply_that_no_reply_could_match_is_undefined():
    assert rouge(["hello there"], "\u4f60\u597d") == {"rouge_1": None, "rouge_2": None, "rouge_l": None}
    short = rouge(["hello there", "hello"], "hello")
    assert short["rouge_2"] is None
    assert short["rouge_1"] == pytest.approx((2 / 3 + 1) / 2)
