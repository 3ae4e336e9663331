"""Messages that name the one they answer, as forums and networks keep them: joined to their posts, thread and all."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polychrome.errors import InputError, Problem
from polychrome.pairs.formats.rows import Record, Rows

DEEPEST = 100  # turns that a context goes back: a circle of parents ends, too


@dataclass(frozen=True)
class Message:
    """A post or a reply, with values as the file has them."""

    where: str
    id: str
    text: str | None
    author: str = ""
    likes: Any = None
    parent: str = ""  # id of the message that it answers
    thread: str = ""  # id of what all of the thread goes back to, where the file says so
    seconds: float | None = None  # when it was written
    reposts: Any = None
    followers: Any = None


def messages_of(
    files: Sequence[tuple[Path, list[Record]]], make: Callable[[str, dict[str, Any]], Iterable[Message]]
) -> list[Message]:
    """What ``make`` finds in every record, by its place. Raises InputError naming every record it fails on."""
    found: list[Message] = []
    problems: list[Problem] = []
    for where, record in (one for _, records in files for one in records):
        try:
            found += make(where, record)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            reason = f"a record without {error}" if isinstance(error, KeyError) else f"a malformed record ({error})"
            problems.append(Problem(where, reason, "one like the others", "Fix the record, or remove it."))
    if problems:
        raise InputError(problems)
    return found


def joined(messages: Sequence[Message], named: dict[str, str], what: str) -> Rows:
    """A row for every message that answers one; its post is None where the files do not hold it."""
    by_id = {message.id: message for message in reversed(messages)}
    replies = [message for message in by_id.values() if message.parent][::-1]
    found = sum(message.parent in by_id for message in replies)
    notes = [f"{what}: {len(messages)} messages, {len(replies)} of them replies, the posts of {found} found"]
    return Rows([(message.where, _row(message, by_id)) for message in replies], named, notes)


def _row(reply: Message, by_id: dict[str, Message]) -> dict[str, Any]:
    post = by_id.get(reply.parent)
    row = {"reply": reply.text, "id": reply.id, "author": reply.author or None, "likes": reply.likes}
    row |= {"reposts": reply.reposts, "followers": reply.followers, "post": post and post.text}
    above = list(_above(post, by_id))
    row["post_id"] = reply.thread or (above or [post or reply])[-1].id
    if post:
        same = [bool(reply.author) and message.author == reply.author for message in above]
        turns = [["assistant" if own else "user", message.text] for own, message in zip(same, above, strict=True)]
        row |= {"post_author": post.author or None, "post_likes": post.likes}
        row["context"] = [turn for turn in reversed(turns) if turn[1]]
        if reply.seconds is not None and post.seconds is not None:
            row["seconds"] = max(0.0, reply.seconds - post.seconds)
    return row


def _above(post: Message | None, by_id: dict[str, Message]) -> Iterator[Message]:
    """The messages before ``post``, the nearest first."""
    for _ in range(DEEPEST):
        post = by_id.get(post.parent) if post else None
        if post is None:
            return
        yield post
