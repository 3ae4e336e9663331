"""frontier/dvc.yaml: every model and seed, what its modules import, and the pipeline at the root leaves it alone."""

import shutil
import subprocess
from itertools import product
from pathlib import Path

import pytest
import yaml

from tests.test_dvc_yaml import reached

ROOT = Path(__file__).parents[2]
STAGES = yaml.safe_load((ROOT / "frontier/dvc.yaml").read_text())["stages"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_every_module_that_it_imports(stage):
    assert STAGES[stage]["cmd"].split()[:3] == ["python", "frontier/stage.py", stage]
    files = reached(ROOT / "frontier/stage.py", ROOT / f"src/polychrome/frontier/{stage}.py")
    declared = [ROOT / dep for dep in STAGES[stage]["deps"] if dep.startswith(("src/", "frontier/"))]
    assert {str(f.relative_to(ROOT)) for f in files if not any(f.is_relative_to(dep) for dep in declared)} == set()
    assert [dep for dep in declared if not any(file.is_relative_to(dep) for file in files)] == []


def test_what_is_shown_is_in_git_and_the_points_of_every_post_are_not():
    outs = [out for stage in STAGES.values() for out in stage["outs"]]
    shown = {path for out in outs if isinstance(out, dict) for path, flags in out.items() if flags == {"cache": False}}
    assert all(next(iter(out)).startswith("results/frontier/") for out in outs if isinstance(out, dict))
    assert shown == {"results/frontier/frontier.json", "results/frontier/frontier.svg"}


def test_every_model_is_answered_with_every_seed_and_the_root_runs_none_of_it(tmp_path):
    from dvc.repo import Repo

    for name in ("frontier", "stages", "src", ".dvc/plots"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "params.yaml", ".dvcignore", ".dvc/config"):
        shutil.copy(ROOT / name, tmp_path / name)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    with Repo(str(tmp_path)) as repo:
        graph, own = repo.index.graph, repo.stage.collect(str(tmp_path / "frontier/dvc.yaml"))
        answering = {f"answering@{model}-{seed}" for model, seed in product(params["models"], params["seeds"])}
        assert {stage.name for stage in own} == answering | {"comparing"}
        (comparing,) = [stage for stage in own if stage.name == "comparing"]
        (one,) = [stage for stage in own if stage.name == "answering@grpo_from_baseline-42"]
        assert {stage.name for stage in graph.successors(comparing)} == answering
        needed = {stage.name for stage in graph.successors(one)}
        assert needed >= {"grpo@grpo_from-baseline-42", "judge", "reward", "split", "assets"}
        root = repo.stage.collect(str(tmp_path / "dvc.yaml"))
        assert {before.name for stage in root for before in graph.successors(stage)} & {
            stage.name for stage in own
        } == set()
