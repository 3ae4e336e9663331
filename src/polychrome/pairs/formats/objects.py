"""JSON: an object a line, an array of them, objects one after another, or an archive of X (`window.YTD... = [...]`)."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polychrome.errors import Problem
from polychrome.files import JSON, malformed, shown
from polychrome.pairs.formats.rows import Record
from polychrome.pairs.formats.tables import delimiter_of

SCRIPT = "window."
_MEND = "Fix it, or set data.path in params.yaml to another file or folder."


def holds(path: Path, lines: list[str]) -> bool:
    """Whether the text is JSON: by how it begins, or by its name where it does not begin like a table."""
    first = next((line.strip() for line in lines if line.strip()), "")
    named = any(suffix in (".json", ".jsonl", ".ndjson") for suffix in path.suffixes)
    return first.startswith(("{", "[", SCRIPT)) or (named and not delimiter_of(first))


def records(path: Path, lines: list[str], problems: list[Problem]) -> tuple[str, list[Record]]:
    """The kind in words, and every object with its place; what is wrong with a line goes to ``problems``."""
    first = next(line.strip() for line in lines if line.strip())
    if _an_object_a_line(path, first, lines):
        kind, values = "JSON Lines", _of_lines(path, lines)
    else:
        kind = {"[": "a JSON array", SCRIPT[0]: "an archive of X"}.get(first[0], "JSON objects")
        values = _of_text(path, "\n".join(lines))
    found: list[Record] = []
    for where, value in values:
        if isinstance(value, Problem):
            problems.append(value)
        elif isinstance(value, dict):
            found.append((where, value))
        else:
            problems.append(Problem(where, shown(value), "one JSON object per line", _MEND))
    return kind, found


def _an_object_a_line(path: Path, first: str, lines: list[str]) -> bool:
    if first.startswith(SCRIPT):
        return False
    if first.startswith("{") and (_parses(first) or any(_parses(line) for line in lines if line.startswith("{"))):
        return True
    return not first.startswith(("{", "["))


def _parses(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _of_lines(path: Path, lines: list[str]) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(lines, start=1):
        where = f"{path}:{number}"
        if line.strip():
            try:
                yield where, JSON.decode(line)
            except (ValueError, RecursionError) as error:
                yield where, Problem(where, malformed(error), "one JSON object per line", _MEND)


def _of_text(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    """The items of an array, or values one after another; nothing behind one that is malformed can be placed."""
    place = text.index("=") + 1 if text.lstrip().startswith(SCRIPT) else 0
    line, counted, in_array = 1, 0, False
    while (place := _behind(text, place, " \t\n")) < len(text):
        line, counted = line + text.count("\n", counted, place), place
        if not in_array and text[place] == "[":
            in_array, place = True, place + 1
        elif in_array and text[place] in ",]":
            in_array, place = text[place] == ",", place + 1
        elif text[place] == ";":
            place += 1
        else:
            try:
                value, place = JSON.raw_decode(text, place)
            except (ValueError, RecursionError) as error:
                where = f"{path}:{getattr(error, 'lineno', line)}"
                yield where, Problem(where, malformed(error), "valid JSON", _MEND)
                return
            yield f"{path}:{line}", value
    if in_array:
        yield "", Problem(f"{path}:{line}", "an array that does not end", "valid JSON", _MEND)


def _behind(text: str, place: int, skipped: str) -> int:
    while place < len(text) and text[place] in skipped:
        place += 1
    return place
