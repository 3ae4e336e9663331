"""controls/dvc.yaml: it parses, declares what its scripts import, and the pipeline at the root leaves it alone."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.test_dvc_yaml import reached

ROOT = Path(__file__).parents[3]
PIPELINE = yaml.safe_load((ROOT / "controls/dvc.yaml").read_text())
STAGES = PIPELINE["stages"]


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """(addresses of the root's stages and all they need, of the controls' own, of what the controls need besides)."""
    from dvc.repo import Repo

    folder = tmp_path_factory.mktemp("repository")
    for name in ("controls", "stages", "src", ".dvc/plots"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "params.yaml", ".dvcignore", ".dvc/config"):
        shutil.copy(ROOT / name, folder / name)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    import networkx

    with Repo(str(folder)) as repo:
        graph = repo.index.graph

        def with_upstream(collected):
            found = set(collected)
            for stage in collected:
                found |= networkx.descendants(graph, stage)
            return {relative(stage, folder) for stage in found}

        root = repo.stage.collect(str(folder / "dvc.yaml"))
        own = repo.stage.collect(str(folder / "controls/dvc.yaml"))
        wdirs = {Path(stage.wdir) for stage in own}
        assert wdirs == {folder}
        return with_upstream(root), {relative(stage, folder) for stage in own}, with_upstream(own)


def relative(stage, folder):
    inside = Path(stage.path).relative_to(folder)
    return f"{inside}:{stage.name}"


def test_the_pipeline_at_the_root_runs_no_control(stages):
    root, own, _ = stages
    assert len(own) > 20
    assert {address for address in root if address.startswith("controls/")} == set()


def test_one_command_runs_what_the_controls_need_of_the_root(stages):
    _, own, all_of_it = stages
    needed = all_of_it - own
    assert "dvc.yaml:judge" in needed
    assert "dvc.yaml:gaming@grpo_from-baseline-42" in needed
    assert {f"dvc.yaml:{name}" for name in ("compare", "report")} & needed == set()


def test_every_control_of_the_params_is_trained_answered_and_measured(stages):
    _, own, _ = stages
    variants = yaml.safe_load((ROOT / "params.yaml").read_text())["controls"]["variants"]
    for name, changes in variants.items():
        assert f"controls/dvc.yaml:evaluate@{name}" in own
        assert changes["of"] in ("grpo_from_baseline", "polychromic")  # what the stages declare as their parameters
        trained = f"grpo@{name}" if changes["of"] == "grpo_from_baseline" else "sft"
        assert f"controls/dvc.yaml:{trained}" in own


def test_results_are_in_git_and_what_is_large_is_not():
    for name, stage in STAGES.items():
        for out in [*stage.get("outs", ()), *stage.get("metrics", ())]:
            ((path, flags),) = out.items() if isinstance(out, dict) else ((out, {}),)
            assert (flags.get("cache") is False) == path.endswith((".json", ".csv")), (name, path)
            assert path.startswith(("results/controls/", "models/control_")), (name, path)


def module_of(stage):
    """The module that controls/stage.py runs under the stage's name."""
    return [path] if (path := ROOT / f"src/polychrome/audit/controls/{stage}.py").is_file() else []


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_every_module_that_its_script_imports(stage):
    seen = reached(ROOT / STAGES[stage]["cmd"].split()[1], *module_of(stage))
    declared = [ROOT / dep for dep in STAGES[stage]["deps"] if dep.startswith(("src/", "stages/", "controls/"))]
    assert {str(file.relative_to(ROOT)) for file in seen if not any(file.is_relative_to(d) for d in declared)} == set()


def test_every_control_is_a_stage():
    modules = {path.stem for path in (ROOT / "src/polychrome/audit/controls").glob("*.py")} - {"__init__", "record"}
    run = {stage for stage in STAGES if STAGES[stage]["cmd"] == f"python controls/stage.py {stage}"}
    assert run == modules
