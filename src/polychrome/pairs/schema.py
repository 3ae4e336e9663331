"""A (post, reply, engagement) pair, and how pairs are written and read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from polychrome.errors import InputError, Problem, bad
from polychrome.files import write_jsonl


@dataclass(frozen=True, slots=True)
class Pair:
    """One reply to one post, and how much it engaged whoever it was for."""

    id: str  # unique in its file
    conversation: str  # what must never cross a phase boundary: the conversation, or the post replied to
    post: str
    reply: str
    engagement: float  # finite, >= 0; unit is the source's own, only its order is used across sources
    author: str  # who wrote the reply; "" when the source does not say


def write_pairs(path: str | Path, pairs: Iterable[Pair]) -> None:
    """Write pairs as JSONL, one object a line, atomically."""
    write_jsonl(path, (asdict(pair) for pair in pairs))


def read_pairs(path: str | Path) -> list[Pair]:
    """Read what :func:`write_pairs` wrote. Raises InputError naming every bad line."""
    path = Path(path)
    if not path.is_file():
        raise bad(str(path), "no such file", "prepared pairs", "Run the stage that makes it: `dvc repro`.")
    content = path.read_bytes()
    if not content.strip():
        raise bad(str(path), "an empty file", "at least one pair", "Check the source and the cleaning report.")
    pairs: list[Pair] = []
    problems: list[Problem] = []
    first: dict[str, int] = {}
    for number, line in enumerate(content.removesuffix(b"\n").split(b"\n"), start=1):
        where = f"{path}:{number}"
        try:
            pair = Pair(**json.loads(line))
        except (ValueError, TypeError) as error:  # ValueError: malformed JSON or not UTF-8
            names = ", ".join(field.name for field in fields(Pair))
            problems.append(Problem(where, str(error), f"an object with {names}", _REMEDY))
            continue
        wrong = list(_wrong_values(where, pair))
        problems += wrong
        if wrong:
            continue
        if pair.id in first:
            expected = f"an id of its own (line {first[pair.id]} has it already)"
            problems.append(Problem(f"{where}:id", f"{pair.id!r} again", expected, _REMEDY))
        first.setdefault(pair.id, number)
        pairs.append(pair)
    if problems:
        raise InputError(problems)
    return pairs


_REMEDY = "Delete the file and make it again: `dvc repro`."


def _wrong_values(where: str, pair: Pair) -> Iterator[Problem]:
    for name in ("id", "conversation", "post", "reply", "author"):
        value = getattr(pair, name)
        if not isinstance(value, str) or (not value and name != "author"):
            yield Problem(f"{where}:{name}", ascii(value), "a string, not empty", _REMEDY)
    value = pair.engagement
    if not isinstance(value, int | float) or isinstance(value, bool) or not (math.isfinite(value) and value >= 0):
        yield Problem(f"{where}:engagement", ascii(value), "a finite number >= 0", _REMEDY)
