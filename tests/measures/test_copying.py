"""What a reply takes from its post, in shares worked out by hand."""

import pytest

from polychrome.measures.copying import copied_share, gate, repeated_share

POST = "we went to the lake house today"
TAKEN = {  # reply -> (share of its bigrams that stand in the post, gate of the rewards)
    POST: (1, 0),
    "The lake house, today!": (1, 0),
    "the lake house rocks": (2 / 3, 2 - 2 * 2 / 3),
    "to the station or home": (1 / 4, 1),
    "nothing of the kind": (0, 1),
    "no no no no": (0, 0),  # malformed
    "lake": (0, 0),
    "": (0, 0),
}


def test_the_copied_share_is_of_bigrams_and_the_gate_closes_from_a_half_on_and_on_the_malformed():
    shares, gates = zip(*TAKEN.values(), strict=True)
    assert copied_share([POST] * len(TAKEN), list(TAKEN)) == pytest.approx(shares)
    assert gate([POST] * len(TAKEN), list(TAKEN)) == pytest.approx(gates)
    assert gate([], []).shape == (0,)


def test_a_reply_without_a_bigram_is_copied_when_it_is_the_post():
    assert copied_share(["Hello!", "Hello!", "..."], ["hello", "hi", ""]).tolist() == [1, 0, 1]


def test_repetition_is_graded_by_bigrams_said_before():
    assert repeated_share(["a b c d", "a b a b", "a b a b a b a b", "a", ""]) == pytest.approx([0, 1 / 3, 5 / 7, 0, 0])
