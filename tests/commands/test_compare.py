"""`polychrome compare`: two revisions or experiments, post by post, by way of Git and DVC themselves."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from polychrome.commands.compare import compared
from polychrome.errors import InputError
from polychrome.evaluation.evaluate import read_per_post
from polychrome.evaluation.statistics import compare_paired, holm
from tests.evaluation.fakes import settings, write_engagement
from tests.pipeline.conftest import ROOT, set_params

POSTS = 12
ARM = "grpo_from_polychromic"
SHIFT = 0.05 * (1 + np.arange(POSTS) % 3)  # what beta 0.1 adds to the engagement of each post, over beta 0.05
MAKE = """
import json
from pathlib import Path
from ruamel.yaml import YAML
beta = YAML(typ="safe").load(open("params.yaml"))["arms"]["grpo_from_polychromic"]["beta"]
for arm in ("grpo_from_polychromic", "baseline"):
    value = json.load(open("template.json"))
    if arm != "baseline":
        own = enumerate(value["metrics"]["engagement"])
        value["metrics"]["engagement"] = [e + (beta - 0.05) * (1 + i % 3) for i, e in own]
    file = Path(f"results/evaluation/{arm}/seed-42/per_post.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value))
"""
STAGE = f"""
stages:
  evaluate:
    cmd: python make.py
    params: [arms.{ARM}.beta]
    deps: [make.py, template.json]
    outs: [results/evaluation/{ARM}/seed-42, results/evaluation/baseline/seed-42]
"""


def assert_told(said, message):
    assert re.search(message, said), said


@pytest.fixture(scope="module")
def history(tmp_path_factory) -> Path:
    """A repository with an empty commit `before`, a run at HEAD, and an experiment `higher` with another beta."""
    folder = tmp_path_factory.mktemp("history")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def run(*command):
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"

    git = ("git", "-c", "user.name=t", "-c", "user.email=t@localhost")
    run("git", "init", "-q")
    shutil.copytree(ROOT / ".dvc", folder / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp"))
    (folder / ".gitignore").write_text("/results\n")
    shutil.copy(ROOT / "params.yaml", folder)
    set_params(folder / "params.yaml", {"evaluation.bootstrap": 200})
    write_engagement(folder, np.linspace(0.3, 0.6, POSTS)).joinpath("per_post.json").rename(folder / "template.json")
    (folder / "make.py").write_text(MAKE)
    run("git", "add", "-A")
    run(*git, "commit", "-qm", "before")
    run("git", "tag", "before")
    (folder / "dvc.yaml").write_text(STAGE)
    run("dvc", "repro", "-q")
    run("git", "add", "-A")
    run(*git, "commit", "-qm", "run")
    run("dvc", "exp", "run", "-q", "-S", f"arms.{ARM}.beta=0.1", "--name", "higher")
    return folder


@pytest.fixture
def here(history, monkeypatch) -> Path:
    monkeypatch.chdir(history)
    return history


def test_an_experiment_is_set_beside_a_commit_post_by_post(here, polychrome):
    found = json.loads(polychrome("compare", "HEAD", "higher", "--json").out)
    [row] = found["contrasts"]
    assert (row["model"], row["metric"], row["different"]) == (ARM, "engagement", True)
    assert row["difference"] == pytest.approx(SHIFT.mean())
    assert row["low"] < SHIFT.mean() < row["high"]
    assert row["mean_a"] - row["mean_b"] == pytest.approx(row["difference"], rel=1e-4)
    assert (found["unchanged"], found["posts"], found["tests"]) == (["baseline"], POSTS, 1)
    assert found["params"] == {f"arms.{ARM}.beta": [0.05, 0.1]}


def test_what_is_printed_says_which_parameters_differ_and_in_which_direction(here, polychrome):
    printed = polychrome("compare", "HEAD", "higher").out
    assert f"arms.{ARM}.beta: 0.05 in HEAD, 0.1 in higher" in printed
    assert re.search(r"engagement +0\.450 +0\.550 +\+0\.100 \(\+0\.0\d\d to \+0\.1\d\d\), p = 0\.\d\d\d \*", printed)
    assert "the same to the last digit: baseline" in printed
    turned = polychrome("compare", "higher", "HEAD").out
    assert re.search(r"engagement +0\.550 +0\.450 +-0\.100", turned)


def test_without_a_second_one_it_is_the_workspace(here, polychrome):
    """The experiment ran last, so what it made lies there."""
    found = [json.loads(polychrome("compare", "HEAD", *other, "--json").out) for other in (["higher"], [])]
    assert found[0] | {"b": "workspace"} == found[1]


def test_a_revision_that_is_not_known_has_no_results_or_lost_them_ends_with_one_message(
    here, polychrome, tmp_path, monkeypatch
):
    assert_told(polychrome("compare", "HEAD", "highr", fails=True).err, "highr: found RevError: unknown Git revision")
    assert_told(polychrome("compare", "before", fails=True).err, "before:results/evaluation: found no results")
    subprocess.run(["git", "clone", "-q", here, tmp_path / "clone"], check=True)
    monkeypatch.chdir(tmp_path / "clone")  # where nothing was fetched
    said = polychrome("compare", "HEAD", fails=True).err
    assert_told(said, "HEAD: found DataIndexDirError.*expected a revision or experiment whose results.*dvc fetch")


def test_neither_or_both_of_revisions_and_ratings_are_refused(here, polychrome):
    assert_told(polychrome("compare", fails=True).err, "found neither; expected A")
    assert_told(polychrome("compare", "HEAD", "--ratings", "a.json", fails=True).err, "found both")


# --- the comparison itself --------------------------------------------------------------------------------------------


def runs(folder, **engagement):
    """Runs by model_seed: their engagement."""
    return {
        (name.rsplit("_", 1)[0], int(name.rsplit("_", 1)[1])): read_per_post(
            write_engagement(folder / name, values) / "per_post.json"
        )
        for name, values in engagement.items()
    }


def test_models_seeds_and_posts_that_both_have_are_compared_and_corrected_together(tmp_path):
    rng = np.random.default_rng(0)
    x1, x2, x3, y1 = rng.normal(0.5, 0.1, size=(4, 20))
    dx1, dx2, dy = rng.normal(0.05, 0.1, size=(3, 20))
    a = runs(tmp_path / "a", x_1=x1, x_2=x2, x_3=x3, y_1=y1, gone_1=x1)
    b = runs(tmp_path / "b", x_1=x1 + dx1, x_2=x2 + dx2, y_1=y1 + dy)
    found = compared(a, b, settings())
    expected = [
        compare_paired(np.stack([x1 + dx1, x2 + dx2]), np.stack([x1, x2]), settings()),
        compare_paired((y1 + dy)[None], y1[None], settings()),
    ]
    assert [row["model"] for row in found["contrasts"]] == ["x", "y"]
    for row, effect in zip(found["contrasts"], expected, strict=True):
        assert (row["difference"], row["low"], row["high"]) == (effect.difference, effect.low, effect.high)
    assert [row["p_holm"] for row in found["contrasts"]] == holm([effect.p for effect in expected])
    assert found["only"] == {"a": ["gone"], "b": []}


def test_posts_are_matched_by_id_whatever_their_order(tmp_path):
    values = np.linspace(0, 1, 8)
    a, b = runs(tmp_path / "a", x_1=values), runs(tmp_path / "b", x_1=values + 0.1)
    file = tmp_path / "b/x_1/per_post.json"
    value = json.loads(file.read_text())
    turned = {"posts": value["posts"][::-1], "metrics": {"engagement": value["metrics"]["engagement"][::-1]}}
    file.write_text(json.dumps(value | turned))
    assert compared(a, {("x", 1): read_per_post(file)}, settings()) == compared(a, b, settings())


def test_nothing_in_common_is_an_error(tmp_path):
    a, b = runs(tmp_path / "a", x_1=[1, 2]), runs(tmp_path / "b", x_2=[1, 2])
    with pytest.raises(InputError, match="no model with a seed in common"):
        compared(a, b, settings())
    file = tmp_path / "b/x_2/per_post.json"
    file.write_text(file.read_text().replace("t0", "u0").replace("t1", "u1"))
    with pytest.raises(InputError, match="found 0 test posts in common"):
        compared(a, {("x", 1): read_per_post(file)}, settings())
