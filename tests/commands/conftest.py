"""A scratch repository with tiny trained models, and the command as a user runs it."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from polychrome.commands.main import main
from polychrome.files import whole_directory
from polychrome.models.policy import save_adapter
from polychrome.models.recipes import recipe_of, write_untouched
from polychrome.params import load_params
from polychrome.paths import model_dir
from tests.pipeline.conftest import set_params

SETTINGS = {
    "compute.dtype": "float32",
    "compute.threads": 1,
    "compute.kernels": "torch",
    "prompt.max_prompt_tokens": 200,
    "sampling.samples": 10,
    "sampling.max_new_tokens": 6,
    "evaluation.bootstrap": 200,
    "arms.grpo_from_baseline.reward": "heuristic",
    "arms.grpo_from_polychromic.reward": "heuristic",
}
TRAINED = ("baseline", "grpo_from_polychromic")


@pytest.fixture
def project(workspace, policy) -> Path:
    """The workspace with two trained models and the base as it is, seed 42; it is the current directory."""
    set_params(workspace / "params.yaml", SETTINGS)
    params = load_params()
    for arm in TRAINED:
        with whole_directory(model_dir(arm, 42)) as folder:
            save_adapter(policy, folder, recipe_of(params, arm, 42))
    write_untouched(model_dir("zero_shot", 42), recipe_of(params, "zero_shot", 42))
    return workspace


@dataclass(frozen=True)
class Said:
    """What a command printed."""

    out: str
    err: str


@pytest.fixture
def polychrome(capfd):
    """`polychrome(*arguments)`: what it printed; with ``fails`` the one message that it ended with."""

    def run(*arguments: object, fails: bool = False) -> Said:
        capfd.readouterr()
        if not fails:
            main([str(argument) for argument in arguments])
            return Said(*capfd.readouterr())
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        said = Said(*capfd.readouterr())
        assert ended.value.code == 1
        assert said.err.startswith(f"polychrome {arguments[0]} stopped:\n")
        assert "Traceback" not in said.err
        return said

    return run
