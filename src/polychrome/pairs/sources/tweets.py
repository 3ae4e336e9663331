"""Replies to posts, one JSON object per line; data/README.md explains every field.

Engagement is ``reply_likes / max(tweet_likes, 1)``.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from polychrome.errors import InputError, Problem, bad
from polychrome.files import Row, read_jsonl, wrong_fields
from polychrome.measures.duplicates import same_text_key
from polychrome.pairs.sources import Candidate, is_text

LARGEST_COUNT = 2**63 - 1

_MEND = "Mend it, or set data.path in params.yaml to another file or folder."


def read(path: Path) -> list[Candidate]:
    """One candidate for each line of a ``.jsonl`` file, or of all of them in a folder, read by name."""
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    if not files:
        raise bad(str(path), "no .jsonl file", "at least one", _MEND)
    rows: list[Row] = []
    problems: list[Problem] = []
    check = partial(_wrong, {})
    for file in files:
        try:
            rows += read_jsonl(file, check, what="the source's data", remedy=_MEND)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    conversations: dict[str, str] = {}  # by normalised tweet text: the id that some line gives it, else a hash of it
    for row in rows:
        key, own_id = same_text_key(row["tweet"] or ""), row.get("tweet_id")
        conversations.setdefault(key, f"tweet-{_digest(key)}" if own_id is None else str(own_id))
    some_likes = any(row.get("tweet_likes") is not None for row in rows)
    return [_candidate(row, conversations, some_likes) for row in rows]


def _candidate(row: Row, conversations: Mapping[str, str], some_likes: bool) -> Candidate:
    tweet, reply = row["tweet"] or "", row["reply"] or ""
    own_id = row.get("tweet_id")
    conversation = str(own_id) if own_id is not None else conversations[same_text_key(tweet)]
    return Candidate(
        id=_text_or_empty(row.get("reply_id")) or f"reply-{_digest(conversation, tweet, reply)}",
        conversation=conversation,
        post=row["tweet"],
        reply=row["reply"],
        engagement=_likes_ratio(row, some_likes),
        author=_text_or_empty(row.get("reply_author")),
        post_author=_text_or_empty(row.get("tweet_author")),
        circumstances={name: float(row[name]) for name in CIRCUMSTANCES if row.get(name) is not None},
    )


def _likes_ratio(row: Row, some_likes: bool) -> float | None:
    """reply_likes / max(tweet_likes, 1), or None when it was not measured.

    A file in which no line has tweet_likes is taken as one where the tweets are alike, and the likes count as they
    are. Where only some lines lack it, those lines have no engagement: two units must not be mixed.
    """
    if row.get("reply_likes") is None or (some_likes and row.get("tweet_likes") is None):
        return None
    likes: float = row["reply_likes"] / max(row.get("tweet_likes") or 0, 1)
    return likes


def _digest(*texts: str) -> str:
    """A short hexadecimal name for ``texts``, the same on every machine (64 bits of SHA-256)."""
    return hashlib.sha256("\x1f".join(texts).encode()).hexdigest()[:16]


def _text_or_empty(value: object) -> str:
    return "" if value is None else str(value)


# --- fields: what each may be besides null, which is the same as leaving it out -----------------------------------


def _is_name(value: object) -> bool:
    if isinstance(value, str):
        return bool(value.strip()) and is_text(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _is_seconds(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LARGEST_COUNT  # NaN is not


def _is_count(value: Any) -> bool:
    return _is_seconds(value) and (isinstance(value, int) or value.is_integer())


CIRCUMSTANCES = ("reply_retweets", "reply_author_followers", "reply_time_diff_seconds")
FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(
        ("tweet", "reply"),
        (is_text, "a string of whole characters (null or empty counts as a missing field and is dropped)"),
    ),
    **dict.fromkeys(
        ("tweet_id", "reply_id", "tweet_author", "reply_author"),
        (_is_name, "a whole number or a string that is not blank"),
    ),
    **dict.fromkeys(
        ("tweet_likes", "reply_likes", "reply_retweets", "reply_author_followers"), (_is_count, "a whole number >= 0")
    ),
    "reply_time_diff_seconds": (_is_seconds, "a number >= 0"),
}


def _wrong(first: dict[str, str], where: str, row: Row) -> Iterator[Problem]:
    """What is wrong with a line; ``first`` collects the ids that were met, each with its place."""
    needed = {name: (name in row, "a string") for name in ("tweet", "reply")}
    yield from wrong_fields(where, row, needed, "Add the field; data/README.md explains it.")
    good = {name: (row.get(name) is None or fits(row[name]), expected) for name, (fits, expected) in FIELDS.items()}
    yield from wrong_fields(where, row, good, "Mend the value, or take the line out.")
    name = _text_or_empty(row.get("reply_id"))
    if name and first.setdefault(name, where) != where:
        expected = f"an id of its own ({first[name]} has it already)"
        yield Problem(f"{where}:reply_id", f"{name!r} again", expected, "Take one of the two lines out.")
