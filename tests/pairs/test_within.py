"""Engagement as ranks within a conversation, by hand."""

from polychrome.pairs.schema import Pair
from polychrome.pairs.within import ranked_within


def test_ranks_are_of_a_conversation_alone_and_ties_share_theirs():
    given = [("a", 5.0), ("b", 100.0), ("a", 7.0), ("a", 5.0), ("b", 200.0), ("a", 1.0), ("c", 3.0)]
    pairs = [Pair(f"p{n}", talk, f"post of {talk}", "a reply", value, "") for n, (talk, value) in enumerate(given)]
    found = ranked_within(pairs)
    assert [pair.engagement for pair in found] == [0.5, 0.25, 0.875, 0.5, 0.75, 0.125, 0.5]
    assert [(pair.id, pair.reply) for pair in found] == [(pair.id, pair.reply) for pair in pairs]
    assert pairs[0].engagement == 5.0  # what was given stays as it was
