import pytest

from polychrome.pairs.text import is_links_only, letter_share


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
