"""Answers of the judge on disk, by the sha256 of all that was sent: what has been answered is never paid for again.

One SQLite database. An answer is committed before the next question is asked, so a kill loses at most the call that it
interrupts. Neither the API's key nor the address of the endpoint is part of a request.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polychrome.errors import bad
from polychrome.llm_judge.question import Answer

CACHE = Path(".cache/llm_judge.sqlite")


class Cache:
    """The database, made where there is none. Raises InputError when the disk refuses or the file is damaged."""

    def __init__(self, path: Path = CACHE):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._execute("create table if not exists answers (key text primary key, request text, answer text)")

    def get(self, request: Mapping[str, Any]) -> Answer | None:
        """The answer to ``request``, None when there is none."""
        found = self._execute("select answer from answers where key = ?", _key(request))
        return Answer(**json.loads(found[0][0])) if found else None

    def put(self, request: Mapping[str, Any], answer: Answer) -> None:
        """Keep ``answer``; it is on disk when this returns."""
        row = _key(request), json.dumps(request), json.dumps(answer._asdict())
        self._execute("insert or replace into answers values (?, ?, ?)", *row)

    def _execute(self, command: str, *values: str) -> list[tuple[str, ...]]:
        try:
            with sqlite3.connect(self.path, timeout=60) as database:
                return database.execute(command, values).fetchall()
        except sqlite3.Error as error:
            remedy = "Check permissions and the disk; move a damaged file away, and its questions are asked again."
            raise bad(str(self.path), str(error), "the judge's cache, an SQLite database", remedy) from error


def _key(request: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
