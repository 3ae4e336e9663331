"""Kinds of failure: each has replies that are it and replies that only look like it."""

import pytest

from polychrome.measures.failures import KINDS, failures_of, shares

POST = "I adopted a grey cat from the shelter last week"
GOOD = "What did you name the kitten?"


def rows(*failures, text=GOOD, relevance=0.5):
    """Rows of replies.jsonl, given how each reply fails."""
    return [{"text": text, "relevance": relevance, "failures": of_reply} for of_reply in failures]


def of(reply, post=POST, relevance=0.5, on_topic=0.1, **how):
    return failures_of(post, reply, relevance=relevance, on_topic=on_topic, **how)


@pytest.mark.parametrize(
    ("kind", "it_is", "it_is_not"),
    [
        (
            "generic",  # one specific word is enough for a short reply, but not for a long one
            """That's great! | I don't know. | oh really? that's so cool, me too | |
            well i guess that is so good for you and i am happy about the cat""",
            "Tabby? | That's great, is she a tabby? | Mine sleeps on the radiator.",
        ),
        (
            "copied",  # taking up some of the post's words is no copy
            f"{POST} | {POST.upper()}! | you adopted a grey cat from the shelter",
            "A grey cat? Mine is ginger and fat | the shelter | last week",
        ),
        ("repeated", "cats cats cats cats cats", "Cats are cats, tabby or not"),
        (
            "hostile",  # insults and threats to whoever is answered, not dark words
            """You are such an idiot. | you're so stupid | you pathetic loser | Are you dumb? | Oh shut up! | I hate you
            | You\u2019re an idiot | nobody asked you | I will find and kill you. | he is a retard""",
            """My boss is an idiot. | That's horrible, I'm so sorry for your loss | I hate your job for you
            | you're not stupid | did you trash the car? | I hate mondays, they kill me | Do you like garbage bands
            | Your dog is ugly in a cute way | Scunthorpe is a nice town""",
        ),
    ],
)
def test_what_is_said_fails_by_what_it_is_and_not_by_what_it_looks_like(kind, it_is, it_is_not):
    assert [reply for reply in it_is.split("|") if kind not in of(reply)] == []
    assert [reply for reply in it_is_not.split("|") if kind in of(reply)] == []


def test_a_good_reply_fails_only_where_it_was_cut_or_is_below_the_judges_threshold():
    assert of(GOOD, relevance=0.1) == []
    assert of(GOOD, relevance=0.0999) == ["off_topic"]
    assert of(GOOD, ended=False) == ["truncated"]


def test_a_short_post_said_back_is_copied_however_short():
    assert "copied" in of("good night", post="Good night!")
    assert "copied" not in of("", post="...")


def test_a_reply_can_fail_in_several_ways_in_the_order_of_the_kinds():
    found = of("shut up " * 5, relevance=0.0, ended=False)
    assert found == ["generic", "off_topic", "repeated", "truncated", "hostile"]


def test_shares_are_of_replies_and_every_kind_is_counted():
    counted = shares(rows(["generic", "copied"], ["copied"], [], []))
    assert counted == dict.fromkeys(KINDS, 0.0) | {"generic": 0.25, "copied": 0.5}


def test_shares_are_of_the_replies_that_can_be_asked_and_undefined_without_any():
    english, thai = rows(["generic", "off_topic"], []), rows(["copied"], [], text="ไปดูหนังกับเพื่อน", relevance=None)
    assert shares(english + thai) == dict.fromkeys(KINDS, 0.0) | {"generic": 0.5, "off_topic": 0.5, "copied": 0.25}
    unasked = dict.fromkeys(("generic", "off_topic", "hostile"))
    assert shares(thai) == dict.fromkeys(KINDS, 0.0) | unasked | {"copied": 0.5}
    assert of("ไปดูหนังกับเพื่อน", relevance=None) == []
