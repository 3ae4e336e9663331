"""Pass@k: the chance that at least one of k replies passes, estimated without bias from n >= k replies.

Chen et al. 2021, "Evaluating Large Language Models Trained on Code" (arXiv 2107.03374), equation 1:
pass@k = E over posts of 1 - C(n - c, k) / C(n, k), where c of a post's n replies pass. Plugging the share c / n into
1 - (1 - c / n)^k instead is biased downwards.
"""

from collections.abc import Sequence
from math import comb

import numpy as np

from polychrome.errors import InputError, Problem, bad


def pass_at_k(samples: int, passing: Sequence[int] | np.ndarray, k: int) -> np.ndarray:
    """Pass@k of each post, float64 with the shape of ``passing``, from how many of its ``samples`` replies pass.

    The binomials are whole numbers and only their quotient is rounded, so the value is the nearest double for any n.
    Raises InputError when k is not in 1..n, or a count is not in 0..n.
    """
    check_ks(samples, [k])
    counts = np.asarray(passing)
    if counts.size and not (np.issubdtype(counts.dtype, np.integer) and counts.min() >= 0 and counts.max() <= samples):
        raise bad("passing", counts.tolist(), f"whole numbers from 0 to n = {samples}", "Count them again.")
    ways = comb(samples, k)
    by_count = np.array([(ways - comb(samples - c, k)) / ways for c in range(samples + 1)])
    return by_count[counts.astype(int)]


def check_ks(samples: int, ks: Sequence[int], where: str = "evaluation.ks") -> None:
    """Raise InputError naming every k that is not in 1..n: there is no unbiased estimate from fewer than k replies."""
    problems = [
        Problem(where, f"k = {k}", f"1 <= k <= n = {samples} replies per post", "Lower k, or sample more replies.")
        for k in ks
        if not 1 <= k <= samples
    ]
    if problems:
        raise InputError(problems)
