"""The one reader and writer of each format; outputs appear whole or not at all.

They are written beside, flushed to disk, then renamed; everything wrong with an input is reported at once.

A file is replaced by one rename. A directory takes two, the old one aside and the new one in; :func:`recovered` brings
the old one back when a kill fell between them.
"""

import csv
import io
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from polychrome.errors import InputError, Problem, bad

Row = dict[str, Any]


@contextmanager
def _saving(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        if isinstance(error, shutil.Error):  # copytree's: a list of (from, to, what was said)
            reason = re.sub(r"^\[Errno \d+\] ", "", error.args[0][0][2]).partition(":")[0]
        if isinstance(error, SafetensorError):  # what safetensors makes of an OSError has no errno, only this text
            found = re.search(r"I/O error: (.*?)( \(os error \d+\))?$", reason)
            if not found:
                raise
            reason = found[1]
        remedy = "Free space or fix permissions, then run it again; nothing is left half written."
        raise bad(str(path), f"{reason} while saving", "room and permission to write", remedy) from error


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` (UTF-8) to ``path`` atomically. Raises InputError when the disk refuses."""
    path = Path(path)
    beside = path.with_name(f".{path.name}.writing")
    with _saving(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with beside.open("w", encoding="utf-8") as handle:
                handle.write(text)
                handle.flush()
                os.fsync(handle.fileno())
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)


def tidy(value: Any) -> Any:
    """``value`` with its floats rounded to six significant digits: what is beyond them is rounding, not measurement."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: tidy(item) for key, item in value.items()}
    return [tidy(item) for item in value] if isinstance(value, list | tuple) else value


def to_json(value: Any) -> str:
    """Stable JSON: sorted keys, no NaN or infinity (they raise ValueError: such a number was not measured)."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as stable JSON, atomically."""
    write_text(path, to_json(value))


def write_jsonl(path: str | Path, rows: Iterable[Row]) -> None:
    """Write one JSON object per line, atomically; keys keep the order they were given in."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


def write_csv(
    path: str | Path,
    rows: Sequence[Row],
    columns: Sequence[str] = (),
    floats: Callable[[float], str] = "{:.6g}".format,
) -> None:
    """Write the ``columns`` of ``rows`` (those of the first row) under a header, atomically.

    None and NaN leave their cell empty; other floats are written by ``floats``, anything else by ``str``.
    """

    def cell(value: object) -> str:
        if value is None or value != value:
            return ""
        return floats(value) if isinstance(value, float) else str(value)

    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    columns = columns or list(rows[0])
    writer.writerow(columns)
    writer.writerows([cell(row[name]) for name in columns] for row in rows)
    write_text(path, text.getvalue())


# --- reading -------------------------------------------------------------------------------------------------------
# ``what`` says which file is expected, ``remedy`` what to do when it is missing or damaged.

AGAIN = "Make it again: `dvc repro`."


def read_json(path: str | Path, what: str = "a JSON file", remedy: str = AGAIN) -> Any:
    """Read JSON. Raises InputError naming file and line when it is missing, empty, not UTF-8 or malformed."""
    lines, problems = _read_lines(Path(path), what, remedy)
    if problems:
        raise InputError(problems)
    try:
        return JSON.decode("\n".join(lines))
    except (ValueError, RecursionError) as error:
        raise bad(f"{path}:{getattr(error, 'lineno', 1)}", malformed(error), "valid JSON", remedy) from error


def read_jsonl(
    path: str | Path,
    check: Callable[[str, Row], Iterable[Problem]] = lambda where, row: (),
    *,
    what: str = "a JSON Lines file",
    remedy: str = AGAIN,
) -> list[Row]:
    """The objects of ``path``, one per line; blank lines are skipped.

    ``check`` is called with the place (file:line) of each object and yields what is wrong with it. Raises InputError
    with all problems of all lines, also of those that are not UTF-8, not JSON or no object.
    """
    lines, problems = _read_lines(Path(path), what, remedy)
    rows: list[Row] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where, expected = f"{path}:{number}", "one JSON object per line"
        try:
            row = JSON.decode(line)
        except (ValueError, RecursionError) as error:
            problems.append(Problem(where, malformed(error), expected, remedy))
            continue
        if isinstance(row, dict):
            problems += check(where, row)
            rows.append(row)
        else:
            problems.append(Problem(where, shown(row), expected, remedy))
    if problems:
        raise InputError(problems)
    return rows


class Record(dict):
    """An object of a result file. To ask it for a field that it lacks is an InputError that names file and field."""

    def __init__(self, fields: Any, where: str) -> None:
        super().__init__(fields)
        self.where = where

    def __missing__(self, field: str) -> Any:
        raise bad(f"{self.where}:{field}", "no such field", "a value", AGAIN)


def _recorded(value: Any, where: str) -> Any:
    """``value`` with every object in it a :class:`Record` that knows its place in the file."""
    if isinstance(value, dict):
        return Record(((key, _recorded(inner, f"{where}:{key}")) for key, inner in value.items()), where)
    return [_recorded(inner, f"{where}[{i}]") for i, inner in enumerate(value)] if isinstance(value, list) else value


def read_object(path: str | Path) -> Record:
    """The object that a JSON file which a stage made holds."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise bad(str(path), shown(value), "an object", AGAIN)
    return _recorded(value, str(path))


def read_objects(path: str | Path) -> list[Record]:
    """The objects that a JSON Lines file which a stage made holds."""
    return [_recorded(row, f"{path}:{line}") for line, row in enumerate(read_jsonl(path), start=1)]


def read_csv(
    path: str | Path,
    numbers: Sequence[str],
    *,
    texts: Sequence[str] = (),
    blank: Sequence[str] = (),
    delimiter: str = ",",
    what: str = "a table of numbers",
    remedy: str = AGAIN,
) -> list[Row]:
    """Rows with the columns ``texts``, finite ``numbers``, and numbers that may be ``blank`` (None); others are left.

    Raises InputError naming every missing column, or else every bad cell (file:line:column), or that there is no row.
    """
    lines, problems = _read_lines(Path(path), what, remedy)
    if problems:
        raise InputError(problems)
    reader = csv.DictReader(io.StringIO("\n".join(lines), newline=""), delimiter=delimiter)
    names = (*texts, *numbers, *blank)
    absent = [name for name in names if name not in (reader.fieldnames or ())]
    if absent:
        raise InputError([Problem(f"{path}:1:{name}", "no such column", "a column", remedy) for name in absent])
    rows: list[Row] = []
    for found in reader:
        row: Row = {name: found[name] for name in texts}
        for name in (*numbers, *blank):
            row[name] = None if name in blank and not found[name] else _number(found[name])
            if row[name] is not None and not math.isfinite(row[name]):
                where = f"{path}:{reader.line_num}:{name}"
                problems.append(Problem(where, repr(found[name]), "a finite number", remedy))
        rows.append(row)
    if problems:
        raise InputError(problems)
    if not rows:
        raise bad(str(path), "no rows", "at least one row", remedy)
    return rows


def wrong_fields(where: str, row: Row, holds: Mapping[str, tuple[bool, str]], remedy: str) -> Iterator[Problem]:
    """A problem for each field of ``row`` that does not hold; ``holds``: field -> (whether it does, what is right)."""
    for name, (fits, expected) in holds.items():
        if not fits:
            found = shown(row[name]) if name in row else "no such field"
            yield Problem(f"{where}:{name}", found, expected, remedy)


def shown(value: object) -> str:
    """A value of an input as messages quote it: escaped, and cut where it is long."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _each_key_once(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {shown(next(key for key in keys if keys.count(key) > 1))} twice in an object")
    return row


JSON = json.JSONDecoder(object_pairs_hook=_each_key_once)  # raises ValueError; also where an object has a key twice


def _read_lines(path: Path, what: str, remedy: str) -> tuple[list[str], list[Problem]]:
    """Lines of a UTF-8 file (a byte order mark is skipped), blank where not UTF-8, and a problem for each of those."""
    if not path.is_file():
        raise bad(str(path), "no such file", what, remedy)
    content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    if not content.strip():
        raise bad(str(path), "an empty file", what, remedy)
    return decoded_lines(path, content)


def decoded_lines(path: Path, content: bytes) -> tuple[list[str], list[Problem]]:
    """The lines of ``content``, blank where they are not UTF-8, and a problem for each of those."""
    lines: list[str] = []
    problems: list[Problem] = []
    for number, line in enumerate(content.split(b"\n"), start=1):
        try:
            lines.append(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            found = f"byte 0x{line[error.start]:02x} at column {error.start + 1}, which is not UTF-8"
            problems.append(Problem(f"{path}:{number}", found, "UTF-8 text", "Convert the file to UTF-8."))
            lines.append("")
    return lines, problems


def malformed(error: Exception) -> str:
    """What is wrong with a JSON text, in words."""
    if isinstance(error, json.JSONDecodeError):
        reason = f"{error.msg} at column {error.colno}"
    else:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error).split(";")[0]
    return f"malformed JSON ({reason})"


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


# --- whole directories ---------------------------------------------------------------------------------------------


@contextmanager
def whole_directory(path: str | Path) -> Iterator[Path]:
    """Yield an empty directory beside ``path``; on success it takes ``path``'s place, on failure it vanishes.

    Raises InputError when the disk refuses, also when it is safetensors that was refused; the old ``path`` then stands.
    """
    path = recovered(path)
    beside, before = path.with_name(f".{path.name}.writing"), _before(path)
    with _saving(path):
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        try:
            yield beside
            for file in beside.rglob("*"):
                if file.is_file():
                    with file.open("rb") as handle:
                        os.fsync(handle.fileno())
            _remove(before)
            if path.exists():
                path.replace(before)  # a directory that is not empty cannot be renamed over
            beside.replace(path)
            _remove(before)
        finally:
            recovered(path)
            shutil.rmtree(beside, ignore_errors=True)


def recovered(path: str | Path) -> Path:
    """``path``, put back first when a kill fell in :func:`whole_directory` after the old one was set aside."""
    path = Path(path)
    if not path.exists() and _before(path).exists():
        _before(path).replace(path)
    return path


def _before(path: Path) -> Path:
    return path.with_name(f".{path.name}.before")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
