"""Precision and coverage against people, of posts to which five people or more replied; else undefined.

After precision and recall of Kynkaanniemi et al. 2019 (arXiv 1904.06991), with one radius for all replies: two are near
where the ruler holds them to say the same.
"""

from math import comb

import numpy as np

from polychrome.measures.sets import ReplySet

SHOWN = ("precision", "coverage", "precision_of_people", "coverage_of_people")
BOUNDED = ENCODED = SHOWN
PEOPLE = 5  # human replies to a post from which on it is asked


def metrics(of: ReplySet) -> dict[str, float | None]:
    """The share of n replies near a human one, and of m human ones near a reply, each beside what people reach.

    A person is held against the m - 1 others, so a reply is too: ``precision`` is the chance to lie near one of m - 1
    of the human replies drawn without replacement, ``coverage`` that of a human reply to have one of
    k = min(n, m - 1) of the replies, or for people of the others, near it. The mean over draws is exact.
    """
    if of.near is None or of.people is None or len(of.people) < PEOPLE:
        return dict.fromkeys(SHOWN)
    (n, m), others = of.near.shape, of.people & ~np.eye(len(of.people), dtype=bool)
    k = min(n, m - 1)
    return {
        "precision": reached(of.near.sum(axis=1), m, m - 1),
        "coverage": reached(of.near.sum(axis=0), n, k),
        "precision_of_people": reached(others.sum(axis=1), m - 1, m - 1),
        "coverage_of_people": reached(others.sum(axis=1), m - 1, k),
    }


def reached(counts: np.ndarray, of: int, k: int) -> float:
    """Mean chance that k draws without replacement hold one of the ``counts`` (a,) replies, among ``of``, that do."""
    return float(np.mean([1 - comb(of - int(count), k) / comb(of, k) for count in counts]))
