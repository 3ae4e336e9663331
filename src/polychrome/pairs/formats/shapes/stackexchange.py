"""``Posts.xml`` of a Stack Exchange dump: answers joined to their questions, as text."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from polychrome.pairs.formats.rows import Record, Rows
from polychrome.pairs.formats.threads import Message, joined, messages_of

QUESTION, ANSWER = "1", "2"


def fits(record: Mapping[str, Any]) -> bool:
    """Whether it is a post of Stack Exchange."""
    return {"Id", "PostTypeId", "Body"} <= set(record)


def rows(files: Sequence[tuple[Path, list[Record]]], columns: Mapping[str, str]) -> list[Rows]:
    """Every answer as a reply to the question's title and body."""
    named = {"reply": "Body", "post": "Body", "likes": "Score", "post_likes": "Score"}
    return [joined(messages_of(files, _messages), named, "Stack Exchange")]


def _messages(where: str, record: Mapping[str, Any]) -> Iterator[Message]:
    if record["PostTypeId"] not in (QUESTION, ANSWER):  # about a tag, and the like
        return
    written = record.get("CreationDate")
    yield Message(
        where,
        id=str(record["Id"]),
        text="\n".join(filter(None, [record.get("Title"), without_tags(record["Body"])])),
        author=record.get("OwnerUserId") or record.get("OwnerDisplayName") or "",
        likes=record.get("Score"),
        parent=record.get("ParentId", "") if record["PostTypeId"] == ANSWER else "",
        seconds=datetime.fromisoformat(written).timestamp() if written else None,
    )


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def handle_data(self, data: str) -> None:
        """Take a text between tags in."""
        self.parts.append(data)


def without_tags(page: str) -> str:
    """The text of HTML."""
    parser = _Text()
    parser.feed(page)
    parser.close()
    return "".join(parser.parts)
