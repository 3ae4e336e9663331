"""What a reply takes from its post, and what it says again: shares of its bigrams of words."""

from collections.abc import Sequence

import numpy as np

from polychrome.measures.validity import problems_of
from polychrome.measures.words import bigrams_of, words_of

_FREE = 0.5  # share of bigrams that a reply may take from its post at no cost


def copied_share(posts: Sequence[str], replies: Sequence[str]) -> np.ndarray:
    """Share in [0, 1] of each reply's bigrams that stand in its post: (n,). With no bigram, whether it is the post."""
    shares = []
    for post, reply in zip(posts, replies, strict=True):
        taken, grams = set(bigrams_of(post)), bigrams_of(reply)
        is_post = float(words_of(reply) == words_of(post))
        shares.append(sum(gram in taken for gram in grams) / len(grams) if grams else is_post)
    return np.array(shares, dtype=np.float64)


def repeated_share(replies: Sequence[str]) -> np.ndarray:
    """Share in [0, 1) of each reply's bigrams that it has said before: (n,). A grade, where `repeated` is a gate."""
    grams = [bigrams_of(reply) for reply in replies]
    return np.array([1 - len(set(of_reply)) / len(of_reply) if of_reply else 0.0 for of_reply in grams])


def gate(posts: Sequence[str], replies: Sequence[str]) -> np.ndarray:
    """What every reward of ours is multiplied by: float64 (n,).

    1 while at most half of a reply's bigrams stand in its post, falling to 0 for a copy; 0 for a malformed reply.
    """
    original = np.clip((1.0 - copied_share(posts, replies)) / (1.0 - _FREE), 0.0, 1.0)
    return np.array([not problems_of(reply) for reply in replies], dtype=np.float64) * original
