"""The Vendi score: how many wholly different replies are as varied (Friedman and Dieng 2022, arXiv 2210.02410)."""

import numpy as np

from polychrome.measures.sets import ReplySet

SHOWN = ENCODED = ("vendi", "vendi_passing")


def metrics(of: ReplySet) -> dict[str, float | None]:
    """``vendi`` of all replies, ``vendi_passing`` of those that pass, None where none does; None without vectors."""
    if of.vectors is None:
        return dict.fromkeys(SHOWN)
    passing = of.vectors[np.flatnonzero(of.passes)]
    return {"vendi": vendi(of.vectors), "vendi_passing": vendi(passing) if len(passing) else None}


def vendi(vectors: np.ndarray) -> float:
    """exp of the entropy of the eigenvalues of K / n, K the cosines of n >= 1 unit rows (n, d); in [1, n].

    The eigenvalues are the squared singular values of the rows over sqrt(n), which none is below zero.
    """
    shares = np.linalg.svd(np.asarray(vectors, dtype=np.float64), compute_uv=False) ** 2 / len(vectors)
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))
