"""Brings the measured results into the README: ``python -m polychrome.reporting.readme_table``, for maintainers.

What stands between the two marks in the README is replaced by the table of the eight models, the answers to the
questions and the checklist of success criteria, all from the files that `compare` made. Nothing is computed here.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from polychrome.errors import InputError, Problem, bad
from polychrome.files import read_json, write_text

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"

COLUMNS = 9  # the model, and what tables of compare put first: Pass@k, diversity, ROUGE-L, engagement, cross-entropy

_REMEDY = "Run the stage that makes it: `dvc repro compare`."


def refresh(readme_path: str | Path, results_dir: str | Path) -> None:
    """Replace what stands between :data:`BEGIN` and :data:`END` in ``readme_path``; the rest keeps every byte.

    Reads ``table.md``, ``comparison.json`` and ``success_criteria.json`` in ``results_dir``. Raises InputError when
    one of them or a field in them is missing, or when the README does not have each mark once, in order; the README
    is then left as it was.
    """
    readme, results = Path(readme_path), Path(results_dir)
    before, after = _around_marks(readme)
    parts = [
        narrowed(_text(results / "table.md").strip()),
        questions_of(results / "comparison.json"),
        criteria_of(results / "success_criteria.json"),
    ]
    write_text(readme, before + BEGIN + "\n\n" + "\n\n".join(parts) + "\n\n" + END + after)


def narrowed(table: str) -> str:
    """The first :data:`COLUMNS` columns of a markdown table, so that it can be read on a page; other lines as they are.

    Where columns are left out, a line says where they are.
    """
    lines = table.split("\n")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else None for line in lines]
    if all(row is None or len(row) <= COLUMNS for row in rows):
        return table
    kept = [line if row is None else _row(row[:COLUMNS]) for line, row in zip(lines, rows, strict=True)]
    return "\n".join([*kept, "", "More columns: [results/table.md](results/table.md)."])


def questions_of(path: str | Path) -> str:
    """A markdown list of the questions in ``comparison.json`` with their verdicts."""
    questions = _entries(Path(path), "questions", ("id", "question", "verdict"))
    return "\n".join(f"- **{one['id']}. {one['question']}** {one['verdict']}" for one in questions)


def criteria_of(path: str | Path) -> str:
    """A markdown table of the criteria in ``success_criteria.json``."""
    names = ("level", "text", "value", "comparison", "threshold", "verdict")
    lines = [_row(("level", "criterion", "value", "is", "than", "verdict")), _row(["---"] * len(names))]
    lines += [_row([_cell(one[name]) for name in names]) for one in _entries(Path(path), "criteria", names)]
    return "\n".join(lines)


def _around_marks(readme: Path) -> tuple[str, str]:
    text = _text(readme)
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        found = f"{text.count(BEGIN)} of the first mark, {text.count(END)} of the second"
        raise bad(str(readme), found, f"one {BEGIN} and one {END} after it", "Put the two marks where results belong.")
    return text[: text.index(BEGIN)], text[text.index(END) + len(END) :]


def _text(path: Path) -> str:
    if not path.is_file():
        raise bad(str(path), "no such file", "a text file", _REMEDY)
    with path.open(encoding="utf-8", newline="") as handle:  # keep the line ends that are there
        return handle.read()


def _entries(path: Path, key: str, fields: Sequence[str]) -> list[Mapping[str, Any]]:
    """The list under ``key`` of a JSON file, each entry an object with all ``fields``."""
    content = read_json(path)
    entries = content.get(key) if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise bad(f"{path}:{key}", repr(entries), "a list with at least one entry", _REMEDY)
    problems = [
        Problem(f"{path}:{key}[{index}].{field}", "nothing", "a value", _REMEDY)
        for index, entry in enumerate(entries)
        for field in fields
        if not isinstance(entry, dict) or field not in entry
    ]
    if problems:
        raise InputError(problems)
    return entries


def _cell(value: object) -> str:
    if value is None:
        return "not measured"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return (f"{value:.3g}" if isinstance(value, float) else str(value)).replace("|", "\\|").replace("\n", " ")


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def main(argv: Sequence[str] | None = None) -> int:
    """Refresh the README named on the command line. Returns the exit status."""
    parser = argparse.ArgumentParser(description="Bring the measured results into the README.")
    parser.add_argument("readme", nargs="?", default="README.md")
    parser.add_argument("results", nargs="?", default="results")
    arguments = parser.parse_args(argv)
    try:
        refresh(arguments.readme, arguments.results)
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{arguments.readme}: table, answers and criteria are those of {arguments.results}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
