"""How generic a reply is, worked out by hand."""

import pytest

from polychrome.measures.genericness import FUNCTION_WORDS, STOCK_PHRASES, genericness

SCORES = {
    "": 0.0,
    "I don't know": 0.0,
    "That\u2019s great!": 0.0,
    "oh yeah, me too": 0.0,
    "it is what it is and so are we": 0.0,
    "I like dogs": 0.5,  # dogs, of the two asked for
    "My sister breeds dogs": 1.0,  # sister, breeds, dogs
    "Thank you for sharing your dogs": 0.5,
    "well you see I was at the dogs and then it was over": 1 / (13 / 3),  # 13 words ask for 13 / 3
}


def test_genericness_counts_content_words_outside_stock_phrases():
    assert genericness(list(SCORES)) == pytest.approx(list(SCORES.values()))


def test_the_lists_are_those_of_the_file_from_first_to_last():
    assert {"a", "yup"} <= FUNCTION_WORDS
    assert {("good", "question"), ("you're", "welcome")} <= STOCK_PHRASES
