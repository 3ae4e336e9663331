"""How varied one post's set of n replies is: what training can maximise and evaluation reports.

None means undefined for this post; it is never written as 0. Self-BLEU and distinct-n use one tokenisation, sacrebleu's
(:func:`~polychrome.measures.words.bleu_tokens`). A reply without a single token has nothing to be alike or distinct and
takes no part in them; whether a reply is any good is asked elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from polychrome.measures.words import bleu_tokens, spaced_words

if TYPE_CHECKING:
    from sacrebleu.metrics.bleu import BLEU


CONTRASTED = ("self_bleu", "semantic_diversity")
SHOWN = ("distinct_1", "distinct_2", "distinct_3")
BOUNDED = ("self_bleu",)
ENCODED = ("semantic_diversity",)


@dataclass(frozen=True, slots=True)
class ReplySet:
    """A post with its human reply and a model's n replies; a metric whose field was left out is undefined."""

    post: str
    human: str
    replies: Sequence[str]
    vectors: np.ndarray | None  # (n, d) unit vectors of the replies; None: the encoder does not know a script of theirs
    classes: Sequence[int] = ()  # (n,) kind of each reply by the ruler; -1 makes none
    utilities: Sequence[float] = ()  # (n,) in [0, 1]: engagement, 0 where a pass fails on anything else
    passes: Sequence[bool] = ()  # (n,)
    near: np.ndarray | None = None  # (n, m) bool: which reply lies near which of the post's m human replies
    people: np.ndarray | None = None  # (m, m) bool: which of these lie near each other


def metrics(of: ReplySet) -> dict[str, float | None]:
    """How long and how varied the replies to one post are."""
    return {
        "self_bleu": self_bleu(of.replies),
        "semantic_diversity": None if of.vectors is None else float(mean_pairwise_cosine_distance(of.vectors)),
        "words": float(np.mean([len(spaced_words(reply)) for reply in of.replies])),
        **{f"distinct_{n}": distinct_n(of.replies, n) for n in (1, 2, 3)},
    }


def self_bleu(replies: Sequence[str]) -> float | None:
    """Mean over replies of the BLEU of each against all the others, in [0, 1]; high is alike.

    Zhu et al. 2018, "Texygen" (arXiv 1802.01886), section 3.1. Sentence BLEU by sacrebleu up to order 4, with
    effective order (replies shorter than four tokens use the orders they have) and exponential smoothing.
    None with fewer than two replies that have tokens.
    """
    texts = [" ".join(tokens) for tokens in map(bleu_tokens, replies) if tokens]
    if len(texts) < 2:
        return None
    scores = [_bleu().sentence_score(text, texts[:i] + texts[i + 1 :]).score for i, text in enumerate(texts)]
    return min(float(np.mean(scores)) / 100, 1.0)  # sacrebleu's score of equal texts is 100.00000000000004


def distinct_n(replies: Sequence[str], n: int) -> float | None:
    """Different n-grams over all n-grams of the set, in (0, 1]; high is varied.

    Li et al. 2016, "A Diversity-Promoting Objective Function" (arXiv 1510.03055), section 5.2, within one post's set.
    None when no reply has n tokens.
    """
    grams = [tuple(words[i : i + n]) for words in map(bleu_tokens, replies) for i in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else None


def mean_pairwise_cosine_distance(vectors: np.ndarray) -> np.ndarray:
    """Mean of 1 - cos over the n (n - 1) / 2 pairs of rows: (..., n, d) -> (...), float64 in [0, n / (n - 1)].

    For unit rows u_i the cosines of all ordered pairs sum to |sum u_i|^2 - n, hence
    1 - (|sum u_i|^2 - n) / (n (n - 1)): n rows cost O(n d), no pair is formed.
    Raises ValueError for fewer than two rows, or a row that has no direction.
    """
    n = vectors.shape[-2]
    if n < 2:
        raise ValueError(f"a pairwise distance needs two vectors or more, got {n}")
    vectors = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        raise ValueError("a vector of length zero or not finite has no direction")
    total = (vectors / lengths).sum(axis=-2)
    return np.maximum(1 - ((total**2).sum(axis=-1) - n) / (n * (n - 1)), 0.0)


def distance_to_others(vectors: np.ndarray) -> np.ndarray:
    """Mean of 1 - cos of each of n unit rows to the n - 1 others: (n, d) -> float64 (n,) in [0, 2]."""
    cosine = (vectors := np.asarray(vectors, dtype=np.float64)) @ vectors.T
    return 1 - (cosine.sum(axis=1) - np.diag(cosine)) / (len(vectors) - 1)


@cache
def _bleu() -> BLEU:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(effective_order=True, tokenize="none", smooth_method="exp")
