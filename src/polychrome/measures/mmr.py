"""Maximal marginal relevance: k of n replies that are good and not alike, taken one after another."""

from collections.abc import Sequence

import numpy as np


def mmr(quality: Sequence[float] | np.ndarray, similar: np.ndarray, k: int, weight: float = 0.5) -> list[int]:
    """Places of at most k of n replies, in the order taken; of equal ones the first.

    Taken next is the reply with the highest weight q_i - (1 - weight) max_j s_ij, j over those taken, 0 at first
    (Carbonell and Goldstein 1998, "The use of MMR", section 2). ``quality`` (n,) and ``similar`` (n, n), as of cosines,
    on one scale; a similarity that is not defined (NaN) takes nothing off. ``weight`` in [0, 1]: 1 takes the k best.
    Raises ValueError for shapes that do not fit or k below 0.
    """
    quality, similar = np.asarray(quality, dtype=np.float64), np.nan_to_num(np.asarray(similar, dtype=np.float64))
    if similar.shape != (len(quality), len(quality)) or k < 0:
        raise ValueError(f"quality {quality.shape}, similarity {similar.shape}, k = {k}")
    taken: list[int] = []
    nearest = np.zeros(len(quality))
    while len(taken) < min(k, len(quality)):
        worth = weight * quality - (1 - weight) * nearest
        worth[taken] = -np.inf
        best = int(worth.argmax())
        nearest = np.maximum(nearest, similar[best]) if taken else similar[best].copy()
        taken.append(best)
    return taken
