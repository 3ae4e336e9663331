"""A (post, reply, engagement) pair, and how pairs are written and read."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from polychrome.errors import Problem
from polychrome.files import AGAIN, read_jsonl, write_jsonl, wrong_fields

ROLES = ("user", "assistant")  # who a reply is for, and whom the model speaks as
TURNS = f"turns [role, text], a role one of {', '.join(ROLES)}"
Turns = tuple[tuple[str, str], ...]  # (role, text), the oldest first


@dataclass(frozen=True, slots=True)
class Pair:
    """One reply to one post, and how much it engaged whoever it was for."""

    id: str  # unique in its file
    conversation: str  # what must never cross a phase boundary: the conversation, or the post replied to
    post: str
    reply: str
    engagement: float  # finite; unit is the source's own, only its order is used across sources
    author: str  # who wrote the reply; "" when the source does not say
    context: Turns = ()  # what was said before the post; left out of the file if empty


def write_pairs(path: str | Path, pairs: Iterable[Pair]) -> None:
    """Write pairs as JSONL, one object per line, atomically."""
    rows = (asdict(pair) for pair in pairs)
    write_jsonl(path, ({name: value for name, value in row.items() if value != ()} for row in rows))


def read_pairs(path: str | Path) -> list[Pair]:
    """Read what :func:`write_pairs` wrote. Raises InputError naming every bad line."""
    names = [field.name for field in fields(Pair) if field.name != "context"]
    first: dict[str, str] = {}

    def check(where: str, row: dict[str, Any]) -> Iterator[Problem]:
        if set(row) - {"context"} != set(names):
            found = f"an object with {', '.join(row) or 'nothing'}"
            yield Problem(where, found, f"an object with {', '.join(names)}", AGAIN)
            return
        texts = {name: isinstance(row[name], str) and (row[name] != "" or name == "author") for name in names}
        number = isinstance(row["engagement"], int | float) and not isinstance(row["engagement"], bool)
        holds = {name: (fits, "a string, not empty") for name, fits in texts.items()}
        holds["engagement"] = (number and math.isfinite(row["engagement"]), "a finite number")
        holds["context"] = (are_turns(row.get("context", [])), TURNS)
        yield from wrong_fields(where, row, holds, AGAIN)
        if isinstance(row["id"], str) and first.setdefault(row["id"], where) != where:
            expected = f"an id of its own ({first[row['id']]} has it already)"
            yield Problem(f"{where}:id", f"{row['id']!r} again", expected, AGAIN)

    rows = read_jsonl(path, check, what="at least one prepared pair")
    return [Pair(**row | {"context": turns_of(row)}) for row in rows]


def are_turns(value: Any) -> bool:
    """Whether ``value``, read from JSON, is a list of turns [role, text]."""
    return isinstance(value, list) and all(
        isinstance(turn, list) and len(turn) == 2 and turn[0] in ROLES and isinstance(turn[1], str) for turn in value
    )


def turns_of(row: Mapping[str, Any]) -> Turns:
    """The turns before the post of a row that was read from JSON."""
    return tuple((role, text) for role, text in row.get("context", ()))


def as_said(context: Turns, post: str) -> str:
    """The post as it is shown to who judges replies: below the turns before it, if there are any, a line each."""
    who = {"user": "them", "assistant": "you"}
    return "\n".join(f"{who[role]}: {text}" for role, text in (*context, ("user", post))) if context else post
