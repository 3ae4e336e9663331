"""Dumps of Reddit: comments (RC_*) and submissions (RS_*), by the names of Reddit's API."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from polychrome.pairs.formats.rows import Record, Rows
from polychrome.pairs.formats.threads import Message, joined, messages_of


def fits(record: Mapping[str, Any]) -> bool:
    """Whether it is a comment that names its parent as Reddit does, or a submission."""
    return str(record.get("parent_id", "")).startswith(("t1_", "t3_")) or {"title", "selftext"} <= set(record)


def rows(files: Sequence[tuple[Path, list[Record]]], columns: Mapping[str, str]) -> list[Rows]:
    """Every comment as a reply to its parent: a submission's title and text, or another comment."""
    return [
        joined(
            messages_of(files, _messages),
            {"reply": "body", "post": "body", "likes": "score", "post_likes": "score"},
            "Reddit",
        )
    ]


def _messages(where: str, record: Mapping[str, Any]) -> Iterator[Message]:
    comment = "parent_id" in record
    title, text = record.get("title"), record.get("selftext")
    own = f"{title}\n{text}" if text and not str(text).startswith(("[removed]", "[deleted]")) else title
    author, written = record.get("author"), record.get("created_utc")
    yield Message(
        where,
        id=f"{'t1' if comment else 't3'}_{str(record.get('id', where)).removeprefix('t1_').removeprefix('t3_')}",
        text=record.get("body") if comment else own,
        author="" if author in (None, "[deleted]") else str(author),
        likes=record.get("score", record.get("ups")),
        parent=str(record.get("parent_id") or ""),
        thread=str(record.get("link_id") or "") if comment else "",
        seconds=float(written) if written is not None else None,
    )
