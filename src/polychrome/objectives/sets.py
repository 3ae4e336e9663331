"""The advantages of sets: the gradient of E f(S), S a set of n replies, from N > n replies to one post.

This file needs numpy alone, and nothing of this project: copy it, or import just
:func:`set_advantages`, wherever advantages of a group are made (a loop over the groups of a step; below).

For replies y_1..y_N drawn from p and a symmetric score f of sets of n < N of them, let q_i be the mean of f over the
subsets that contain i, v_i the mean over those that do not. Then

    A_i = (n / N) (q_i - v_i),    E[ sum_i A_i grad log p(y_i) ] = grad E_{S ~ p^n} f(S),    sum_i A_i = 0       (1)

since E[(n / N) q_i grad log p(y_i)] is one N-th of that gradient, and v_i, which y_i has no part in, is a baseline.
With E f the mean over all subsets, (n / N) q_i + (1 - n / N) v_i = E f = mean_j q_j for every i, hence

    A_i = n / (N - n) (q_i - mean_j q_j) = N / (N - n) Cov_S( f(S), 1[i in S] )                                   (2)

The first form serves where q has a closed form, the second all subsets, or a sample of M of them: the sample
covariance, which divides by M - 1, has (2) as its mean. f(S) may read nothing outside S: classes are fixed for each
reply, or are found within each subset; found among all N, where one outside S may join two in it, they make (1) false.

The same up to a factor: Pass@k Training (arXiv 2508.10751; its analytical advantages times n sigma / (N - n)) and
Poly-EPO (arXiv 2604.17654; its all-subsets form times 1 / (1 - n / N)). PKPO's s_i (arXiv 2505.15201) is (n / N) q_i,
with other baselines. n = 1 with f = r is RLOO's advantage over N.

Which loss: with one that divides by a constant, such as ``dr_grpo``, (1) is the gradient up to that constant. One that
divides each reply by its own length (``grpo``) follows A_i / |y_i| instead: the gradient of no score, which favours
short good replies and spares long bad ones. Dividing by the tokens of the step (``dapo``, ``bnpo``) is a factor that
varies from step to step. Divide A by one number for the whole batch if at all, never by each group's own std.

In other trainers, per prompt, with ``rewards`` (N,) and ``classes`` (N,) or (N, N) of its completions:

* TRL: in a subclass of ``GRPOTrainer``, in place of the advantages of ``_generate_and_score_completions``;
  ``loss_type="dr_grpo"``;
* verl: a function under ``register_adv_est``, grouped by ``index``, A_i on every token of response i;
  ``loss_agg_mode="seq-mean-token-sum-norm"``;
* prime-rl: as the custom advantage function, a group of rewards in, A out.
"""

from collections.abc import Callable
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
SetScore = Callable[[Floats, NDArray[np.int64]], float]
"""f(rewards (n,), classes (n,)) of a set; members of a class have the same number, -1 is no class."""

SCORES = ("best", "poly", "distinct")


def set_advantages(
    rewards: ArrayLike,
    classes: ArrayLike | None,
    score: str | SetScore,
    n: int,
    *,
    most: int = 20_000,
    seed: int = 0,
) -> Floats:
    """A (N,) of eq. (1) for the N replies to one post: weigh grad log p(y_i) by A_i. They sum to 0.

    Args:
        rewards: (N,), finite.
        classes: (N,) integers, fixed for each reply, -1 where it makes no class; or (N, N) bool, which two replies are
            alike (symmetric; False on the diagonal: makes no class), from which the classes of every subset are found,
            as connected components. May be None for ``best``.
        score: of a set: ``best``, the largest reward (Pass@n, where rewards are passes); ``poly``, mean reward times
            distinct classes / n (Poly-EPO); ``distinct``, distinct classes / n; or a function of the set's rewards (n,)
            and classes (n,).
        n: replies of a set, 1 <= n < N.
        most: ``best``, and ``poly`` and ``distinct`` of fixed classes, have closed forms. Otherwise all C(N, n) subsets
            are scored up to so many, above it so many drawn at random by ``seed``.

    Raises ValueError for what is not so.
    """
    return centred(means_with(rewards, classes, score, n, most=most, seed=seed), n)


def centred(means: Floats, n: int) -> Floats:
    """A (N,) of q (N,), :func:`means_with`, by the first form of eq. (2); exactly 0 where all are equal."""
    means = means - means[0]
    return n / (len(means) - n) * (means - means.mean())


def means_with(
    rewards: ArrayLike,
    classes: ArrayLike | None,
    score: str | SetScore,
    n: int,
    *,
    most: int = 20_000,
    seed: int = 0,
) -> Floats:
    """q (N,): the mean of f over the sets of n that hold reply i, as :func:`set_advantages` takes them.

    Their mean is the unbiased estimate of E f(S). Where subsets are sampled, q is what gives eq. (2) its covariance.
    """
    r = np.asarray(rewards, dtype=np.float64)
    if r.ndim != 1 or not np.isfinite(r).all():
        raise ValueError(f"rewards are (N,) finite numbers, got shape {r.shape}: {r}")
    if not 1 <= n < len(r):
        raise ValueError(f"a set has 1 <= n < N replies, got n = {n} of N = {len(r)}")
    if isinstance(score, str) and score not in SCORES:
        raise ValueError(f"score is {', '.join(SCORES)} or a function, got {score!r}")
    if score == "best":
        return _best_with(r, n)
    given = np.asarray(classes)
    fixed, alike = given.shape == r.shape and given.dtype.kind in "iu", given.shape == (len(r), len(r))
    if not (fixed or (alike and given.dtype == bool and (given == given.T).all())):
        found = "None" if classes is None else f"{given.dtype} {given.shape}"
        raise ValueError(f"classes are ({len(r)},) integers or a symmetric bool matrix of {len(r)} rows, got {found}")
    if fixed and score in ("poly", "distinct"):
        return _distinct_with(given, n, r if score == "poly" else None)
    members, sampled = _subsets(len(r), n, most, seed)  # (M, n)
    values = _scores(r, given, score, members)
    inside = np.zeros(len(r))
    np.add.at(inside, members.ravel(), np.repeat(values - values.mean(), n))
    return values.mean() + len(r) / n * inside / (len(values) - sampled)


def components(alike: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The class of each member of sets (..., n, n) of which two are alike: the first that it is joined to, -1 if none.

    Alike is made transitive: a member that is like two others joins them.
    """
    made = np.diagonal(alike, axis1=-2, axis2=-1)
    joined = alike & made[..., None] & made[..., None, :]
    for _ in range(max(1, alike.shape[-1] - 1).bit_length()):  # paths twice as long every time
        joined = joined | (joined.astype(np.float32) @ joined.astype(np.float32) > 0)
    return np.where(made, joined.argmax(-1), -1)


def _best_with(r: Floats, n: int) -> Floats:
    """f = max. In ascending order the p-th reply (from 0) is the best of C(p, n - 1) of the sets that hold it.

    A better one, the j-th, is the best of C(j - 1, n - 2) of the sets that hold both.
    """
    total, order = len(r), np.argsort(r, kind="stable")
    low, ascending = r.min(), r[order] - r.min()
    sets = comb(total - 1, n - 1)
    own = np.array([comb(p, n - 1) / sets for p in range(total)])
    above = np.array([comb(j - 1, n - 2) / sets if j and n > 1 else 0.0 for j in range(total)]) * ascending
    means = np.empty(total)
    means[order] = low + own * ascending + (above[::-1].cumsum()[::-1] - above)
    return means


def _distinct_with(classes: NDArray[np.int64], n: int, r: Floats | None) -> Floats:
    """f = distinct / n, times the mean of ``r`` where given, of classes that are fixed.

    n^2 f(S) = sum over a in S and classes c of r_a 1[c meets S]. Given that i, or i and a, are in S, its other n - 1,
    or n - 2, are any of the rest: a class of m that holds neither is missed with a hypergeometric probability.
    """
    total = len(classes)
    kinds, sizes = np.unique(classes[classes >= 0], return_counts=True)
    holds = classes[:, None] == kinds  # (N, kinds)

    def missed(known: int) -> Floats:  # (kinds,) by a set of which so many members, none of them its own, are known
        sets = comb(total - known, n - known)
        return np.array([comb(max(0, total - known - int(m)), n - known) / sets for m in sizes])

    with_one = (~holds * (1 - missed(1)) + holds).sum(-1)  # classes expected in a set that holds i
    if r is None:
        return with_one / n
    if n == 1:
        return r * with_one
    either = holds[:, None] | holds[None]
    with_two = (~either * (1 - missed(2)) + either).sum(-1)  # (N, N)
    np.fill_diagonal(with_two, 0.0)
    return (r * with_one + (n - 1) / (total - 1) * with_two @ r) / n**2


def _subsets(total: int, n: int, most: int, seed: int) -> tuple[NDArray[np.int64], bool]:
    """Subsets (M, n) of n out of ``total``: all, or ``most`` drawn with replacement; and whether they are drawn."""
    if comb(total, n) <= most:
        return np.array(list(combinations(range(total), n))), False
    if most < 2:
        raise ValueError(f"a covariance needs 2 or more subsets, got most = {most}")
    return np.random.default_rng(seed).random((most, total)).argsort(-1)[:, :n], True


def _scores(r: Floats, classes: NDArray, score: str | SetScore, members: NDArray[np.int64]) -> Floats:
    """f (M,) of the subsets ``members`` (M, n)."""
    pairs = (members[:, :, None], members[:, None, :])
    within = classes[members] if classes.ndim == 1 else components(classes[pairs])
    if callable(score):
        return np.array([score(*both) for both in zip(r[members], within, strict=True)], dtype=np.float64)
    ordered = np.sort(within, axis=-1)
    new = (ordered >= 0) & np.concatenate([ordered[:, :1] >= 0, ordered[:, 1:] != ordered[:, :-1]], axis=-1)
    share = new.mean(-1)
    return share * r[members].mean(-1) if score == "poly" else share
