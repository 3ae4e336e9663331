"""The measured results in words: ``python -m polychrome.reporting.tables``, for maintainers.

Writes the one table of README.md between its two marks, and the whole of docs/results.md (templates/results.md), from
the files that `compare`, `judge`, `reward` and the controls made. With folders as arguments, such as results/audience,
it writes a README.md into each of them instead (`make keep`). Nothing is computed here.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from polychrome.errors import InputError, bad
from polychrome.files import read_object, write_text
from polychrome.reporting.filling import environment
from polychrome.reporting.names import metric_name, model_name, named
from polychrome.reporting.page.answers import answers
from polychrome.reporting.words import interval, p_value, plain

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
KEPT_LINKS = {"docs": "../../docs/", "results": ""}  # of a run that is kept in results/<name>
BESIDE_PASS = ("utility_k", "semantic_diversity", "engagement", "cross_entropy")  # the narrow table's, with two Pass@k

ACCURACIES = (
    ("pairwise_accuracy", "share of pairs put in the right order"),
    ("pairwise_accuracy_far", "of those at least half of all ranks apart"),
    ("pairwise_accuracy_within_post", "of those of one post"),
    ("pairwise_accuracy_within_person", "of neighbouring turns of one person"),
)


def refresh(root: str | Path = ".") -> None:
    """Replace what stands between :data:`BEGIN` and :data:`END` in README.md, and write docs/results.md.

    Raises InputError when a file or field in ``results`` is missing, or when the README does not have each mark once,
    in order; both files are then left as they were. Only ``results/controls`` and ``results/frontier`` may be absent.
    """
    readme = Path(root) / "README.md"
    whole = _text(readme)
    marks = whole.count(BEGIN), whole.count(END)
    if marks != (1, 1) or whole.index(BEGIN) > whole.index(END):
        found = f"{marks[0]} of the first mark, {marks[1]} of the second"
        raise bad(str(readme), found, f"one {BEGIN} and one {END} after it", "Put the two marks where results belong.")
    before, after = whole.split(BEGIN)[0], whole.split(END)[1]
    text, short = in_words(Path(root) / "results", {"docs": "", "results": "../results/"})
    write_text(Path(root) / "docs/results.md", text)
    write_text(readme, f"{before}{BEGIN}\n\n{short}\n\n{END}{after}")


def in_words(results: Path, links: Mapping[str, str]) -> tuple[str, str]:
    """What docs/results.md says of the run in ``results``, and the narrow table with the sentences below it.

    ``links`` are the ways to the folders ``docs`` and ``results`` from where the text will lie.
    """
    comparison = read_object(results / "comparison.json")
    *lines, note = _text(results / "table.md").strip().split("\n")  # a table, and a sentence below it
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|"))
    table = [head, *([model_name(model), *cells] for model, *cells in rows)]
    controls, rewards = (results / f"controls/{name}.json" for name in ("controls", "rewards"))
    path = results / "frontier/frontier.json"
    frontier = read_object(path) if path.is_file() else None
    models = list(comparison["models"])
    sentences = comparison.get("warnings", {}).get("sentences", [])  # a run that is kept may be without
    wanted = dict.fromkeys(("pass_at_1", comparison["family"]["primary_metric"], *BESIDE_PASS))
    places = [head.index(name) for name in map(metric_name, wanted) if name in head]
    narrow = _columns(table, places)
    filled = environment("polychrome.reporting", models, autoescape=False)
    filled.filters |= {"number": _number, "p": lambda p: p_value(p)[2:].removeprefix("= ")}
    text = filled.get_template("results.md").render(
        **links,
        headline=narrow,
        others=_columns(table, [place for place in range(1, len(head)) if place not in places]),
        note=note,
        sentences=sentences,
        accuracies=ACCURACIES,
        models=models,
        comparison=comparison,
        criteria=read_object(results / "success_criteria.json")["criteria"],
        reward=read_object(results / "reward.json"),
        judge=read_object(results / "judge.json"),
        controls=read_object(controls) if controls.is_file() else None,
        runs=read_object(rewards)["runs"] if rewards.is_file() else (),
        frontier=frontier,
        within=lambda found, name: f"{plain(found[name])} ({interval(found[f'{name}_low'], found[f'{name}_high'])})",
    )
    link = "The answers to the questions, every metric and every interval: [docs/results.md](docs/results.md)."
    if frontier:
        said = named(frontier["text"], models)
        link += f" An arm against [what decoding alone reaches](results/frontier/frontier.svg) at its quality: {said}."
    told = [f"{one['id']}: {', '.join(filter(None, [one['short'], one['excluded']]))}" for one in answers(comparison)]
    link = f"On {metric_name(comparison['family']['primary_metric'])}, {'; '.join(told)}. {link}"
    care = " ".join(named(sentence, models) for sentence in sentences)
    return text, " ".join(filter(None, [f"{narrow}\n\n{note}", care, link]))


def _text(path: Path) -> str:
    if not path.is_file():
        raise bad(str(path), "no such file", "a text file", "Run the stage that makes it: `dvc repro compare`.")
    return path.read_bytes().decode()  # keeps the line ends that are there


def _columns(table: Sequence[Sequence[str]], places: Iterable[int]) -> str:
    """The models and the columns at ``places``, in markdown."""
    head, *rows = ([row[0], *(row[place] for place in places)] for row in table)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.3g}" if isinstance(value, float) else f"{value:,}"


def main(folders: Sequence[str] = ()) -> int:
    """Refresh the files of this folder, or README.md in each of the ``folders`` of runs. Returns the exit status."""
    try:
        for folder in map(Path, folders):
            write_text(folder / "README.md", in_words(folder, KEPT_LINKS)[0])
        if not folders:
            refresh()
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    written = " and ".join(f"{folder}/README.md" for folder in folders) or "README.md and docs/results.md"
    print(f"{written}: written from the results.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
