"""Outputs that appear whole or not at all: written beside, flushed to disk, then renamed.

A file is replaced by one rename. A directory takes two, the old one aside and the new one in; :func:`recovered` brings
the old one back when a kill fell between them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from polychrome.errors import InputError, bad


@contextmanager
def _told_where(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _refused(path, error.strerror or str(error)) from error
    except SafetensorError as error:  # what safetensors makes of an OSError; it has no errno, only this text
        found = re.search(r"I/O error: (.*?)( \(os error \d+\))?$", str(error))
        if not found:
            raise
        raise _refused(path, found[1]) from error


def _refused(path: Path, reason: str) -> InputError:
    return bad(
        str(path),
        f"{reason} while saving",
        "room and permission to write",
        "Free space or mend permissions, then run the stage again; the earlier output is untouched.",
    )


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` (UTF-8) to ``path`` atomically. Raises InputError when the disk refuses."""
    path = Path(path)
    beside = path.with_name(f".{path.name}.writing")
    with _told_where(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with beside.open("w", encoding="utf-8") as handle:
                handle.write(text)
                handle.flush()
                os.fsync(handle.fileno())
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)


def to_json(value: Any) -> str:
    """Stable JSON: sorted keys, no NaN or infinity (they raise ValueError: such a number was not measured)."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as stable JSON, atomically."""
    write_text(path, to_json(value))


def read_json(path: str | Path) -> Any:
    """Read JSON. Raises InputError naming file and line when it is missing or malformed."""
    path = Path(path)
    if not path.is_file():
        raise bad(str(path), "no such file", "a JSON file", "Run the stage that makes it: `dvc repro`.")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise bad(
            f"{path}:{error.lineno}", error.msg, "valid JSON", "Mend or delete the file, then `dvc repro`."
        ) from error


def write_jsonl(path: str | Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object a line, atomically; keys keep the order they were given in."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


@contextmanager
def whole_directory(path: str | Path) -> Iterator[Path]:
    """Yield an empty directory beside ``path``; on success it takes ``path``'s place, on failure it vanishes.

    Raises InputError when the disk refuses, also when it is safetensors that was refused; the old ``path`` then stands.
    """
    path = recovered(path)
    beside, before = path.with_name(f".{path.name}.writing"), _before(path)
    with _told_where(path):
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
