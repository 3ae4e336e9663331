"""What is exact in the audience world: Pass@k of a set of replies and of a policy, and the policies that are ideal.

A policy is how likely a reply is of each kind, p (M,), its replies drawn independently and all in form; ``liked`` is w
(M,). A visiting reader is of kind m with probability w_m and finds something among k replies if one is of kind m.
"""

from collections.abc import Sequence

import numpy as np

from polychrome.measures.passk import pass_at_k

SIZES = (4, 6)  # of the sets whose score, mean reward times distinct share, has an optimum of its own


def pass_curve(kinds: Sequence[int], liked: np.ndarray) -> np.ndarray:
    """Pass@1 to Pass@n of n replies of ``kinds`` (-1: of none): sum_m w_m (1 - C(n - c_m, k) / C(n, k)).

    The chance that a visiting reader likes one of k of the replies, drawn without replacement. float64 (n,).
    """
    counts = np.bincount([kind for kind in kinds if kind >= 0], minlength=len(liked))
    return np.array([liked @ pass_at_k(len(kinds), counts, k) for k in range(1, len(kinds) + 1)])


def pass_of(policy: np.ndarray, liked: np.ndarray, k: int) -> float:
    """Pass@k of ``policy``: sum_m w_m (1 - (1 - p_m)^k)."""
    return float(liked @ (1 - (1 - policy) ** k))


def likeliest(liked: np.ndarray) -> np.ndarray:
    """The policy that a reward per reply makes: all mass on the kind that most readers like."""
    return np.eye(len(liked))[liked.argmax()]


def best(liked: np.ndarray, k: int) -> np.ndarray:
    """The policy with the highest Pass@k: k w_m (1 - p_m)^(k - 1) is alike for every kind that it writes.

    The optimum, too, of the set score max r on sets of k replies. Of k = 1 it is :func:`likeliest`.
    """
    if k == 1:
        return likeliest(liked)
    low, high = 0.0, float(liked.max())  # of the common value, divided by k

    def filled(level: float) -> np.ndarray:
        return 1 - np.minimum(1.0, level / np.maximum(liked, 1e-300)) ** (1 / (k - 1))

    for _ in range(100):
        level = (low + high) / 2
        low, high = (level, high) if filled(level).sum() > 1 else (low, level)
    return filled(high) / filled(high).sum()


def set_score(policy: np.ndarray, liked: np.ndarray, n: int) -> float:
    """Expected mean reward times distinct kinds / n, over sets of n replies of ``policy`` and over readers.

    (1/n) sum_m p_m w_m (1 + sum over j other than m of 1 - (1 - p_j)^(n - 1)): a reply of kind m that is liked, and how
    many kinds there are beside it.
    """
    beside = 1 - (1 - policy) ** (n - 1)
    return float((policy * liked * (1 + beside.sum() - beside)).sum() / n)


def best_of_sets(liked: np.ndarray, n: int) -> np.ndarray:
    """The policy with the highest :func:`set_score`."""
    from scipy.optimize import minimize  # here, since only a comparison needs it

    whole = {"type": "eq", "fun": lambda policy: policy.sum() - 1}
    starts = [liked / liked.sum(), *(best(liked, k) for k in (2, n, 2 * n))]
    found = [
        minimize(
            lambda policy: -set_score(policy, liked, n), start, bounds=[(0, 1)] * len(liked), constraints=whole,
            method="SLSQP", options={"ftol": 1e-14, "maxiter": 500},
        )
        for start in starts
    ]  # fmt: skip
    policy = np.clip(min(found, key=lambda one: one.fun).x, 0, 1)
    return policy / policy.sum()


def ideals(written: np.ndarray, liked: np.ndarray, samples: int) -> dict[str, np.ndarray]:
    """Name -> Pass@1 to Pass@n, n = ``samples``, of policies that nothing but the two distributions decides."""
    policies = {
        "likeliest taste": likeliest(liked),
        "as people write": written,
        "all kinds alike": np.full(len(liked), 1 / len(liked)),
        **{f"mean reward x distinct, sets of {n}": best_of_sets(liked, n) for n in SIZES},
        f"best for Pass@{samples}": best(liked, samples),
    }
    return {
        f"ideal: {name}": np.array([pass_of(policy, liked, k) for k in range(1, samples + 1)])
        for name, policy in policies.items()
    }
