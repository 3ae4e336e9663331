"""Every form of every kind is recognised as its kind and no other, on the topic of its post alone."""

import pytest

from polychrome.audience.grammar import FORMS, KINDS, LONGEST, POSTS, TOPICS, kind_of, topic_of
from polychrome.measures.words import count_words

POST = "Nobody told me how much work the old piano would be."


@pytest.mark.parametrize("kind", KINDS)
def test_every_form_is_of_its_kind_on_any_topic(kind):
    assert len(set(FORMS[kind])) >= 40
    for number, form in enumerate(FORMS[kind]):
        topic = TOPICS[number * 7 % len(TOPICS)]
        post = POSTS[number % len(POSTS)].format(topic)
        assert (KINDS[kind_of(post, form.format(topic))], form) == (kind, form)
        assert 3 <= count_words(form.format(topic)) <= LONGEST


@pytest.mark.parametrize("kind", KINDS)
def test_on_another_topic_or_to_no_post_of_the_world_it_is_of_no_kind(kind):
    for form in FORMS[kind]:
        assert kind_of(POST, form.format("new piano")) == kind_of(POST, form.format("piano")) == -1
        assert kind_of("My piano is old, and so am I.", form.format("old piano")) == -1


def test_a_topic_stands_in_every_post_and_posts_of_two_topics_differ():
    assert {topic_of(post.format(topic)) for post in POSTS for topic in TOPICS} == set(TOPICS)
    assert len({post.format(topic) for post in POSTS for topic in TOPICS}) == len(POSTS) * len(TOPICS) == 4800


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ("Why the old piano?", "question"),  # the first words say the kind, whatever follows
        ("why the OLD PIANO of all things?", "question"),
        ("Yes, and how did you find the old piano?", "agreement"),
        ("And how did you find the old piano?", "question"),
        ("So true, the old piano!", "agreement"),
        ("So sorry, the old piano!", "sympathy"),
        ("In fact the old piano is older.", "fact"),
        ("  Once I sold the old piano. ", "story"),
    ],
)
def test_the_first_words_say_the_kind(reply, kind):
    assert KINDS[kind_of(POST, reply)] == kind


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "The old piano is nice.",  # opens like no kind
        "However did you find the old piano?",
        "Onceuponatime the old piano.",
        "Why the old piano",  # no mark at its end
        "Why the old pianos?",
        "Why the bold piano?",
        "Why the piano?",
        "Why did you ever come to think that the old piano would please me too?",  # 15 words
        "Why the old piano?\nWhy the old piano?",
        "Why why why why the old piano?",  # a loop
        "Why, old piano, old piano, old piano, old piano?",
    ],
)
def test_what_has_not_the_form_of_a_reply_is_of_no_kind(reply):
    assert kind_of(POST, reply) == -1
