"""Which replies say the same: classes of texts by their sentence vectors, as NoveltyBench has them of a classifier.

Two replies are alike above the cosine that only 1% of pairs of human replies to *different* posts exceed, and alike is
made transitive (Zhang et al. 2025, NoveltyBench, arXiv 2504.05228, section 3, with another judge of likeness).
"""

from collections.abc import Sequence

import numpy as np

from polychrome.errors import bad

MOST = 2000  # replies that the threshold is set by, all pairs of them; of more, a seeded sample
SAME = 1 - 1e-6  # the cosine of equal texts, but for rounding


def same_class_threshold(vectors: np.ndarray, posts: Sequence[str], quantile: float = 0.99) -> float:
    """The cosine that a share 1 - ``quantile`` of the pairs of replies to different posts exceeds.

    ``vectors`` (n, d) are unit vectors of human replies, ``posts`` (n,) what each answers.
    Raises InputError where all answer one post.
    """
    chosen = np.arange(len(posts))
    if len(posts) > MOST:
        chosen = np.sort(np.random.default_rng(0).choice(len(posts), MOST, replace=False))
    rows, post = np.asarray(vectors, dtype=np.float64)[chosen], np.asarray(posts, dtype=object)[chosen]
    i, j = np.triu_indices(len(post), 1)
    apart = post[i] != post[j]
    if not apart.any():
        found, expected = f"{len(posts)} replies to one post", "replies to two posts or more"
        raise bad("the classes of replies", found, expected, "Take more pairs.")
    return float(np.quantile((rows @ rows.T)[i, j][apart], quantile))


def similar(vectors: np.ndarray, threshold: float, valid: np.ndarray | None = None) -> np.ndarray:
    """Which of n replies with unit ``vectors`` (n, d) are alike: bool (n, n), symmetric, each like itself.

    A reply that is not ``valid`` (n,) is like none, not even itself: it makes no class. Equal texts are alike at any
    ``threshold``.
    """
    vectors = np.asarray(vectors, dtype=np.float64)
    alike = vectors @ vectors.T >= min(threshold, SAME)
    alike = alike | alike.T | np.eye(len(vectors), dtype=bool)
    return alike if valid is None else alike & valid[:, None] & valid


def components(similar: np.ndarray) -> np.ndarray:
    """The class of each reply, from 0 in the order of their first members: (n, n) bool -> (n,) int.

    Two replies are of one class where a chain of likenesses joins them; one that is not like itself has -1.
    """
    from scipy.sparse.csgraph import connected_components

    made = np.diagonal(similar)
    labels = connected_components(similar & made[:, None] & made, directed=False)[1]
    classes = np.full(len(labels), -1)
    _, first, inverse = np.unique(labels[made], return_index=True, return_inverse=True)
    classes[made] = np.argsort(np.argsort(first))[inverse]
    return classes
