"""A checkpoint belongs to its inputs, is whole or absent, and brings a run back to where it stood, bit for bit."""

from dataclasses import dataclass

import pytest
import torch

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


def killed_at(step: int) -> KilledAt:
    return KilledAt(**vars(NO_ALARMS), step=step)


def saved(root, step: int = 3, digest: str = "d") -> Checkpoints:
    checkpoints = Checkpoints("arm-1", digest, root)
    checkpoints.save({"weight": torch.arange(3.0), "scalar": torch.tensor(float(step))}, {"step": step})
    return checkpoints


@pytest.mark.parametrize("kind", METHODS)
def test_a_run_killed_at_any_step_continues_as_if_nothing_had_happened(make_run, pairs, tmp_path, capsys, kind):
    def run(**changes):
        settings = {"epochs": 2, "checkpoint_every": 2, "validation": pairs[:3], "keep_best": True, "evaluate_every": 2}
        return make_run(METHODS[kind](), warmup_ratio=0.3, learning_rate=3e-2, **settings, **changes)

    undisturbed = run()
    expected = undisturbed.train()
    for step in (4, 6):
        checkpoints = Checkpoints(f"killed at {step}", "digest", tmp_path)
        with pytest.raises(Killed):
            run(checkpoints=checkpoints, alarms=killed_at(step)).train()
        again = run(checkpoints=checkpoints)
        assert again.train() == expected  # every logged number of every step, and the validations
        assert f"going on from step {step - 2}" in capsys.readouterr().out
        assert all(torch.equal(undisturbed.parameters[name], again.parameters[name]) for name in again.parameters)


def test_the_best_weights_from_before_a_kill_are_kept(make_run, pairs, tmp_path):
    settings = {"epochs": 2, "checkpoint_every": 2, "validation": pairs, "keep_best": True, "evaluate_every": 2}
    undisturbed = make_run(Scripted(values=[1.0, 2.0, 3.0]), **settings)
    checkpoints = Checkpoints("arm-1", "digest", tmp_path)
    killed = make_run(Scripted(values=[1.0]), checkpoints=checkpoints, alarms=killed_at(3), **settings)
    again = make_run(Scripted(values=[2.0, 3.0]), checkpoints=checkpoints, **settings)
    expected = undisturbed.train()
    with pytest.raises(Killed):
        killed.train()
    assert again.train() == expected
    assert expected.best_step == 2
    assert all(torch.equal(undisturbed.parameters[name], again.parameters[name]) for name in again.parameters)


def test_what_is_saved_is_what_is_loaded_and_only_for_the_same_inputs(tmp_path):
    assert Checkpoints("arm-1", "d", tmp_path).load() is None
    tensors, state = saved(tmp_path).load()
    assert state == {"step": 3}
    torch.testing.assert_close(tensors, {"weight": torch.arange(3.0), "scalar": torch.tensor(3.0)}, rtol=0, atol=0)
    assert Checkpoints("arm-1", "other inputs", tmp_path).load() is None


@pytest.mark.parametrize("renamed", [0, 1, 2])  # state.json, the old one aside, the new one in
def test_a_kill_while_one_checkpoint_takes_anothers_place_leaves_one_of_them_whole(tmp_path, monkeypatch, renamed):
    checkpoints = saved(tmp_path)
    replace, done = type(tmp_path).replace, []

    def killed(self, target):
        if len(done) == renamed:
            raise Killed
        done.append(target)
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(type(tmp_path), "replace", killed)
        with pytest.raises(Killed):
            saved(tmp_path, step=4)
    assert checkpoints.load()[1] == {"step": 3}
    saved(tmp_path, step=5)
    assert checkpoints.load()[1] == {"step": 5}


def test_clearing_forgets_every_checkpoint_of_the_run_and_of_no_other(tmp_path):
    old, new, other = saved(tmp_path, digest="old"), saved(tmp_path, digest="new"), Checkpoints("b-1", "d", tmp_path)
    other.save({"weight": torch.ones(1)}, {"step": 1})
    new.clear()
    assert old.load() is None
    assert new.load() is None
    assert other.load() is not None


def test_a_run_killed_after_its_last_checkpoint_only_has_to_save_and_knows_that_nothing_was_validated(
    make_run, tmp_path, capsys
):
    checkpoints = Checkpoints("arm-1", "digest", tmp_path)
    expected = make_run(checkpoint_every=3, checkpoints=checkpoints).train()
    again = make_run(checkpoint_every=3, checkpoints=checkpoints).train()
    assert again == expected
    assert again.best is None
    assert "going on from step 3" in capsys.readouterr().out


def test_the_key_depends_on_the_recipe_and_on_the_name_and_content_of_every_file(tmp_path):
    file, folder = tmp_path / "a.txt", tmp_path / "code"
    file.write_text("one")
    (folder / "__pycache__").mkdir(parents=True)
    (folder / "b.py").write_text("two")

    def key(rate: float = 0.1) -> str:
        return digest_of(recipe={"learning_rate": rate}, files=[file, folder])

    first = key()
    assert key() == first != key(0.2)
    (folder / "__pycache__" / "b.pyc").write_text("compiled")
    assert key() == first
    (folder / "b.py").write_text("three")
    changed = key()
    assert changed != first
    (folder / "b.py").rename(folder / "c.py")
    assert key() not in (first, changed)
