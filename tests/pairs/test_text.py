import pytest

from polychrome.pairs.text import count_words, is_links_only, letter_share, same_text_key, shingles, trimmed


def test_white_space_is_collapsed_and_nothing_else_changes():
    assert trimmed("  Oh\nno,\t WHY?? \u00a0 ") == "Oh no, WHY??"


@pytest.mark.parametrize(
    ("text", "words"), [("", 0), (":) - !", 0), (":) ok 2nd - (well)", 3), ("don't stop-now", 2), ("_ _x \u00fcber", 2)]
)
def test_a_word_is_a_run_with_a_letter_or_digit(text, words):
    assert count_words(text) == words


@pytest.mark.parametrize(
    ("text", "links_only"),
    [
        ("https://a.example/b?c=d", True),
        ("@mia www.a.example !!", True),
        ("look: https://a.example", False),
        ("@mia @bob", False),  # no link in it
        ("", False),
    ],
)
def test_links_with_handles_and_punctuation_are_links_only(text, links_only):
    assert is_links_only(text) is links_only


def test_letter_share_leaves_white_space_links_and_handles_out():
    assert letter_share("ab 12 https://a.example @mia") == 0.5
    assert letter_share("https://a.example") == 0.0


def test_letters_of_other_scripts_are_letters():
    assert letter_share("\u043f\u0440\u0438\u0432\u0435\u0442") == 1.0
    assert letter_share("\u0928\u092e\u0938\u094d\u0924\u0947") == 1.0  # with combining marks


def test_texts_that_differ_in_case_space_or_compatibility_forms_are_the_same():
    assert same_text_key("\uff28ello   W\u00d6RLD\n") == same_text_key("hello w\u00f6rld")


def test_shingles_are_character_five_grams_and_a_short_text_is_its_own():
    assert shingles("Abcdef") == {"abcde", "bcdef"}
    assert shingles("abc") == {"abc"}
    assert shingles("") == {""}
