"""The curves and figures of a finished comparison, drawn from the files that training and compare left."""

import csv

import pytest

from polychrome.errors import InputError
from polychrome.reporting.draw import draw
from polychrome.training.loop import State
from polychrome.training.summary import write_training

from .test_figures import pass_csv, plane_csv


def trained(results, arm, seed, losses):
    history = [{"loss": loss} | ({"reward": loss / 2, "kl": 0.1} if arm.startswith("grpo") else {}) for loss in losses]
    write_training(results / f"training/{arm}/seed-{seed}", State(step=len(losses), history=history), {}, seed)


@pytest.fixture
def results(tmp_path):
    pass_csv(tmp_path)
    plane_csv(tmp_path)
    trained(tmp_path, "baseline", 1, [4.0, 2.0, 1.0])
    trained(tmp_path, "baseline", 2, [2.0, 1.0])
    trained(tmp_path, "grpo_from_baseline", 1, [0.5, 0.25])
    trained(tmp_path, "grpo_from_baseline", 2, [0.5, 0.75])
    return tmp_path


def rows_of(results, name):
    with (results / f"curves/{name}.csv").open(newline="") as handle:
        return [(row["model"], int(row["step"]), float(row[name])) for row in csv.DictReader(handle)]


def test_a_curve_is_the_mean_over_seeds_at_each_step_that_all_reached(results):
    draw(["baseline", "grpo_from_baseline"], [1, 2], results)
    assert rows_of(results, "loss") == [
        ("baseline", 0, 3.0), ("baseline", 1, 1.5), ("grpo_from_baseline", 0, 0.5), ("grpo_from_baseline", 1, 0.5),
    ]  # fmt: skip


def test_a_curve_names_only_the_arms_that_have_it(results):
    draw(["baseline", "grpo_from_baseline"], [1, 2], results)
    assert rows_of(results, "reward") == [("grpo_from_baseline", 0, 0.25), ("grpo_from_baseline", 1, 0.25)]
    assert {file.name for file in (results / "curves").iterdir()} == {
        "loss.csv", "reward.csv", "kl.csv", "diversity.csv",
    }  # fmt: skip


def test_three_figures_are_drawn(results):
    draw(["baseline"], [1], results)
    assert {file.name for file in (results / "figures").iterdir()} == {"pass_at_k.png", "plane.png", "training.png"}
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in (results / "figures").iterdir())


def test_missing_curves_are_told_and_earlier_figures_stand(results):
    draw(["baseline"], [1], results)
    before = (results / "figures/training.png").read_bytes()
    with pytest.raises(InputError, match=r"training/polychromic/seed-1: found no training curves.*dvc repro"):
        draw(["baseline", "polychromic"], [1], results)
    assert (results / "figures/training.png").read_bytes() == before
