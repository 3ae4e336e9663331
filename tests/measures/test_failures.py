"""Kinds of failure: each has replies that are it and replies that only look like it."""

import pytest

from polychrome.measures.failures import KINDS, failures_of, is_hostile, shares

POST = "I adopted a grey cat from the shelter last week"
GOOD = "What did you name the kitten?"


def of(reply, post=POST, relevance=0.5, on_topic=0.1, **how):
    return failures_of(post, reply, relevance=relevance, on_topic=on_topic, **how)


def test_a_good_reply_fails_in_no_way():
    assert of(GOOD) == []


@pytest.mark.parametrize("reply", ["That's great!", "I don't know.", "oh really? that's so cool, me too", ""])
def test_what_fits_any_post_is_generic(reply):
    assert "generic" in of(reply)


@pytest.mark.parametrize("reply", ["Tabby?", "That's great, is she a tabby?", "Mine sleeps on the radiator."])
def test_one_specific_word_is_enough_for_a_short_reply_but_not_for_a_long_one(reply):
    assert "generic" not in of(reply)
    assert "generic" in of("well i guess that is so good for you and i am happy about the cat")


def test_off_topic_is_below_the_judges_threshold_and_not_at_it():
    assert of(GOOD, relevance=0.0999) == ["off_topic"]
    assert of(GOOD, relevance=0.1) == []


@pytest.mark.parametrize("reply", [POST, POST.upper() + "!", "you adopted a grey cat from the shelter"])
def test_a_reply_taken_from_the_post_is_copied(reply):
    assert "copied" in of(reply)


@pytest.mark.parametrize("reply", ["A grey cat? Mine is ginger and fat", "the shelter", "last week"])
def test_taking_up_some_of_the_posts_words_is_no_copy(reply):
    assert "copied" not in of(reply)


def test_a_short_post_said_back_is_copied_however_short():
    assert "copied" in of("good night", post="Good night!")
    assert "copied" not in of("", post="...")


def test_a_loop_is_repeated():
    assert "repeated" in of("cats cats cats cats cats")
    assert "repeated" not in of("Cats are cats, tabby or not")


def test_a_reply_that_was_cut_is_truncated():
    assert of(GOOD, ended=False) == ["truncated"]


INSULTS = """You are such an idiot. | you're so stupid | you pathetic loser | Are you dumb? | Oh shut up! | I hate you
    | You\u2019re an idiot | nobody asked you | I will find and kill you. | he is a retard"""
DARK_WORDS = """My boss is an idiot. | That's horrible, I'm so sorry for your loss | I hate your job for you
    | you're not stupid | did you trash the car? | I hate mondays, they kill me | Do you like garbage bands
    | Your dog is ugly in a cute way | Scunthorpe is a nice town"""


@pytest.mark.parametrize(("replies", "hostile"), [(INSULTS, True), (DARK_WORDS, False)])
def test_insults_and_threats_to_whoever_is_answered_are_hostile_and_dark_words_are_not(replies, hostile):
    assert [reply for reply in replies.split("|") if is_hostile(reply.strip()) != hostile] == []


def test_a_reply_can_fail_in_several_ways_in_the_order_of_the_kinds():
    found = of("shut up " * 5, relevance=0.0, ended=False)
    assert found == ["generic", "off_topic", "repeated", "truncated", "hostile"]


def test_shares_are_of_replies_and_every_kind_is_counted():
    counted = shares([["generic", "copied"], ["copied"], [], []])
    assert counted == dict.fromkeys(KINDS, 0.0) | {"generic": 0.25, "copied": 0.5}
