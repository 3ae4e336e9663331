"""JSON-lines files of other stages, read with every bad line told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polychrome.errors import InputError, Problem, bad


def read_rows(path: str | Path, fields: Sequence[str]) -> list[dict[str, Any]]:
    """The objects of ``path``, each with all ``fields``. Raises InputError naming every line that is none."""
    path, remedy = Path(path), "Run `dvc repro` to make it again."
    if not path.is_file():
        raise bad(str(path), "no such file", "what an earlier stage makes", remedy)
    rows: list[dict[str, Any]] = []
    problems: list[Problem] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").rstrip("\n").split("\n"), start=1):
        where = f"{path}:{number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            problems.append(Problem(where, error.msg, "one JSON object a line", remedy))
            continue
        absent = [name for name in fields if not isinstance(row, dict) or name not in row]
        if absent:
            problems.append(Problem(where, f"no {', '.join(absent)}", f"an object with {', '.join(fields)}", remedy))
        rows.append(row)
    if problems:
        raise InputError(problems)
    return rows
