"""A checkpoint belongs to its inputs, is whole or absent, and brings a run back to where it stood, bit for bit."""

from dataclasses import dataclass

import pytest
import torch

from polychrome.errors import InputError
from polychrome.training.alarms import Alarms
from polychrome.training.checkpoint import Checkpoints, digest_of
from polychrome.training.methods.cross_entropy import CrossEntropy

from .tiny import NO_ALARMS, Scripted, grpo, polychromic

METHODS = {"cross_entropy": CrossEntropy, "polychromic": polychromic, "grpo": lambda: grpo(beta=0.1, num_iterations=2)}


class Killed(BaseException):
    """Stands for a kill that the run cannot answer."""


@dataclass(frozen=True)
class KilledAt(Alarms):
    """Ends a run after some steps."""

    step: int = 0

    def check(self, history):
        if len(history) == self.step:
            raise Killed
        yield from ()


def kill(run, step):
    run.alarms = KilledAt(**vars(NO_ALARMS), step=step)
    with pytest.raises(Killed):
        run.train()


def assert_the_same(again, undisturbed, expected):
    """Every logged number of every step, the validations, and every weight."""
    assert again.train() == expected
    assert all(torch.equal(undisturbed.parameters[name], again.parameters[name]) for name in again.parameters)


LONG = {"epochs": 2, "checkpoint_every": 2, "keep_best": True, "evaluate_every": 2}


@pytest.mark.parametrize("kind", METHODS)
def test_a_run_killed_at_any_step_continues_as_if_nothing_had_happened(make_run, pairs, tmp_path, capsys, kind):
    def run(checkpoints=None):
        rest = {"validation": pairs[:3], "warmup_ratio": 0.3, "learning_rate": 3e-2, "checkpoints": checkpoints}
        return make_run(METHODS[kind](), **LONG, **rest)

    undisturbed = run()
    expected = undisturbed.train()
    for step in (4, 6):
        checkpoints = Checkpoints(f"killed at {step}", "digest", tmp_path)
        kill(run(checkpoints), step)
        assert_the_same(run(checkpoints), undisturbed, expected)
        assert f"going on from step {step - 2}" in capsys.readouterr().out


def test_the_best_weights_from_before_a_kill_are_kept(make_run, pairs, tmp_path):
    def run(*values, checkpoints=None):
        return make_run(Scripted(values=list(values)), validation=pairs, checkpoints=checkpoints, **LONG)

    undisturbed, checkpoints = run(1.0, 2.0, 3.0), Checkpoints("arm-1", "digest", tmp_path)
    expected = undisturbed.train()
    assert expected.best_step == 2
    kill(run(1.0, checkpoints=checkpoints), 3)
    assert_the_same(run(2.0, 3.0, checkpoints=checkpoints), undisturbed, expected)


def test_a_checkpoint_belongs_to_its_inputs_and_clearing_forgets_every_one_of_the_run_and_of_no_other(tmp_path):
    old, new, other = (Checkpoints(*key, tmp_path) for key in (("a-1", "old"), ("a-1", "new"), ("b-1", "old")))
    assert old.load() is None
    for step, checkpoints in enumerate((old, new, other)):
        checkpoints.save({"weight": torch.ones(1)}, {"step": step})
    assert [checkpoints.load()[1]["step"] for checkpoints in (old, new, other)] == [0, 1, 2]
    new.clear()
    assert [checkpoints.load() is None for checkpoints in (old, new, other)] == [True, True, False]


def test_a_run_killed_after_its_last_checkpoint_only_has_to_save_and_knows_that_nothing_was_validated(
    make_run, tmp_path, capsys
):
    checkpoints = Checkpoints("arm-1", "digest", tmp_path)
    expected, again = (make_run(checkpoint_every=3, checkpoints=checkpoints).train() for _ in range(2))
    assert again == expected
    assert again.best is None
    assert "going on from step 3" in capsys.readouterr().out


def test_the_key_depends_on_the_recipe_and_on_the_name_and_content_of_every_file(tmp_path):
    file, folder = tmp_path / "a.txt", tmp_path / "code"
    (folder / "__pycache__").mkdir(parents=True)
    file.write_text("one")
    (folder / "b.py").write_text("two")

    def key(rate: float = 0.1) -> str:
        return digest_of(recipe={"learning_rate": rate}, files=[file, folder])

    first = key()
    (folder / "__pycache__" / "b.pyc").write_text("compiled")
    assert key() == first
    others = [key(0.2)]
    (folder / "b.py").write_text("three")
    others.append(key())
    (folder / "b.py").rename(folder / "c.py")
    assert len({first, *others, key()}) == 4


@pytest.mark.parametrize(
    ("file", "length"), [("tensors.safetensors", 120), ("tensors.safetensors", 0), ("state.json", 9)]
)
def test_a_damaged_checkpoint_is_named_with_what_to_delete(tmp_path, file, length):
    checkpoints = Checkpoints("a-1", "digest", tmp_path)
    checkpoints.save({"weight": torch.ones(100)}, {"step": 3})
    damaged = tmp_path / "a-1/digest" / file
    damaged.write_bytes(damaged.read_bytes()[:length])
    with pytest.raises(InputError, match=rf"{damaged}.* Delete {damaged.parent} and run the stage again"):
        checkpoints.load()
