"""What a control says: what was expected before anything was measured, what was found, and whether they agree."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from polychrome.errors import Problems
from polychrome.files import read_object, tidy, write_json

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
    directory, controls, verdicts, problems = Path(directory), [], [], Problems()
    for part in parts:
        with problems.caught():
            own = read_object(directory / f"{part}.json")["controls"]
            controls += own
            verdicts += [control["verdict"] for control in own]
    problems.raise_any()
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
