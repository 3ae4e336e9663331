"""Engagement as it ranks within a conversation, where many people answered the same post."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from polychrome.pairs.schema import Pair


def ranked_within(pairs: Sequence[Pair]) -> list[Pair]:
    """The ``pairs``, their engagement the mid-rank in (0, 1) among those of their conversation.

    What a conversation draws in all (a good cartoon, a busy hour) is no merit of a reply and drops out.
    """
    from scipy.stats import rankdata  # here, since most data are not ranked so

    rows: dict[str, list[int]] = defaultdict(list)
    for row, pair in enumerate(pairs):
        rows[pair.conversation].append(row)
    ranked = list(pairs)
    for members in rows.values():
        ranks = (rankdata([pairs[row].engagement for row in members]) - 0.5) / len(members)
        for row, rank in zip(members, ranks.tolist(), strict=True):
            ranked[row] = replace(pairs[row], engagement=rank)
    return ranked
