"""Errors a user can act on: what was found, where, what was expected, what to do."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

SHOWN = 3  # of many problems that are alike


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with an input."""

    where: str  # "data/tweets.jsonl:12:reply_likes" (file:line:field, as much of it as is known)
    found: str
    expected: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: found {self.found}; expected {self.expected}. {self.remedy}"


class InputError(Exception):
    """Bad input or configuration. Carries every problem found, not only the first."""

    def __init__(self, problems: Problem | Sequence[Problem]):
        self.problems: list[Problem] = [problems] if isinstance(problems, Problem) else list(problems)
        super().__init__("\n".join(_told(self.problems)))


def _told(problems: Sequence[Problem]) -> Iterator[str]:
    """A line a problem; of those alike (same file, same field, same remedy) the first three, and how many follow."""
    alike: dict[tuple[str, ...], list[Problem]] = {}
    for problem in problems:
        file, field = problem.where.split(":")[0], problem.where.rpartition(":")[2]
        kind = (file, *(re.sub(r"\d+", "", text) for text in (field, problem.expected, problem.remedy)))
        alike.setdefault(kind, []).append(problem)
        if len(alike[kind]) <= SHOWN:
            yield str(problem)
    for (file, *_), same in alike.items():
        if len(same) > SHOWN:
            last = same[-1]
            yield f"{file}: {len(same) - SHOWN:,} more like {same[0].where}, the last at {last.where}"


class Problems(list[Problem]):
    """What is wrong with several inputs, to be raised at once."""

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Take in what an InputError inside has found, and go on behind it."""
        try:
            yield
        except InputError as error:
            self.extend(error.problems)

    def raise_any(self) -> None:
        """Raise InputError with all of them, if there are any."""
        if self:
            raise InputError(self)


def bad(where: str, found: object, expected: str, remedy: str) -> InputError:
    """An :class:`InputError` with a single problem."""
    return InputError(Problem(where, str(found), expected, remedy))
