"""The heuristic reward: six parts that can each be computed by hand, and their weighted mean.

For a reply of n words to a post (:func:`~polychrome.measures.words.length_of`; clip is to [0, 1]):

===============  ==========================================================================================
``relevance``    clip((cos - low) / (high - low)), cos the cosine of the two embeddings. ``low`` is what
                 chance gives and ``high`` what the closest human replies reach (:func:`calibrate`), so that
                 nothing is gained by drawing nearer to the post than people do
``length``       trapezium in n: 0 at 1, rising to 1 at 6, flat to 16, falling to 0 at 32
``sentiment``    1 - |v(post) - v(reply)| / 2, v in [-1, 1] the compound valence of VADER (Hutto and Gilbert,
                 2014); a text without sentiment words has v = 0
``variety``      clip((t - 0.5) / 0.5), t the share of distinct ones among the words; 0 without words
``punctuation``  half for ending as a sentence does (``. ! ? …`` or an emoji, closing quotes and brackets
                 aside, or an emoticon), half for restraint: clip(2 - 2 m / n), m the punctuation marks, apostrophes
                 apart; full up to one mark for two words; 0 without words
``genericness``  1 - how generic (:mod:`polychrome.measures.genericness`). Higher is less generic
===============  ==========================================================================================

    reward = w * o * sum_k weight_k part_k / sum_k weight_k,  k over the parts that know the language

with the two gates of :func:`polychrome.measures.copying.gate`. w is 0 for a malformed reply, else 1. o = clip(2 - 2 s),
s the share of the reply's bigrams that stand in the post: a reply may take up half of its bigrams from the post at no
cost, and a copy earns nothing. In 3,000 human chat replies 0.3% had s > 1/2.

Sentiment and genericness know English only. They take no part where the reply is in another script (for sentiment also
the post), nor relevance where the encoder does not know a script (:meth:`polychrome.measures.encoder.Encoder.knows`).
For other languages in Latin script give the first two no weight.
"""

import warnings
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np
import regex

from polychrome.errors import bad
from polychrome.measures.copying import gate
from polychrome.measures.encoder import PairVectors, TextEncoder, calibrating, known
from polychrome.measures.genericness import genericness
from polychrome.measures.words import is_latin, length_of, words_of
from polychrome.rewards.interface import Scores, Setting
from polychrome.rewards.settings import PARTS

ENGLISH = frozenset({"sentiment", "genericness"})  # parts that know no other language
_LENGTHS = (1.0, 6.0, 16.0, 32.0)  # words where the trapezium of `length` turns
_VARIETY_FLOOR = 0.5  # share of distinct words that earns nothing

_APOSTROPHE = regex.compile(r"(?<=\w)['\u2019](?=\w)")
_MARK = regex.compile(r"\p{P}")
_SENTENCE_END = regex.compile(
    r"(?:[…\p{STerm}]|\p{Extended_Pictographic}[\uFE0F\p{Emoji_Modifier}]*)[\p{Pe}\p{Pf}\"']*\s*$"
    r"|[:;=]['-]?[()DPp]+\s*$"  # an emoticon
)


def build(setting: Setting) -> "HeuristicReward":
    """The heuristic with the weights of params.yaml, its anchors set by the pairs that the arm trains on.

    Raises InputError where no part with a weight knows their language; warns where relevance does not.
    """
    weighed = {part for part, weight in setting.settings.weights.items() if weight}
    posts, replies = [pair.post for pair in setting.pairs], [pair.reply for pair in setting.pairs]
    unread = int((~known(setting.encoder, posts, replies)).sum())
    blind = (ENGLISH if not any(map(is_latin, replies)) else set()) | ({"relevance"} if unread == len(posts) else set())
    if weighed <= blind:
        knows = "which know English only" if weighed <= ENGLISH else "which do not know the script"
        found, expected = f"{', '.join(sorted(weighed))} alone, {knows}", "a part that knows your pairs"
        raise bad("params.yaml:reward.weights", found, expected, "Give another part a weight.")
    if unread and "relevance" in weighed:
        warnings.warn(
            f"the heuristic reward leaves relevance out for {unread} of {len(posts)} training pairs and replies like "
            "them: the encoder does not know their script (assets.encoder)",
            stacklevel=2,
        )
    return HeuristicReward(setting.settings.weights, setting.encoder, calibrate(setting.encoder, posts, replies))


def calibrate(encoder: TextEncoder, posts: Sequence[str], replies: Sequence[str]) -> tuple[float, float]:
    """The cosines ``(low, high)`` between which relevance rises, from human pairs: ``replies[i]`` answers ``posts[i]``.

    ``low`` is the median cosine of a post and the reply half the list away (chance), ``high`` the 90th percentile of
    the pairs' own. Raises InputError when human replies come no nearer to their posts than chance, or with fewer than 2
    pairs. Only pairs whose scripts the encoder knows are asked; where these are too few, 0 and 1.
    """
    if len(posts) < 2:
        raise bad("reward anchors", f"{len(posts)} pairs", "2 pairs or more", "Pass more pairs.")
    read = calibrating(encoder, posts, replies)
    if not len(read):
        return 0.0, 1.0
    a, b = (np.asarray(encoder.embed([texts[i] for i in read]), dtype=np.float64) for texts in (posts, replies))
    chance = np.median((a * np.roll(b, len(b) // 2, axis=0)).sum(axis=1))  # far apart: seldom one conversation
    low, high = float(chance), min(1.0, float(np.quantile((a * b).sum(axis=1), 0.9)))
    if not -1.0 <= low < high:
        found = f"low {low}, high {high}"
        raise bad("reward anchors", found, "-1 <= low < high <= 1", "Train on pairs whose replies answer their posts.")
    return low, high


class HeuristicReward:
    """The weighted mean of :data:`PARTS` behind two gates; see the module's formulas.

    ``weights``: part -> weight >= 0, divided by their sum; a part that is not named has weight 0. ``anchors``: low and
    high of relevance.
    """

    def __init__(self, weights: Mapping[str, float], encoder: TextEncoder, anchors: tuple[float, float]):
        total = sum(weights.values())
        self.weights = {part: weights[part] / total for part in PARTS if part in weights}
        self._encoder, self._vectors, self._anchors = encoder, PairVectors(encoder), anchors

    def __call__(self, posts: Sequence[str], replies: Sequence[str]) -> Scores:
        """Score each reply: float64 (n,) in [0, 1]."""
        if not replies:
            return np.zeros(0)
        parts = self.parts(posts, replies)
        mean, unknown = np.zeros(len(replies)), np.zeros(len(replies))
        for part, weight in self.weights.items():
            mean += weight * np.nan_to_num(parts[part])
            unknown += weight * np.isnan(parts[part])
        mean /= np.where(unknown < 1.0 - 1e-9, 1.0 - unknown, 1.0)  # 0 where no part knows the language
        return np.clip(gate(posts, replies) * mean, 0.0, 1.0)

    def parts(self, posts: Sequence[str], replies: Sequence[str]) -> dict[str, Scores]:
        """Every part before weights and gates: part -> float64 (n,) in [0, 1], n >= 1; NaN where it has no opinion."""
        low, high = self._anchors
        cosine = np.array([post @ reply for post, reply in zip(*self._vectors(posts, replies), strict=True)])
        nearness = np.clip((cosine - low) / (high - low), 0.0, 1.0)
        words = [words_of(reply) for reply in replies]
        distinct = np.array([len(set(each)) / len(each) if each else 0.0 for each in words], dtype=np.float64)
        moods = [np.array([valence(text) for text in texts], dtype=np.float64) for texts in (posts, replies)]
        return {
            "relevance": np.where(known(self._encoder, posts, replies), nearness, np.nan),
            "length": np.interp([length_of(each) for each in words], _LENGTHS, (0.0, 1.0, 1.0, 0.0)),
            "sentiment": 1.0 - np.abs(moods[0] - moods[1]) / 2.0,
            "variety": np.clip((distinct - _VARIETY_FLOOR) / (1.0 - _VARIETY_FLOOR), 0.0, 1.0),
            "punctuation": np.array([_punctuation(*each) for each in zip(replies, words, strict=True)]),
            "genericness": genericness(replies),
        }


def _punctuation(reply: str, words: list[str]) -> float:
    if not words:
        return 0.0
    marks = len(_MARK.findall(_APOSTROPHE.sub("", reply)))
    restraint = min(1.0, max(0.0, 2.0 - 2.0 * marks / length_of(words)))
    return 0.5 * bool(_SENTENCE_END.search(reply)) + 0.5 * restraint


@lru_cache(maxsize=65536)
def valence(text: str) -> float:
    """VADER's compound valence of ``text``, in [-1, 1]; NaN where it is not in Latin script."""
    return float(_analyzer().polarity_scores(text)["compound"]) if is_latin(text) else np.nan


@cache
def _analyzer() -> Any:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer  # here, since few runs use it

    return SentimentIntensityAnalyzer()
