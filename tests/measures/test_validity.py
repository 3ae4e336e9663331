"""What makes a reply malformed, rule by rule, and what must not."""

import pytest

from polychrome.measures.validity import PROBLEMS, problems_of, well_formed, words_of

HUMAN = [
    "haha really? I had 2 open with the same person earlier",
    "yes I am",
    "Ya I'm so excited!",
    "Ha ha ha, you got me there",
    "no no no, that was my brother",
    "Thank you. Thank you.",
    "soooo good!!! :)",
    "see https://example.org/cats for more",
    "I < 3 cats & dogs",
    "Je ne sais pas, et toi ?",
    "你好吗",
    "नमस्ते आप कैसे हैं",
]


@pytest.mark.parametrize("reply", HUMAN)
def test_what_people_write_is_well_formed(reply):
    assert problems_of(reply) == []


@pytest.mark.parametrize("reply", ["", "   ", "\n\t", "\u200b \ufeff"])
def test_white_space_and_invisible_characters_are_empty_and_nothing_else(reply):
    assert problems_of(reply) == ["empty"]


@pytest.mark.parametrize("reply", ["2 + 2", "1 2 3", "12:30 99"])
def test_numbers_alone_are_no_words(reply):
    assert problems_of(reply) == ["no_words"]


@pytest.mark.parametrize("reply", ["Hi", "Yeah . . .", "don't!", "好"])
def test_one_word_is_too_short(reply):
    assert problems_of(reply) == ["too_short"]


@pytest.mark.parametrize("reply", ["!!!", ":)", "\U0001f642\U0001f642"])
def test_marks_and_emojis_alone_are_no_words_and_too_short(reply):
    assert problems_of(reply) == ["no_words", "too_short"]


@pytest.mark.parametrize(
    "reply",
    [
        "I really really really really like it",
        "No, NO, no! no",
        "i know, i know, i know",
        "one by one one by one one by one",
        "We saw the cat. Then we saw the cat. Then we saw the cat",
        "I love dogs. What about you? I love dogs.",
        "the cat and the cat and the cat and a cat",
        "oh heck n" + "o" * 30,
        "that is so ha" + "ha" * 12,
    ],
)
def test_loops_are_repeated(reply):
    assert problems_of(reply) == ["repeated"]


def test_loops_start_at_four_words_and_at_three_phrases():
    assert problems_of("well no no no") == []
    assert problems_of("well no no no no") == ["repeated"]
    assert problems_of("well you know you know") == []
    assert problems_of("well you know you know you know") == ["repeated"]


def test_half_of_the_bigrams_must_be_distinct_from_eight_words_on():
    half = "a b c d e a b c d e a"  # 11 words, 10 bigrams, 5 of them distinct
    fewer = "a b c d e a b c d e a b"  # 12 words, 11 bigrams, 5 of them distinct
    assert problems_of(half) == []
    assert problems_of(fewer) == ["repeated"]


@pytest.mark.parametrize(
    "reply",
    [
        "<|im_start|>assistant I like cats",
        "I like cats<|im_end|>",
        "I like cats</s>",
        "[INST] I like cats [/INST]",
        "```python\nprint the cats\n```",
        "https://example.org/a/b",
        "https://example.org/a www.example.org/b",
    ],
)
def test_template_tokens_fences_and_bare_links_are_markup(reply):
    assert problems_of(reply) == ["markup"]


def test_several_problems_are_all_told_in_the_order_of_the_table():
    assert problems_of("<|user|> no no no no") == ["repeated", "markup"]
    assert PROBLEMS.index("repeated") < PROBLEMS.index("markup")


def test_word_tokens_are_case_folded_with_straight_apostrophes():
    assert words_of("Don\u2019t STOP, it's 5 o'clock!") == ["don't", "stop", "it's", "5", "o'clock"]


def test_the_batch_agrees_with_one_at_a_time():
    replies = [*HUMAN, "", "Hi", "no no no no"]
    assert well_formed(replies) == [problems_of(reply) == [] for reply in replies]
    assert well_formed(replies) == [True] * len(HUMAN) + [False] * 3
