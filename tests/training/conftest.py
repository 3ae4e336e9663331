"""A tiny run of any method, and a scratch repository whose params.yaml trains in seconds."""

from pathlib import Path
from typing import Any

import pytest

from polychrome.models.policy import save_adapter
from polychrome.params import Params, load_params
from polychrome.training.loop import Run
from polychrome.training.methods.cross_entropy import CrossEntropy
from polychrome.training.methods.interface import Method

from .tiny import tiny_run, write_params


@pytest.fixture
def warmstart(policy, tmp_path) -> Path:
    """The adapter of ``policy`` on disk: what a tiny run starts from and GRPO's reference."""
    folder = tmp_path / "warmstart"
    folder.mkdir()
    save_adapter(policy, folder, {"arm": "warmstart"})
    return folder


@pytest.fixture
def make_run(tiny_base, warmstart, pairs):
    """Build a tiny run; keywords change loop settings or the run itself."""

    def build(method: Method | None = None, **changes: Any) -> Run:
        return tiny_run(tiny_base, warmstart, changes.pop("pairs", pairs), method or CrossEntropy(), **changes)

    return build


@pytest.fixture
def params_of(workspace):
    """Write a tiny params.yaml with changes (dotted key -> value) into the scratch repository and load it."""

    def build(changes: dict[str, Any] | None = None) -> Params:
        write_params(workspace, changes)
        return load_params()

    return build
