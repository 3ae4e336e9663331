"""What is new to a reader who goes through k replies (NoveltyBench, Zhang et al. 2025, arXiv 2504.05228)."""

from collections.abc import Sequence
from math import comb

from polychrome.measures.sets import ReplySet

CONTRASTED, SHOWN = ("utility_k",), ("distinct_k",)
BOUNDED, ENCODED = CONTRASTED, (*CONTRASTED, *SHOWN)
PATIENCE = 0.8  # p: chance that the reader goes on after a reply, the paper's


def metrics(of: ReplySet) -> dict[str, float | None]:
    """``distinct_k``, in [0, k], and ``utility_k``, in [0, 1], of all k = n replies. None without classes."""
    if not of.classes:
        return {"utility_k": None, "distinct_k": None}
    return {
        "utility_k": utility(of.classes, of.utilities),
        "distinct_k": float(len({kind for kind in of.classes if kind >= 0})),
    }


def utility(classes: Sequence[int], utilities: Sequence[float], patience: float = PATIENCE) -> float:
    """What a patient reader gains from n replies, the mean over all their orders, in [0, 1] for such ``utilities``.

    (1 - p) / (1 - p^n) sum_i p^(i-1) new_i u_i, new_i being 1 where no reply before place i
    is of its class; class -1 is never new. A reply with s in its class, itself too, stands at place i, and is the first
    of them, with chance C(n - s, i - 1) / C(n - 1, i - 1) / n.
    """
    n = len(classes)
    first = [
        sum(patience**i * comb(n - size, i) / comb(n - 1, i) for i in range(n - size + 1)) / n
        for size in map(classes.count, classes)
    ]
    gained = sum(u * chance for kind, u, chance in zip(classes, utilities, first, strict=True) if kind >= 0)
    return gained * (1 - patience) / (1 - patience**n)
