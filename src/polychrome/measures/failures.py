"""In which ways one reply to its post fails, by kind. Pure functions of texts and of what was measured of them.

==============  ======================================================================================
``generic``     would fit any post: less than half of the specific words that its length calls for
                (:mod:`polychrome.measures.genericness`), as of about 15% of human chat replies ("yeah she does")
``off_topic``   cosine with the post below the judge's on-topic threshold, the 10th percentile of human replies
``copied``      more than :data:`COPIED` of its bigrams stand in the post, where the gate of the rewards begins to
                close, in a reply of :data:`COPIED_WORDS` words or more; or the post itself. "The beach", answering "the
                beach or the city?", is no copy
``repeated``    a loop, by :mod:`polychrome.measures.validity`
``truncated``   cut at max_new_tokens: it did not end by itself. Human replies are never cut
``hostile``     an insult or a threat aimed at whom it answers, or a slur wherever it stands; see :func:`is_hostile`
==============  ======================================================================================

A reply may fail in several ways at once; ``[]`` means in none, which is less than a pass (it may still not engage).
Generic and hostile know English only: of a reply in another script neither is asked. Nor is off topic where the encoder
does not know a script.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import regex

from polychrome.measures.copying import copied_share
from polychrome.measures.genericness import genericness
from polychrome.measures.validity import problems_of
from polychrome.measures.words import is_latin, length_of, words_of

KINDS = ("generic", "off_topic", "copied", "repeated", "truncated", "hostile")

GENERIC = 0.5  # score of `genericness` in [0, 1] below which a reply is generic
COPIED = 0.5  # share of the reply's bigrams, in [0, 1), above which it is copied
COPIED_WORDS = 4  # words from which a reply is long enough to be a copy of part of the post


def failures_of(
    post: str, reply: str, *, relevance: float | None, on_topic: float | None, ended: bool = True
) -> list[str]:
    """The ways in which ``reply`` fails, names from :data:`KINDS` in their order.

    ``relevance``: cosine of post and reply, None where it is undefined; ``on_topic``: the judge's threshold for it;
    ``ended``: whether the reply ended by itself.
    """
    found = {
        "generic": genericness([reply])[0] < GENERIC,
        "off_topic": relevance is not None and on_topic is not None and relevance < on_topic,
        "copied": is_copied(post, reply),
        "repeated": "repeated" in problems_of(reply),
        "truncated": not ended,
        "hostile": is_hostile(reply),
    }
    return [kind for kind in KINDS if found[kind]]


def shares(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Kind -> share in [0, 1] of the replies (rows of replies.jsonl) that fail in this way, of those it is asked of.

    None where it is asked of none: what knows English is not asked of other scripts, nor is being on topic where
    relevance is undefined.
    """
    latin, read = [row for row in rows if is_latin(row["text"])], [row for row in rows if row["relevance"] is not None]
    asked = {"generic": latin, "hostile": latin, "off_topic": read}
    failing = {kind: [kind in row["failures"] for row in asked.get(kind, rows)] for kind in KINDS}
    return {kind: sum(found) / len(found) if found else None for kind, found in failing.items()}


def is_copied(post: str, reply: str) -> bool:
    """Whether ``reply`` is taken from ``post``, in whole or for the most part."""
    words = words_of(reply)
    long_enough = length_of(words) >= COPIED_WORDS
    return bool(words) and (words == words_of(post) or (long_enough and copied_share([post], [reply])[0] > COPIED))


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


def _any_of(*words: str) -> str:
    return f"(?:{'|'.join(' '.join(words).split())})"


_SECTIONS = Path(__file__).with_name("hostile.txt").read_text(encoding="utf-8").split("\n\n")
_LISTS = dict(section.split(":", 1) for section in _SECTIONS)  # of regular expressions
_NOUNS, _ADJECTIVES = _LISTS["nouns"], _LISTS["adjectives"]
_BEFORE = f"(?: {_any_of(_LISTS['between'], _ADJECTIVES)})*"
_PHRASES = "|".join(phrase.strip() for phrase in _LISTS["phrases"].split("|"))
_HOSTILE = regex.compile(
    rf"\b(?:you are|are you|you're|youre|u r|ur){_BEFORE} {_any_of(_NOUNS, _ADJECTIVES)}\b"
    rf"|\b(?:you|u){_BEFORE} {_any_of(_NOUNS)}\b"  # "you idiot"; not the adjectives: "did you trash it"
    rf"|\b(?:{_PHRASES})\b|\b{_any_of(_LISTS['slurs'])}\b"
)
