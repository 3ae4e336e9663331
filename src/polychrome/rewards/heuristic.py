"""The heuristic reward: six parts that can each be computed by hand, and their weighted mean.

For a reply of n word tokens to a post (word tokens as in :func:`polychrome.measures.validity.words_of`; clip is to
[0, 1]):

===============  ==========================================================================================
``relevance``    clip((cos - low) / (high - low)), cos the cosine of the two embeddings. ``low`` is what
                 chance gives and ``high`` what the closest human replies reach (:func:`calibrate`), so that
                 nothing is gained by drawing nearer to the post than people do
``length``       trapezium in n: 0 at 1, rising to 1 at 6, flat to 16, falling to 0 at 32
``sentiment``    1 - |v(post) - v(reply)| / 2, v in [-1, 1] the compound valence of VADER (Hutto and Gilbert,
                 2014); a text without sentiment words has v = 0, and so has one that is not English
``variety``      clip((t - 0.5) / 0.5), t the share of distinct words among the n
``punctuation``  half for ending as a sentence does (``. ! ? …`` or an emoji, closing quotes and brackets
                 aside, or an emoticon), half for restraint: clip(2 - 2 m / n), m the punctuation marks, apostrophes
                 apart; full up to one mark for two words
``genericness``  1 - how generic: clip(c / max(2, n / 3)), c the distinct words that are neither function words
                 nor inside a stock phrase ("i don't know", "that's great"). Higher is less generic
===============  ==========================================================================================

    reward = w * o * sum_k weight_k part_k / sum_k weight_k

with two gates. w is 0 for a reply that :func:`~polychrome.measures.validity.problems_of` finds malformed, else 1.
o = clip(2 - 2 s), s the share of the reply's bigrams that stand in the post: a reply may take up half of its
bigrams from the post at no cost, and a copy earns nothing. In 3,000 human chat replies 0.3% had s > 1/2.

Sentiment, function words and stock phrases know English only; for other languages give them no weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Protocol

import numpy as np
import regex
from numpy.typing import NDArray
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from polychrome.errors import InputError, Problem, bad
from polychrome.measures.generic_words import FUNCTION_WORDS, STOCK_PHRASES
from polychrome.measures.validity import well_formed, words_of

Scores = NDArray[np.float64]

PARTS = ("relevance", "length", "sentiment", "variety", "punctuation", "genericness")

_LENGTHS = (1.0, 6.0, 16.0, 32.0)  # words where the trapezium of `length` turns
_VARIETY_FLOOR = 0.5  # share of distinct words that earns nothing
_FREE_OVERLAP = 0.5  # share of bigrams that a reply may take from its post at no cost
_STOCK_WORDS = max(map(len, STOCK_PHRASES))

_APOSTROPHE = regex.compile(r"(?<=\w)['\u2019](?=\w)")
_MARK = regex.compile(r"\p{P}")
_SENTENCE_END = regex.compile(
    r"(?:[.!?…\u3002\uFF01\uFF1F]|\p{Extended_Pictographic}[\uFE0F\p{Emoji_Modifier}]*)[\p{Pe}\p{Pf}\"']*\s*$"
    r"|[:;=]['-]?[()DPp]+\s*$"  # an emoticon
)


class TextEncoder(Protocol):
    """Whatever embeds texts as unit vectors, such as :class:`polychrome.measures.encoder.Encoder`."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed n texts as float32 (n, d), each row of length 1."""
        ...


@dataclass(frozen=True, slots=True)
class Anchors:
    """The cosines between which relevance rises from 0 to 1. The defaults are MiniLM's on human chat."""

    low: float = 0.09
    high: float = 0.50

    def __post_init__(self) -> None:
        if not -1.0 <= self.low < self.high <= 1.0:
            raise bad(
                "reward anchors", f"low {self.low}, high {self.high}", "-1 <= low < high <= 1", "Calibrate them again."
            )


def calibrate(encoder: TextEncoder, posts: Sequence[str], replies: Sequence[str]) -> Anchors:
    """Anchors for ``encoder`` from human pairs: ``replies[i]`` answers ``posts[i]``.

    ``low`` is the median cosine of a post and the reply half the list away (chance), ``high`` the 90th percentile of
    the pairs' own. Raises InputError when human replies come no nearer to their posts than chance, or with fewer than 2
    pairs.
    """
    if len(posts) != len(replies) or len(posts) < 2:
        raise bad(
            "reward anchors", f"{len(posts)} posts, {len(replies)} replies", "2 pairs or more", "Pass more pairs."
        )
    a, b = (np.asarray(encoder.embed(texts), dtype=np.float64) for texts in (posts, replies))
    chance = np.median((a * np.roll(b, len(b) // 2, axis=0)).sum(axis=1))  # far apart: seldom one conversation
    return Anchors(float(chance), min(1.0, float(np.quantile((a * b).sum(axis=1), 0.9))))


class HeuristicReward:
    """The weighted mean of :data:`PARTS` behind two gates; see the module's formulas.

    ``weights``: part -> weight >= 0, divided by their sum; a part that is not named has weight 0. Raises InputError
    for an unknown part, a weight that is not a finite number >= 0, or no positive weight at all.
    """

    def __init__(self, weights: Mapping[str, float], encoder: TextEncoder, anchors: Anchors | None = None):
        self.weights = normalised(weights)
        self._encoder = encoder
        self._anchors = anchors or Anchors()
        self._posts: dict[str, NDArray[np.float64]] = {}

    def __call__(self, posts: Sequence[str], replies: Sequence[str]) -> Scores:
        """Score each reply: float64 (n,) in [0, 1]."""
        parts = self.parts(posts, replies)
        mean = sum((weight * parts[part] for part, weight in self.weights.items()), start=np.zeros(len(replies)))
        gate = np.array(well_formed(replies), dtype=np.float64) * originality(posts, replies)
        return np.clip(gate * mean, 0.0, 1.0)

    def parts(self, posts: Sequence[str], replies: Sequence[str]) -> dict[str, Scores]:
        """Every part before weights and gates, for the log: part -> float64 (n,) in [0, 1]."""
        if len(posts) != len(replies):
            raise bad(
                "reward", f"{len(posts)} posts, {len(replies)} replies", "as many of each", "Pass one post a reply."
            )
        return {
            "relevance": self.relevance(posts, replies),
            "length": length(replies),
            "sentiment": sentiment(posts, replies),
            "variety": variety(replies),
            "punctuation": punctuation(replies),
            "genericness": genericness(replies),
        }

    def relevance(self, posts: Sequence[str], replies: Sequence[str]) -> Scores:
        """Cosine of post and reply between the anchors: float64 (n,). Each distinct text is embedded once."""
        if not replies:
            return np.zeros(0)
        distinct = sorted(set(replies))
        vectors = np.asarray(self._encoder.embed(distinct), dtype=np.float64)
        row = {text: vectors[i] for i, text in enumerate(distinct)}
        cosine = np.array([self._post(post) @ row[reply] for post, reply in zip(posts, replies, strict=True)])
        low, high = self._anchors.low, self._anchors.high
        return np.clip((cosine - low) / (high - low), 0.0, 1.0)

    def _post(self, post: str) -> NDArray[np.float64]:
        # Alone, not in a batch: padding moves the last bits, and a run that goes on from a checkpoint with an empty
        # cache has to score as one that was never stopped.
        if post not in self._posts:
            self._posts[post] = np.asarray(self._encoder.embed([post])[0], dtype=np.float64)
        return self._posts[post]


def normalised(weights: Mapping[str, float]) -> dict[str, float]:
    """``weights`` divided by their sum, in the order of :data:`PARTS`. Raises InputError telling every bad one."""
    where, known = "params.yaml:reward.weights", ", ".join(PARTS)
    problems = [
        Problem(f"{where}.{part}", "an unknown part", f"one of {known}", "Correct or drop the key.")
        for part in weights
        if part not in PARTS
    ]
    problems += [
        Problem(f"{where}.{part}", repr(weight), "a finite number >= 0", "Correct the weight.")
        for part, weight in weights.items()
        if not _is_weight(weight)
    ]
    if not problems and not sum(weights.values()) > 0:
        problems.append(
            Problem(where, str(dict(weights)), "a positive weight", f"Give weight to at least one of {known}.")
        )
    if problems:
        raise InputError(problems)
    total = sum(weights.values())
    return {part: weights[part] / total for part in PARTS if part in weights}


def _is_weight(weight: object) -> bool:
    is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
    return is_number and bool(np.isfinite(weight)) and weight >= 0  # type: ignore[call-overload, operator]


def length(replies: Sequence[str]) -> Scores:
    """Trapezium in the number of words: float64 (n,)."""
    counts = [len(words_of(reply)) for reply in replies]
    return np.interp(counts, _LENGTHS, (0.0, 1.0, 1.0, 0.0)).astype(np.float64)


def sentiment(posts: Sequence[str], replies: Sequence[str]) -> Scores:
    """One minus half the distance of the two valences: float64 (n,)."""
    post, reply = (np.array([valence(text) for text in texts], dtype=np.float64) for texts in (posts, replies))
    return 1.0 - np.abs(post - reply) / 2.0


@lru_cache(maxsize=1)
def _analyzer() -> SentimentIntensityAnalyzer:
    return SentimentIntensityAnalyzer()


@lru_cache(maxsize=65536)
def valence(text: str) -> float:
    """VADER's compound valence of ``text``, in [-1, 1]."""
    return float(_analyzer().polarity_scores(text)["compound"])


def variety(replies: Sequence[str]) -> Scores:
    """Share of distinct words above a half: float64 (n,); 0 without words."""
    shares = np.array([_share_distinct(words_of(reply)) for reply in replies], dtype=np.float64)
    return np.clip((shares - _VARIETY_FLOOR) / (1.0 - _VARIETY_FLOOR), 0.0, 1.0)


def _share_distinct(words: list[str]) -> float:
    return len(set(words)) / len(words) if words else 0.0


def punctuation(replies: Sequence[str]) -> Scores:
    """Half for a sentence's end, half for few marks: float64 (n,); 0 without words."""
    return np.array([_punctuation(reply) for reply in replies], dtype=np.float64)


def _punctuation(reply: str) -> float:
    words = len(words_of(reply))
    if not words:
        return 0.0
    marks = len(_MARK.findall(_APOSTROPHE.sub("", reply)))
    restraint = min(1.0, max(0.0, 2.0 - 2.0 * marks / words))
    return 0.5 * bool(_SENTENCE_END.search(reply)) + 0.5 * restraint


def genericness(replies: Sequence[str]) -> Scores:
    """One minus how generic each reply is: float64 (n,)."""
    return np.array([_specific(words_of(reply)) for reply in replies], dtype=np.float64)


def _specific(words: list[str]) -> float:
    stock = _inside_stock_phrase(words)
    content = {word for word, is_stock in zip(words, stock, strict=True) if not is_stock} - FUNCTION_WORDS
    return min(1.0, len(content) / max(2.0, len(words) / 3.0))


def _inside_stock_phrase(words: list[str]) -> list[bool]:
    inside = [False] * len(words)
    for start in range(len(words)):
        for size in range(1, _STOCK_WORDS + 1):
            if tuple(words[start : start + size]) in STOCK_PHRASES:
                inside[start : start + size] = [True] * len(words[start : start + size])
    return inside


def originality(posts: Sequence[str], replies: Sequence[str]) -> Scores:
    """The gate against copying: 1 while at most half of the reply's bigrams stand in the post, 0 for a copy."""
    taken = [_share_taken(words_of(post), words_of(reply)) for post, reply in zip(posts, replies, strict=True)]
    return np.clip((1.0 - np.array(taken, dtype=np.float64)) / (1.0 - _FREE_OVERLAP), 0.0, 1.0)


def _share_taken(post: list[str], reply: list[str]) -> float:
    bigrams = list(pairwise(reply))
    in_post = set(pairwise(post))
    return sum(bigram in in_post for bigram in bigrams) / len(bigrams) if bigrams else float(reply == post)
