"""ROUGE where there is none; its values are held against the package in evaluation/test_reference_implementations."""

import pytest

from polychrome.measures.metrics import ReplySet
from polychrome.measures.rouge import metrics


def test_rouge_against_a_human_reply_that_no_reply_could_match_is_undefined():
    assert set(metrics(ReplySet("", "\u4f60\u597d", ["hello there"], None)).values()) == {None}
    short = metrics(ReplySet("", "hello", ["hello there", "hello"], None))
    assert short == {"rouge_1": pytest.approx((2 / 3 + 1) / 2), "rouge_2": None, "rouge_l": short["rouge_1"]}
