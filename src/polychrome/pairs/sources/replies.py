"""Replies to posts in a file of any usual format, or a folder of them; data/README.md explains formats and fields.

Engagement is ``likes / max(post_likes, 1)``.
"""

import importlib
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from polychrome.errors import Problem, Problems, bad
from polychrome.files import Row, shown
from polychrome.measures.duplicates import same_text_key
from polychrome.pairs.formats import SHAPES, files_of, records_of
from polychrome.pairs.formats.rows import Record, Rows, digest
from polychrome.pairs.formats.values import CIRCUMSTANCES, STRIPPED, reader_of, tidied
from polychrome.pairs.sources import Candidate

_WHOLE = "Write ids as text (pandas: dtype=str): as a float this one may have lost digits."
_MEND = "Fix the value, or remove the line."


def read(
    path: Path, columns: Mapping[str, str] | None = None, strip: Collection[str] = (*STRIPPED,), context_turns: int = 0
) -> list[Candidate]:
    """One candidate for each reply in a file, or in all of a folder, read by name.

    ``columns`` says which column a field is in; others are guessed, and the guess is printed. ``strip`` names what is
    taken out of texts, ``context_turns`` how many turns before the post are kept.
    """
    problems = Problems()
    gathered = gather(path, columns or {}, problems)
    for rows in gathered:
        for note in rows.notes:
            print(note)
    return candidates_of(gathered, problems, strip, context_turns)


def gather(path: Path, columns: Mapping[str, str], problems: Problems) -> list[Rows]:
    """The replies of a file or folder, their values as they stand there; what is wrong goes to ``problems``."""
    by_shape: dict[str, list[tuple[Path, list[Record]]]] = {}
    for file in files_of(path):
        with problems.caught():
            before = len(problems)
            kind, records = records_of(file, problems)
            if not records and len(problems) > before:
                continue
            shape = "columns" if columns else _shape_of(file, kind, [record for _, record in records[:100]])
            by_shape.setdefault(shape, []).append((file, records))
    found: list[Rows] = []
    for shape, files in by_shape.items():
        with problems.caught():
            found += _shape(shape).rows(files, columns)
    return found


def _shape(name: str) -> Any:
    return importlib.import_module(f"polychrome.pairs.formats.shapes.{name}")


def _shape_of(file: Path, kind: str, records: Sequence[Row]) -> str:
    if not records:
        raise bad(str(file), f"{kind} without a record that can be read", "at least one", "Check the file.")
    if all(isinstance(value, dict) and "messages" in value for value in records[0].values()):
        found = "conversations by id, each with messages"
        raise bad(str(file), found, "records of replies", "Set data.source: chitchat in params.yaml.")
    return next(name for name in SHAPES if any(_shape(name).fits(record) for record in records))


def candidates_of(
    gathered: Sequence[Rows], problems: Problems, strip: Collection[str], context_turns: int
) -> list[Candidate]:
    """Replies with every value read. Raises InputError with ``problems`` and every value that is wrong, by line."""
    first: dict[str, str] = {}  # id of a reply -> its place
    read_rows = [(where, _values(where, row, rows.named, problems)) for rows in gathered for where, row in rows.rows]
    for where, row in read_rows:
        if row.get("id") and first.setdefault(row["id"], where) != where:
            expected = f"an id of its own ({first[row['id']]} has it already)"
            problems.append(Problem(f"{where}:{row['id_is']}", f"{row['id']!r} again", expected, "Remove one."))
    problems.sort(key=_place)
    problems.raise_any()
    conversations: dict[str, str] = {}  # by normalised text of the post: the id that some row gives it, or a hash
    for _, row in read_rows:
        key = same_text_key(row["post"] or "")
        conversations.setdefault(key, row.get("post_id") or f"tweet-{digest(key)}")
    some_likes = any(row.get("post_likes") is not None for _, row in read_rows)
    return [
        _candidate(where, row, conversations, _likes_ratio(row, some_likes), strip, context_turns)
        for where, row in read_rows
    ]


def _place(problem: Problem) -> tuple[str, int]:
    file, _, place = problem.where.partition(":")
    return file, int("".join(re.findall(r"^(?:row )?(\d+)", place)) or 0)


def _values(where: str, row: Row, named: Mapping[str, str], problems: list[Problem]) -> Row:
    """The values of ``row`` by field, as they are meant; what is wrong with them goes to ``problems``."""
    values: Row = {"post": None, "reply": None, "id_is": named.get("id", "id")}
    for field in ("post", "reply"):
        if field not in row:
            remedy = "Add the field; data/README.md explains it."
            problems.append(Problem(f"{where}:{named.get(field, field)}", "no such field", "a string", remedy))
    for field, value in row.items():
        read, expected = reader_of(field, named.get(field, field))
        try:
            values[field] = None if value is None else read(value)
        except ValueError:
            rounded = field in ("id", "post_id") and not isinstance(value, bool | dict | list)
            remedy = _WHOLE if rounded and "." in str(value) + "." * ("e" in str(value)) else _MEND
            problems.append(Problem(f"{where}:{named.get(field, field)}", shown(value), expected, remedy))
    return values


def _candidate(
    where: str,
    row: Row,
    conversations: Mapping[str, str],
    engagement: float | None,
    strip: Collection[str],
    context_turns: int,
) -> Candidate:
    said = (row.get("context") or ())[-context_turns:] if context_turns else ()
    mended: set[str] = set()

    def clean(text: str | None) -> str | None:
        tidy, what = tidied(text or "", strip)
        mended.update(what)
        return tidy if text is not None else None

    conversation = row.get("post_id") or conversations[same_text_key(row["post"] or "")]
    return Candidate(
        id=row.get("id") or f"reply-{digest(conversation, row['post'] or '', row['reply'] or '')}",
        conversation=conversation,
        post=clean(row["post"]),
        reply=clean(row["reply"]),
        engagement=engagement,
        author=row.get("author") or "",
        post_author=row.get("post_author") or "",
        circumstances={name: float(row[key]) for key, name in CIRCUMSTANCES.items() if row.get(key) is not None},
        where=where,
        context=tuple((role, clean(text) or "") for role, text in said),
        mended=tuple(sorted(mended)),
    )


def _likes_ratio(row: Row, some_likes: bool) -> float | None:
    """likes / max(post_likes, 1), or None when it was not measured.

    Data in which no row has post_likes are taken as such where the posts are alike, and the likes count as they are.
    Where only some rows lack them, those rows have no engagement: two units must not be mixed.
    """
    if row.get("likes") is None or (some_likes and row.get("post_likes") is None):
        return None
    likes: float = row["likes"] / max(row.get("post_likes") or 0, 1)
    return likes
