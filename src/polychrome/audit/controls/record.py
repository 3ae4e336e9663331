"""What a control says: what was expected before anything was measured, what was found, and whether they agree."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from polychrome.errors import InputError, Problem, bad
from polychrome.files import Row, read_json, read_jsonl, tidy, write_json

AS_EXPECTED, NOT_AS_EXPECTED, NOT_MEASURED = "as expected", "not as expected", "not measured"
ROOT = Path("results/controls")
PARTS = ("aa", "planted", "lambda_zero", "shuffled", "overoptimisation")  # one file each, in this order
REMEDY = "Run `make controls`."  # of what a control needs and does not find


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """One control. ``value`` has the unit that ``text`` says; None where there is no single number."""

    name: str
    text: str
    expected: str
    found: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    verdict: str
    note: str = ""


def verdict_of(agrees: bool) -> str:
    """The word for whether what was found is what was expected."""
    return AS_EXPECTED if agrees else NOT_AS_EXPECTED


def together(verdicts: Iterable[str]) -> str:
    """The verdict on several controls: as expected only when each one is that was measured."""
    measured = [verdict for verdict in verdicts if verdict != NOT_MEASURED]
    return verdict_of(all(verdict == AS_EXPECTED for verdict in measured)) if measured else NOT_MEASURED


def write_part(path: str | Path, text: str, controls: Sequence[Control], details: Mapping[str, Any]) -> str:
    """Write one part's file: its text, its controls, their verdict together, and the details. Returns a table of it."""
    described = [asdict(control) for control in controls]
    verdict = together(control.verdict for control in controls)
    write_json(path, tidy({"text": text, "verdict": verdict, "controls": described, **details}))
    return table(described)


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
    verdicts = [control["verdict"] for control in controls]
    unmeasured = verdicts.count(NOT_MEASURED)
    text = f"{verdicts.count(AS_EXPECTED)} of {len(controls) - unmeasured} controls came out as expected"
    text += f"; {unmeasured} could not be measured." if unmeasured else "."
    value = {"text": text, "verdict": together(verdicts), "controls": controls}
    write_json(directory / "controls.json", value)
    return value


def table(controls: Sequence[Mapping[str, Any]]) -> str:
    """The controls in plain text, a line each."""
    width = max(len(control["name"]) for control in controls)
    return "\n".join(f"{c['name']:<{width}}  {c['verdict']:<15}  {c['found']}" for c in controls)


def read_rows(path: str | Path, fields: Sequence[str]) -> list[Row]:
    """The objects of a JSON Lines file, each with all ``fields``. Raises InputError naming every line that is none."""

    def check(where: str, row: Row) -> Iterator[Problem]:
        if absent := [name for name in fields if name not in row]:
            yield Problem(where, f"no {', '.join(absent)}", f"an object with {', '.join(fields)}", REMEDY)

    return read_jsonl(path, check, what="what an earlier stage makes", remedy=REMEDY)


def read_verdict(folder: str | Path, needed: Sequence[str]) -> dict[str, Any]:
    """``<folder>/verdict.json`` of stage `gaming`. Raises InputError naming all of ``needed`` (dotted) it lacks."""
    path = Path(folder) / "verdict.json"
    verdict, absent = read_json(path), []
    for dotted in needed:
        value = verdict
        for key in dotted.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        absent += [dotted] * (value is None)
    if absent:
        raise bad(str(path), f"no {', '.join(absent)}", "a verdict as stage `gaming` writes it", REMEDY)
    return verdict
