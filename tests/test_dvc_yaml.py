"""dvc.yaml against the code: every stage declares the modules that it imports, and no file that is not there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
# How values reach a stage and leave it, not what they are. A change there need not retrain a model.
PLUMBING = {"declare", "errors", "files", "params", "paths", "reading", "settings", "stage"}
BY_NAME = {"prepare": list((ROOT / "src/polychrome/pairs/sources").glob("*.py"))}  # imported as params.yaml names them


def module_file(name: str) -> Path | None:
    path = ROOT / "src" / Path(*name.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


@cache
def imported(file: Path) -> frozenset[Path]:
    """Files of ours that ``file`` takes in: modules, also those a registry names, and word lists that lie beside it."""
    found: set[Path | None] = set()
    for node in ast.walk(ast.parse(file.read_text())) if file.suffix == ".py" else ():
        if isinstance(node, ast.Import):
            found |= {module_file(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {module_file(f"{node.module}.{alias.name}") or module_file(node.module) for alias in node.names}
        elif isinstance(node, ast.Constant) and re.fullmatch(r"polychrome(\.\w+)+(:\w+)?", str(node.value)):
            found.add(module_file(str(node.value).partition(":")[0]))
        elif isinstance(node, ast.Constant) and re.fullmatch(r"\w+\.(txt|md|c|h)", str(node.value)):
            found |= {beside for beside in [file.with_name(node.value)] if beside.is_file()}
    return frozenset(path for path in found if path)


def reached(*start: Path) -> set[Path]:
    """``start`` and every file of ours that it imports, directly or not; what plumbing imports is plumbing."""
    seen: set[Path] = set()
    waiting = list(start)
    while waiting:
        file = waiting.pop()
        if file not in seen:
            seen.add(file)
            waiting += [path for path in imported(file) if path.stem not in PLUMBING]
    return seen


def declared(stage: str) -> list[Path]:
    return [ROOT / dep for dep in STAGES[stage]["deps"] if dep.startswith(("src/", "stages/"))]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_every_module_that_it_imports_and_no_other(stage):
    files = reached(ROOT / f"stages/{stage}.py", *BY_NAME.get(stage, ()))
    undeclared = {file for file in files if not any(file.is_relative_to(dep) for dep in declared(stage))}
    unused = {dep for dep in declared(stage) if not any(file.is_relative_to(dep) for file in files)}
    assert ({str(file.relative_to(ROOT)) for file in undeclared}, unused) == (set(), set())


def test_every_stage_has_its_script_and_every_script_its_stage():
    elsewhere = {"llm_judge", "sibling"}  # the first may cost money; the second is what all of them import
    assert {file.stem for file in (ROOT / "stages").glob("*.py")} == set(STAGES) | elsewhere


def test_the_models_that_are_compared_and_both_predictors_are_artifacts_with_type_and_labels():
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    artifacts = yaml.safe_load((ROOT / "dvc.yaml").read_text())["artifacts"]
    compared = {f"models/{arm}/seed-${{seeds[0]}}" for arm in params["experiment"]["compared"]}
    assert {one["path"] for one in artifacts.values()} == {"models/judge", "models/reward", *compared}
    written = [out for stage in STAGES.values() for out in stage["outs"]]
    outs = {path for out in written for path in ([out] if isinstance(out, str) else out)}
    assert {"models/judge", "models/reward", "models/${item.arm}/seed-${item.seed}"} <= outs
    assert all(one["type"] == "model" and one["labels"] for one in artifacts.values())


def test_no_output_persists_because_that_switches_dvcs_run_cache_off():
    files = [ROOT / "dvc.yaml", *(ROOT / f"{room}/dvc.yaml" for room in ("controls", "frontier", "llm_judge"))]
    assert [file for file in files if "persist:" in file.read_text()] == []


def test_every_script_takes_the_code_beside_it_before_it_imports_any():
    for file in [*(ROOT / "stages").glob("*.py"), ROOT / "controls/stage.py", ROOT / "frontier/stage.py"]:
        code = file.read_text()
        first = min(code.find(text) for text in ("\nimport sibling", "\nsys.path.insert") if text in code)
        assert first < code.find("polychrome", code.find('"""\n')) or file.stem == "sibling", file
