"""What a reply takes from its post, in shares worked out by hand."""

import pytest

from polychrome.measures.copying import copied_share, gate, originality, repeated_share

POST = "we went to the lake house today"
TAKEN = {
    "we went to the lake house today": 1.0,
    "The lake house, today!": 1.0,
    "the lake house rocks": 2 / 3,
    "to the station or home": 1 / 4,
    "nothing of the kind": 0.0,
    "lake": 0.0,
    "": 0.0,
}


def test_the_copied_share_is_of_bigrams_and_originality_falls_from_a_half_on():
    posts, replies = [POST] * len(TAKEN), list(TAKEN)
    assert copied_share(posts, replies) == pytest.approx(list(TAKEN.values()))
    assert originality(posts, replies) == pytest.approx([0, 0, 2 - 2 * 2 / 3, 1, 1, 1, 1])


def test_a_reply_without_a_bigram_is_copied_when_it_is_the_post():
    assert copied_share(["Hello!", "Hello!", "..."], ["hello", "hi", ""]).tolist() == [1, 0, 1]


def test_repetition_is_graded_by_bigrams_said_before():
    assert repeated_share(["a b c d", "a b a b", "a b a b a b a b", "a", ""]) == pytest.approx([0, 1 / 3, 5 / 7, 0, 0])


def test_the_gate_of_rewards_is_originality_of_what_is_well_formed():
    assert gate([POST] * 4, ["no no no no", POST, "the lake house rocks", "what fun"]) == pytest.approx(
        [0, 0, 2 / 3, 1]
    )
    assert gate([], []).shape == (0,)
