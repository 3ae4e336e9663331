"""The curves and figures of a finished comparison, drawn from the files that training and compare left."""

import csv
import re
import shutil

import matplotlib
import pytest

from polychrome.errors import InputError
from polychrome.reporting.charts import plane_chart
from polychrome.reporting.draw import draw
from polychrome.reporting.names import model_name
from polychrome.reporting.palette import palette_of
from polychrome.reporting.read import read_plane
from polychrome.training.loop import State
from polychrome.training.summary import write_training
from tests.reporting.page.tree import MODELS, ROOT, write_curves

ARMS, SEEDS = ["baseline", "grpo_from_baseline"], [1, 2]


@pytest.fixture
def results(tmp_path):
    for name in ("pass_at_k.csv", "plane.csv"):
        shutil.copy(ROOT / "results" / name, tmp_path)
    write_curves(tmp_path / "training/baseline/seed-1", {"loss": [4.0, 2.0, 1.0]})
    write_curves(tmp_path / "training/baseline/seed-2", {"loss": [2.0, 1.0]})
    for seed, reward in ((1, [0.25, 0.125]), (2, [0.25, 0.375])):
        curves = {"loss": [0.5, 0.25 * seed], "reward": reward, "kl": [0.1, 0.1]}
        write_curves(tmp_path / f"training/grpo_from_baseline/seed-{seed}", curves)
    return tmp_path


def rows_of(results, name):
    with (results / f"curves/{name}.csv").open(newline="") as handle:
        return [(row["model"], int(row["step"]), float(row[name])) for row in csv.DictReader(handle)]


def test_a_curve_is_the_mean_over_seeds_at_each_step_that_all_reached_of_the_arms_that_have_it(results):
    draw(ARMS, SEEDS, results)
    losses = [("baseline", 0, 3.0), ("baseline", 1, 1.5)]
    assert rows_of(results, "loss") == [*losses, ("grpo_from_baseline", 0, 0.5), ("grpo_from_baseline", 1, 0.375)]
    assert rows_of(results, "reward") == [("grpo_from_baseline", 0, 0.25), ("grpo_from_baseline", 1, 0.25)]
    assert {file.stem for file in (results / "curves").iterdir()} == {"loss", "reward", "kl", "diversity"}
    assert (results / "curves/diversity.csv").read_text() == "model,step,diversity\n"


def test_what_training_writes_is_what_is_drawn(results):
    history = [{"loss": 1.5, "diversity": 0.5}, {"loss": 0.1, "diversity": 0.25}]
    write_training(results / "training/polychromic/seed-1", State(step=2, history=history), {}, 1)
    draw(["polychromic"], [1], results)
    assert rows_of(results, "diversity") == [("polychromic", 0, 0.5), ("polychromic", 1, 0.25)]


def test_figures_are_svg_on_paper_of_their_own_and_the_same_files_give_the_same_bytes(results):
    def figures():
        draw(ARMS, SEEDS, results)
        return {file.stem: file.read_text() for file in (results / "figures").glob("*.svg")}

    with matplotlib.rc_context({"font.size": 20, "svg.fonttype": "path", "svg.hashsalt": "other"}):
        first = figures()
    assert first == figures()
    assert first.keys() == {"pass_at_k", "plane", "training"}
    for text in first.values():
        assert re.match(r'<svg [^>]*>\s*<rect [^>]*fill="#fbfaf7"', text)
        assert not re.search(r"var\(--|#0[12]0[134]|data-model|Matplotlib|DejaVu|<dc:date|href=\"http", text)
        assert len(text) < 100_000
    assert all(f">{model_name(model)}</text>" in first["plane"] for model in MODELS)
    assert all(f">{title}</text>" in first["training"] for title in ("Fine-tuning: loss", "GRPO: mean reward"))


def test_a_plane_without_diversity_is_not_drawn_and_one_of_few_models_says_who_is_missing(results):
    head, *rows = (results / "plane.csv").read_text().splitlines()
    first = head.split(",").index("semantic_diversity")
    blank = [
        ",".join(["" if first <= i < first + 3 else cell for i, cell in enumerate(row.split(","))]) for row in rows
    ]
    (results / "plane.csv").write_text("\n".join([head, *rows[:2], *blank[2:]]) + "\n")
    plane = read_plane(results / "plane.csv")
    told = plane_chart(plane, palette_of(list(plane))).words
    absent = ", ".join(model_name(row.split(",")[0]) for row in rows[2:])
    assert told.endswith(f"Not defined for this language: {absent}.")
    (results / "plane.csv").write_text("\n".join([head, *blank]) + "\n")
    draw(["baseline"], [1], results)
    assert {path.name for path in (results / "figures").iterdir()} == {"pass_at_k.svg", "training.svg"}


def test_missing_curves_and_numbers_that_are_not_finite_are_reported_and_earlier_figures_stand(results):
    draw(["baseline"], [1], results)
    before = (results / "figures/training.svg").read_bytes()
    with pytest.raises(InputError, match=r"training/polychromic/seed-1: found no training curves.*dvc repro"):
        draw(["polychromic"], [1], results)
    write_curves(results / "training/polychromic/seed-1", {"loss": [1.0, float("nan")]})
    with pytest.raises(InputError, match=r"loss\.tsv:3:loss: found 'nan'; expected a finite number"):
        draw(["polychromic"], [1], results)
    (results / "plane.csv").write_text("model,pass_at_1\nbaseline,0.2\n")
    with pytest.raises(InputError, match=r"plane\.csv:1:semantic_diversity: found no such column"):
        draw(["baseline"], [1], results)
    assert (results / "figures/training.svg").read_bytes() == before
