"""Values as people have them: counts as "1.2K", ids that pandas made floats, texts with entities in them.

:data:`FIELDS` says what a reply may have, what the columns that hold it are usually called, and how a value is read.
"""

import html
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from polychrome.pairs.schema import ROLES, TURNS, Turns
from polychrome.pairs.sources import is_text

LARGEST = 2**63 - 1
EXACT = 2**53  # beyond it a float no longer holds every whole number
SIGNED = ("score", "ups", "votes", "points", "karma", "rating", "reward")  # in names of columns below zero means zero

_PLACEHOLDER = re.compile(
    r"\[(deleted|removed)( by \w+)*\]|this (tweet|post) (is unavailable|was deleted\b.*)\.?",
    re.IGNORECASE,
)
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff]")  # those that are white space stay
_COUNT = re.compile(r"([+-]?(?:\d+|\d{1,3}(?:,\d{3})+)(?:\.\d+)?(?:e[+-]?\d+)?)\s*([kmb])?", re.IGNORECASE)
_FLOAT = re.compile(r"\d+\.\d+(e\+\d+)?|\d+e\+\d+")  # as libraries write one, and nobody an id: 17.0, 1e+18
_THOUSANDS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}
STRIPPED = {  # what section data may strip -> name in the report, what it is
    "handles": ("leading @handles", re.compile(r"^(?:\s*\.?@\w+[:,]?(?=\s))+\s*")),
    "links": ("trailing t.co links", re.compile(r"(?:\s*https?://t\.co/\w+)+\s*$", re.IGNORECASE)),
}


def text(value: Any) -> str | None:
    """A text, None where a placeholder stands for one that was taken away. Raises ValueError."""
    if not is_text(value):
        raise ValueError
    return None if _PLACEHOLDER.fullmatch(value.strip()) else value


def tidied(value: str, strip: Collection[str]) -> tuple[str, set[str]]:
    """``value`` without entities, control characters and what ``strip`` names; and what was mended, in words.

    A text that would be nothing without its handles and links keeps them, for cleaning to judge.
    """
    mended: set[str] = set()

    def became(new: str, what: str) -> str:
        mended.update({what} if new != value else ())
        return new

    if "&" in value:
        value = became(html.unescape(value), "HTML entities")
    if not (value.isascii() and value.isprintable()):
        value = became(_CONTROL.sub("", value), "control characters")
    for name in strip:
        what, pattern = STRIPPED[name]
        value = became(pattern.sub("", value), what) if pattern.sub("", value).strip() else value
    return value, mended


def name(value: Any) -> str | None:
    """An id or author as text. Raises ValueError, also for a float that has lost the digits of a large id."""
    if isinstance(value, str):
        if not value:
            return None
        if not value.strip() or not is_text(value):
            raise ValueError
        if not _FLOAT.fullmatch(value.strip()):
            return None if _PLACEHOLDER.fullmatch(value.strip()) else value.strip()
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError
    if isinstance(value, float) and (not value.is_integer() or abs(value) > EXACT):
        raise ValueError
    return str(int(value))


def author(value: Any) -> str | None:
    """A name by which one author is one: without @ and in one case."""
    found = name(value)
    return found.removeprefix("@").casefold() if found else None


def number(value: Any) -> float | None:
    """Any finite number, also written 1.2K or 1,234; empty is None. Raises ValueError."""
    if isinstance(value, str):
        if not value.strip():
            return None
        written = _COUNT.fullmatch(value.strip())
        if not written:
            raise ValueError
        value = float(written[1].replace(",", "")) * _THOUSANDS[(written[2] or "").lower()]
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        raise ValueError
    return value


def seconds(value: Any) -> float | None:
    """A number >= 0. Raises ValueError."""
    found = number(value)
    if found is not None and found < 0:
        raise ValueError
    return found


def count(value: Any) -> float | None:
    """A whole number >= 0; -1 is one that is not known. Raises ValueError."""
    found = number(value)
    if found == -1:
        return None
    if found is not None and (found < 0 or not float(found).is_integer()):
        raise ValueError
    return found


def turns(value: Any) -> Turns:
    """What was said before a post: turns [role, text] or {role, content}. Raises ValueError."""
    if not isinstance(value, list):
        raise ValueError
    pairs = [tuple(turn.get(key) for key in ("role", "content")) if isinstance(turn, dict) else turn for turn in value]
    if not all(len(pair) == 2 and pair[0] in ROLES and is_text(pair[1]) for pair in pairs):
        raise ValueError
    return tuple((role, said) for role, said in pairs)


@dataclass(frozen=True)
class Field:
    """What a reply may have: how its value is read, what it should be, and what columns with it are called."""

    read: Callable[[Any], Any]
    expected: str
    usual: tuple[str, ...]


_TEXT = "a string of whole characters (null or empty counts as a missing field and is dropped)"
_NAME = "a whole number or a string that is not blank, with all its digits"
_COUNTED = "a whole number >= 0 (-1 or empty where it is not known)"
FIELDS = {
    "post": Field(text, _TEXT, (
        "tweet", "post", "post_text", "prompt", "question", "title", "parent_text", "parent_body", "parent",
        "instruction", "message", "input", "text",
    )),
    "reply": Field(text, _TEXT, (
        "reply", "reply_text", "response", "answer", "completion", "comment", "body", "output", "text",
    )),
    "post_id": Field(name, _NAME, ("tweet_id", "post_id", "parent_id", "thread_id", "conversation_id", "link_id")),
    "id": Field(name, _NAME, ("reply_id", "comment_id", "answer_id", "id")),
    "author": Field(author, _NAME, ("reply_author", "author", "username", "user", "screen_name")),
    "post_author": Field(author, _NAME, ("tweet_author", "post_author", "parent_author")),
    "post_likes": Field(count, _COUNTED, ("tweet_likes", "post_likes", "parent_likes", "post_score", "parent_score")),
    "likes": Field(count, _COUNTED, (
        "reply_likes", "likes", "like_count", "favorite_count", "favorites", "upvotes", "score", "ups", "votes",
        "points", "reactions", "thanks", "rating",
    )),
    "reposts": Field(count, _COUNTED, ("reply_retweets", "retweets", "retweet_count", "reposts", "shares")),
    "followers": Field(count, _COUNTED, ("reply_author_followers", "followers", "followers_count")),
    "seconds": Field(seconds, "a number >= 0", ("reply_time_diff_seconds", "seconds")),
    "context": Field(turns, TURNS, ("context", "history")),
}  # fmt: skip
CIRCUMSTANCES = {  # what else may drive engagement -> its name in the report
    "reposts": "reply_retweets",
    "followers": "reply_author_followers",
    "seconds": "reply_time_diff_seconds",
}


def reader_of(field: str, column: str) -> tuple[Callable[[Any], Any], str]:
    """How the values of ``column`` are read for ``field``, and what they should be: scores may be negative."""
    if field in ("likes", "post_likes") and any(word in column.casefold().split("_") for word in SIGNED):
        return number, "a number"
    return FIELDS[field].read, FIELDS[field].expected
