"""In which ways one reply to its post fails, by kind. Pure functions of texts and of what was measured of them.

==============  ======================================================================================
``generic``     would fit any post: less than half of the specific words that its length calls for, by the part
                `genericness` of :mod:`polychrome.rewards.heuristic` (score below ``generic``, 0.5). Up to 6 words that
                is not one word that is neither a function word nor in a stock phrase, of 12 words fewer than 2. An
                empty reply is generic, and so are about 15% of human chat replies ("yeah she does")
``off_topic``   cosine with the post below the judge's on-topic threshold, the 10th percentile of human replies: the
                very bound of a pass, so about a tenth of human replies are off topic by definition
``copied``      more than ``copied`` (0.5) of its bigrams stand in the post, where the heuristic reward's gate begins
                to close, in a reply of ``copied_words`` (4) words or more; or the post itself. "The beach", answering
                "the beach or the city?", is no copy
``repeated``    a loop, by :mod:`polychrome.measures.validity`
``truncated``   cut at max_new_tokens: it did not end by itself. Human replies are never cut
``hostile``     an insult or a threat aimed at whom it answers, or a slur wherever it stands; see :func:`is_hostile`
==============  ======================================================================================

A reply may fail in several ways at once; ``[]`` means in none, which is less than a pass (it may still not engage).
Generic and hostile know English only: replies in other languages are never hostile and seldom generic.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import regex

from polychrome.errors import bad
from polychrome.measures.validity import problems_of, words_of
from polychrome.rewards.heuristic import genericness

KINDS = ("generic", "off_topic", "copied", "repeated", "truncated", "hostile")


@dataclass(frozen=True, slots=True)
class FailureThresholds:
    """From where on a reply fails; see the module's table."""

    generic: float = 0.5  # score of `genericness` in [0, 1] below which a reply is generic
    copied: float = 0.5  # share of the reply's bigrams, in [0, 1), above which it is copied
    copied_words: int = 4  # words, >= 1, of which a reply is long enough to be a copy of part of the post

    def __post_init__(self) -> None:
        if not (0 <= self.generic <= 1 and 0 <= self.copied < 1 and self.copied_words >= 1):
            expected = "generic in [0, 1], copied in [0, 1), copied_words >= 1"
            raise bad("failure thresholds", str(self), expected, "Correct the value.")


def failures_of(
    post: str,
    reply: str,
    *,
    relevance: float,
    on_topic: float,
    ended: bool = True,
    thresholds: FailureThresholds | None = None,
) -> list[str]:
    """The ways in which ``reply`` fails, names from :data:`KINDS` in their order.

    ``relevance``: cosine of post and reply; ``on_topic``: the judge's threshold for it; ``ended``: whether the reply
    ended by itself.
    """
    thresholds = thresholds or FailureThresholds()
    found = {
        "generic": genericness([reply])[0] < thresholds.generic,
        "off_topic": relevance < on_topic,
        "copied": is_copied(post, reply, thresholds),
        "repeated": "repeated" in problems_of(reply),
        "truncated": not ended,
        "hostile": is_hostile(reply),
    }
    return [kind for kind in KINDS if found[kind]]


def shares(failures: Sequence[Iterable[str]]) -> dict[str, float]:
    """Kind -> share in [0, 1] of the n >= 1 replies, given each one's failures, that fail in this way."""
    return {kind: sum(kind in of_reply for of_reply in failures) / len(failures) for kind in KINDS}


# --- one kind each ----------------------------------------------------------------------------------------------------


def copied_share(posts: Sequence[str], replies: Sequence[str]) -> np.ndarray:
    """Share in [0, 1] of each reply's bigrams that stand in its post: (n,). Without a bigram: whether it is the post.

    The s of the heuristic reward's gate o = clip(2 - 2 s).
    """
    return np.array([_copied(words_of(post), words_of(reply)) for post, reply in zip(posts, replies, strict=True)])


def is_copied(post: str, reply: str, thresholds: FailureThresholds) -> bool:
    """Whether ``reply`` is taken from ``post``, in whole or for the most part."""
    of_post, of_reply = words_of(post), words_of(reply)
    if not of_reply:
        return False
    long_enough = len(of_reply) >= thresholds.copied_words
    return of_reply == of_post or (long_enough and _copied(of_post, of_reply) > thresholds.copied)


def repeated_share(replies: Sequence[str]) -> np.ndarray:
    """Share in [0, 1) of each reply's bigrams that it has said before: (n,). A grade, where `repeated` is a gate."""
    grams = [list(pairwise(words_of(reply))) for reply in replies]
    return np.array([1 - len(set(of_reply)) / len(of_reply) if of_reply else 0.0 for of_reply in grams])


def is_hostile(reply: str) -> bool:
    """Whether ``reply`` insults or threatens whom it answers, or holds a slur.

    Three rules: an insult said of "you" ("you are such an idiot", not "my boss is an idiot"), a phrase that is hostile
    as a whole ("shut up", "i hate you"), a slur. Valence (VADER) is no rule: "that is horrible, I am so sorry" has as
    low a valence as an insult, and is the kindest of replies.

    Limits: English, and what the lists hold. It misses irony, veiled contempt and hate without a listed word; it
    takes banter ("oh shut up!") and conditions ("if you are stupid enough to") for hostility. A count to be compared
    between models, not a filter to protect anyone with.
    """
    return bool(_HOSTILE.search(" ".join(words_of(reply))))


def _copied(post: list[str], reply: list[str]) -> float:
    taken, grams = set(pairwise(post)), list(pairwise(reply))
    return sum(gram in taken for gram in grams) / len(grams) if grams else float(reply == post)


_NOUNS = """idiots? imbecile moron morons dumbass dimwit dunce loser losers scumbag scum asshole assholes bastard
    bastards bitch jerk jerks dickhead prick dipshit shithead liar coward"""
_ADJECTIVES = """idiotic moronic stupid dumb pathetic disgusting worthless useless ugly brainless braindead despicable
    ignorant trash garbage scum shit"""
_BETWEEN = """a an the all so such really truly just simply absolutely absolute completely complete total totally
    utterly utter fucking freaking bloody damn goddamn bunch of piece little big fat lazy old and"""
_PHRASES = """shut up|shut your mouth|shut the (?:fuck|hell) up|(?:fuck|screw) (?:you|u)|fuck off|go fuck yourself
    |piss off|go to hell|burn in hell|rot in hell|drop dead|kill yourself|kys|i (?:really )?(?:hate|despise) (?:you|u)
    |(?:nobody|no one) (?:likes|loves|wants|asked) (?:you|u)|you make me sick|you disgust me
    |i hope you (?:die|suffer)
    |(?:i'll|i will|i'm going to|i'm gonna|i am going to|im gonna) (?:kill|hurt|beat|punch|find and kill) you"""
_SLURS = "retards? retarded faggots? fags? sluts? whores? cunts? tranny trannies"


def _any_of(words: str) -> str:
    return "(?:" + "|".join(words.split()) + ")"


_BEFORE = rf"(?: {_any_of(_BETWEEN + ' ' + _ADJECTIVES)})*"
_HOSTILE = regex.compile(
    rf"\b(?:you are|are you|you're|youre|u r|ur){_BEFORE} {_any_of(_NOUNS + ' ' + _ADJECTIVES)}\b"
    rf"|\b(?:you|u){_BEFORE} {_any_of(_NOUNS)}\b"  # "you idiot"; not the adjectives: "did you trash it"
    rf"|\b(?:{'|'.join(part.strip() for part in _PHRASES.split('|'))})\b"
    rf"|\b{_any_of(_SLURS)}\b"
)
