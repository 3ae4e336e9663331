"""The measured results in words: ``python -m polychrome.reporting.tables``, for maintainers.

Writes the one table of README.md between its two marks, and the whole of docs/results.md (templates/results.md), from
the files that `compare`, `judge`, `reward` and the controls made. Nothing is computed here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from polychrome.errors import InputError, bad
from polychrome.files import write_text
from polychrome.reporting.filling import environment
from polychrome.reporting.names import metric_name, model_name, named
from polychrome.reporting.read import read_object
from polychrome.reporting.words import interval, p_value, plain

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
BESIDE_PASS = ("semantic_diversity", "rouge_l", "engagement", "cross_entropy")  # in the README, beside two Pass@k


def refresh(root: str | Path = ".") -> None:
    """Replace what stands between :data:`BEGIN` and :data:`END` in README.md, and write docs/results.md.

    Raises InputError when a file or field in ``results`` is missing, or when the README does not have each mark once,
    in order; both files are then left as they were. Only ``results/controls`` may be absent.
    """
    readme, results = Path(root) / "README.md", Path(root) / "results"
    before, after = _around_marks(readme)
    comparison = read_object(results / "comparison.json")
    table, note = _table_of(results / "table.md")
    controls, rewards = (results / f"controls/{name}.json" for name in ("controls", "rewards"))
    models = list(comparison["models"])
    asked = {metric_name(one["metric"]) for question in comparison["questions"] for one in question["contrasts"]}
    contrasted = [name.startswith("Pass@") or name in asked for name in table[0]]
    filled = environment("polychrome.reporting", models, autoescape=False)
    filled.filters |= {"number": _number, "cell": _cell, "p": lambda p: p_value(p)[2:].removeprefix("= ")}
    text = filled.get_template("results.md").render(
        headline=_columns(table, [place for place, is_ in enumerate(contrasted) if is_]),
        others=_columns(table, [place for place, is_ in enumerate(contrasted) if place and not is_]),
        note=note,
        models=models,
        comparison=comparison,
        criteria=read_object(results / "success_criteria.json")["criteria"],
        reward=read_object(results / "reward.json"),
        judge=read_object(results / "judge.json"),
        controls=read_object(controls) if controls.is_file() else None,
        runs=read_object(rewards)["runs"] if rewards.is_file() else (),
        within=lambda found, name: f"{plain(found[name])} ({interval(found[f'{name}_low'], found[f'{name}_high'])})",
        note_of=lambda one: f"<br>*{_cell(named(one['note'], models))}*" if one.get("note") else "",
    )
    names = map(metric_name, dict.fromkeys(("pass_at_1", comparison["family"]["primary_metric"], *BESIDE_PASS)))
    narrow = _columns(table, [table[0].index(name) for name in names if name in table[0]])
    link = "The answers to the questions, every metric and every interval: [docs/results.md](docs/results.md)."
    write_text(Path(root) / "docs/results.md", text)
    write_text(readme, f"{before}{BEGIN}\n\n{narrow}\n\n{note} {link}\n\n{END}{after}")


def _around_marks(readme: Path) -> tuple[str, str]:
    text = _text(readme)
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        found = f"{text.count(BEGIN)} of the first mark, {text.count(END)} of the second"
        raise bad(str(readme), found, f"one {BEGIN} and one {END} after it", "Put the two marks where results belong.")
    return text[: text.index(BEGIN)], text[text.index(END) + len(END) :]


def _text(path: Path) -> str:
    if not path.is_file():
        raise bad(str(path), "no such file", "a text file", "Run the stage that makes it: `dvc repro compare`.")
    with path.open(encoding="utf-8", newline="") as handle:  # keep the line ends that are there
        return handle.read()


def _table_of(path: Path) -> tuple[list[list[str]], str]:
    """The cells of table.md, header first, models by their names; and the sentence below it."""
    lines = _text(path).strip().split("\n")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return [rows[0], *([model_name(row[0]), *row[1:]] for row in rows[2:])], lines[-1]


def _columns(table: Sequence[Sequence[str]], places: Iterable[int]) -> str:
    """The models and the columns at ``places``, in markdown."""
    head, *rows = ([row[0], *(row[place] for place in places)] for row in table)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _number(value: Any) -> str:
    """Three significant digits; a dash for what is not defined."""
    return "-" if value is None else f"{value:.3g}" if isinstance(value, float) else f"{value:,}"


def main() -> int:
    """Refresh the files of the folder that this runs in. Returns the exit status."""
    try:
        refresh()
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    print("README.md and docs/results.md say what is in results.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
