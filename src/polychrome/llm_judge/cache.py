"""Answers of the judge on disk, by the content of the request: a re-run asks for nothing that has been answered.

An entry is one file, named by the sha256 of its request, and holds request, answer and usage with a checksum. It
appears whole or not at all. An entry that does not hold what it should is moved aside to ``<name>.damaged``, told, and
asked for again: nothing is deleted, and a damaged verdict is never used. The API's key is no part of a request.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from polychrome.errors import bad
from polychrome.files import to_json, write_text
from polychrome.llm_judge.question import BETTER, strict_json

FORMAT = 1  # part of every key: raise it when the meaning of an entry changes
KINDS = ("verdict", "refused", "unreadable")


@dataclass(frozen=True, slots=True)
class Usage:
    """What an answer took, over all the calls that it took."""

    calls: int
    input_tokens: int
    output_tokens: int
    unmeasured_calls: int  # of the calls, those whose tokens the endpoint did not tell

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.calls + other.calls,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.unmeasured_calls + other.unmeasured_calls,
        )


NO_USAGE = Usage(0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one request: a verdict, a refusal, or something that is not a verdict."""

    kind: str  # one of KINDS
    better: str | None  # A, B or tie; None unless kind is verdict
    reason: str  # the judge's for a verdict, what was found otherwise
    model: str  # as the endpoint names the one that answered
    usage: Usage


@dataclass(slots=True)
class Cache:
    """The directory of entries. ``tell`` gets a line for every damaged one."""

    directory: Path
    tell: Callable[[str], None]
    damaged: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            where, found = str(self.directory), error.strerror or str(error)
            raise bad(where, found, "a directory for the judge's answers", "Mend llm_judge.cache.") from error

    def get(self, request: Mapping[str, Any]) -> Answer | None:
        """The answer to ``request``, None when there is none that is sound."""
        path = self._path(request)
        try:
            return _answer_of(strict_json(path.read_text(encoding="utf-8")), path.stem)
        except FileNotFoundError:
            return None
        except OSError as error:
            found = error.strerror or str(error)
            raise bad(str(path), found, "an entry of the judge's cache", "Mend permissions or the disk.") from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            self._set_aside(path, str(error) if isinstance(error, _DamagedError) else "it is not an entry")
            return None

    def put(self, request: Mapping[str, Any], answer: Answer) -> None:
        """Keep ``answer``. Raises InputError when the disk refuses; entries kept before stay."""
        told = asdict(answer)
        entry: dict[str, Any] = {"request": request, "usage": told.pop("usage"), "answer": told}
        write_text(self._path(request), to_json(entry | {"sha256": _checksum(entry)}))

    def _path(self, request: Mapping[str, Any]) -> Path:
        key = key_of(request)
        return self.directory / key[:2] / f"{key}.json"

    def _set_aside(self, path: Path, found: str) -> None:
        aside = path.with_name(f"{path.name}.damaged")
        try:
            path.replace(aside)
        except OSError as error:
            expected = "an entry that is sound, or can be moved aside"
            raise bad(str(path), f"a damaged one ({found})", expected, "Move it away.") from error
        self.damaged += 1
        self.tell(f"{path}: a damaged entry of the judge's cache ({found}); kept as {aside.name}, and asked for again")


def key_of(request: Any) -> str:
    """The sha256 of a request's content, in hexadecimal."""
    return hashlib.sha256(_canonical({"format": FORMAT, "request": request})).hexdigest()


def _checksum(entry: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical([entry["request"], entry["usage"], entry["answer"]])).hexdigest()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


class _DamagedError(ValueError):
    """What is wrong with an entry."""


def _answer_of(entry: Any, key: str) -> Answer:
    if entry["sha256"] != _checksum(entry):
        raise _DamagedError("its checksum does not fit what it holds")
    if key_of(entry["request"]) != key:
        raise _DamagedError("it is the answer to another request")
    answer = Answer(usage=Usage(**entry["usage"]), **entry["answer"])
    if answer.kind not in KINDS or (answer.better in BETTER) != (answer.kind == "verdict"):
        raise _DamagedError("its answer is none")
    return answer
