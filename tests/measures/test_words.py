"""Each reading of a text as words on texts where the readings part."""

import pytest

from polychrome.measures.words import bigrams_of, bleu_tokens, count_words, spaced_words, words_and_marks, words_of

TEXT = "Don\u2019t STOP :) 2nd, ok?"


@pytest.mark.parametrize(
    ("reading", "words"),
    [
        (words_of, ["don't", "stop", "2nd", "ok"]),
        (bigrams_of, [("don't", "stop"), ("stop", "2nd"), ("2nd", "ok")]),
        (spaced_words, ["Don\u2019t", "STOP", ":)", "2nd,", "ok?"]),
        (words_and_marks, ["don't", "stop", ":", ")", "2nd", ",", "ok", "?"]),
        (bleu_tokens, ["Don\u2019t", "STOP", ":", ")", "2nd", ",", "ok", "?"]),
        (count_words, 4),
    ],
)
def test_every_reading_of_one_text(reading, words):
    assert reading(TEXT) == words


def test_in_scripts_without_spaces_every_character_is_a_word():
    assert words_of("你好吗 ok") == ["你", "好", "吗", "ok"]
    assert words_of("नमस्ते आप") == ["नमस्ते", "आप"]
    assert words_of("it's 5 o'clock") == ["it's", "5", "o'clock"]


@pytest.mark.parametrize(
    ("text", "words"), [("", 0), (":) - !", 0), (":) ok 2nd - (well)", 3), ("don't stop-now", 2), ("_ _x \u00fcber", 2)]
)
def test_a_counted_word_is_a_run_with_a_letter_or_digit(text, words):
    assert count_words(text) == words
