"""What a control says: what was expected before anything was measured, what was found, and whether they agree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from polychrome.errors import InputError, Problem
from polychrome.files import read_json, write_json

AS_EXPECTED, NOT_AS_EXPECTED, NOT_MEASURED = "as expected", "not as expected", "not measured"
ROOT = Path("results/controls")
PARTS = ("metrics", "aa", "planted", "lambda_zero", "shuffled", "overoptimisation")  # one file each, in this order
REMEDY = "Run `make controls`."  # of what a control needs and does not find
DIGITS = 6  # significant, in every file


@dataclass(frozen=True, slots=True)
class Control:
    """One control. ``value`` has the unit that ``text`` says; None where there is no single number."""

    name: str
    text: str
    expected: str
    found: str
    value: float | None
    low: float | None
    high: float | None
    verdict: str
    note: str = ""


def verdict_of(agrees: bool) -> str:
    """The word for whether what was found is what was expected."""
    return AS_EXPECTED if agrees else NOT_AS_EXPECTED


def write_part(path: str | Path, text: str, controls: Sequence[Control], details: Mapping[str, Any]) -> dict[str, Any]:
    """Write one part's file: its text, its controls, their verdict together, and the details. Returns what it holds."""
    value = {
        "text": text,
        "verdict": together([control.verdict for control in controls]),
        "controls": [asdict(control) for control in controls],
        **details,
    }
    write_json(path, tidy(value))
    return value


def together(verdicts: Iterable[str]) -> str:
    """The verdict on several controls: as expected only when each one is that was measured."""
    measured = [verdict for verdict in verdicts if verdict != NOT_MEASURED]
    return verdict_of(all(verdict == AS_EXPECTED for verdict in measured)) if measured else NOT_MEASURED


def gather(directory: str | Path = ROOT, parts: Sequence[str] = PARTS) -> dict[str, Any]:
    """Put the controls of all ``parts`` into ``<directory>/controls.json``; returns what it holds.

    {"text", "verdict", "controls": [:class:`Control`, ...]}. Raises InputError naming every part that is missing or
    holds no controls.
    """
    directory, controls, problems = Path(directory), [], []
    for part in parts:
        path = directory / f"{part}.json"
        try:
            controls += [asdict(Control(**control)) for control in read_json(path)["controls"]]
        except InputError as error:
            problems += error.problems
        except (KeyError, TypeError) as error:
            problems.append(Problem(str(path), f"{error}", "a list `controls`", REMEDY))
    if problems:
        raise InputError(problems)
    agreed = sum(control["verdict"] == AS_EXPECTED for control in controls)
    unmeasured = sum(control["verdict"] == NOT_MEASURED for control in controls)
    text = f"{agreed} of {len(controls) - unmeasured} controls came out as expected" + (
        f"; {unmeasured} could not be measured." if unmeasured else "."
    )
    value = {"text": text, "verdict": together(c["verdict"] for c in controls), "controls": controls}
    write_json(directory / "controls.json", value)
    return value


def table(controls: Sequence[Mapping[str, Any]]) -> str:
    """The controls in plain text, a line each."""
    width = max(len(control["name"]) for control in controls)
    return "\n".join(f"{c['name']:<{width}}  {c['verdict']:<15}  {c['found']}" for c in controls)


def tidy(value: Any) -> Any:
    """``value`` with its floats rounded to six significant digits: what is beyond them is no measurement."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, Mapping):
        return {key: tidy(item) for key, item in value.items()}
    return [tidy(item) for item in value] if isinstance(value, list | tuple) else value
