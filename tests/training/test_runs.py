"""The training stages: what they leave, that they repeat, and what they say about bad input."""

import re
import resource
import shutil
import socket

import pytest
from peft import PeftModel

from polychrome.errors import InputError
from polychrome.files import read_json
from polychrome.models.policy import open_base
from polychrome.training.alarms import TrainingStopped
from polychrome.training.checkpoint import Checkpoints
from polychrome.training.runs import describe, train

from .tiny import outputs, train_arm

ADAPTER = "adapter_model.safetensors"


@pytest.fixture
def trained(params_of):
    """A polychromic warm-start and GRPO from it."""
    params = params_of({"arms.grpo_from_polychromic.epochs": 2})
    for arm in ("polychromic_warmstart", "grpo_from_polychromic"):
        train_arm(params, arm)


def test_training_leaves_an_adapter_that_peft_opens_curves_and_a_summary_and_names_no_place_or_time(
    trained, workspace, tiny_base
):
    folder = workspace / "models/grpo_from_polychromic/seed-1"
    assert {file.name for file in folder.iterdir()} == {ADAPTER, "adapter_config.json", "recipe.json"}
    PeftModel.from_pretrained(open_base(tiny_base, dtype=None), folder)
    assert read_json(folder / "recipe.json")["warmstart"] == "polychromic_warmstart"
    training = workspace / "results/training/grpo_from_polychromic/seed-1"
    summary = read_json(training / "summary.json")
    assert summary["steps"] == 6
    assert {"mean", "low", "high"} == summary["reward_gain"].keys()
    logged = "loss policy_loss reward reward_std kl clip_fraction entropy completion_length diversity"
    for name in [*logged.split(), "zero_variance_share", "learning_rate", "grad_norm"]:
        assert len((training / f"plots/metrics/train/{name}.tsv").read_text().splitlines()) == 1 + summary["steps"]
    assert not list(workspace.glob(".checkpoints/*"))
    told = b"\n".join(outputs(workspace).values())
    for word in (str(workspace.parent), "/tmp", socket.gethostname()):
        assert word.encode() not in told
    assert not re.search(rb"20\d\d-\d\d-\d\d|\d\d:\d\d:\d\d", told)


def test_a_run_says_after_its_first_steps_how_long_all_training_takes(params_of, capfd):
    train_arm(params_of(), "baseline")  # of 6 steps
    assert capfd.readouterr().out.count("training takes about 0 minutes in all") == 1


def test_polychromic_with_lambda_zero_ends_with_the_bytes_of_the_baseline_and_says_what_was_made(params_of, workspace):
    params = params_of({"arms.polychromic.lambda": 0.0, "lora.dropout": 0.1})
    told = [describe(train_arm(params, arm)) for arm in ("baseline", "polychromic")]
    assert "baseline, seed 1: 6 steps on 24 pairs; loss" in told[0]
    assert "adapter in models/baseline/seed-1, curves in results/training/baseline/seed-1" in told[0]
    made = [workspace / f"models/{arm}/seed-1" for arm in ("baseline", "polychromic")]
    for file in (ADAPTER, "adapter_config.json"):
        assert (made[0] / file).read_bytes() == (made[1] / file).read_bytes()


@pytest.fixture
def goes_on(params_of, monkeypatch, capsys):
    """Whether training an arm, after changes of params.yaml, goes on from a checkpoint that the last time left."""
    monkeypatch.setattr(Checkpoints, "clear", lambda self: None)

    def train_again(changes=()) -> bool:
        train_arm(params_of({"train.checkpoint_every": 1} | dict(changes)), "baseline")
        return "going on from step 6" in capsys.readouterr().out

    return train_again


def test_changed_params_do_not_go_on_from_the_old_checkpoint(goes_on):
    assert [goes_on(), goes_on()] == [False, True]
    for key in ("arms.baseline.learning_rate", "train.weight_decay", "lora.alpha"):
        assert not goes_on({key: 0.5}), key


def test_other_kernels_do_not_go_on_from_the_checkpoint(compiled, goes_on):
    """The two differ by rounding: a run that is part one, part the other has the bytes of neither."""
    assert [goes_on({"compute.kernels": kernels}) for kernels in ("torch", "torch", "compiled")] == [False, True, False]


def test_changed_input_files_do_not_go_on_from_the_old_checkpoint(goes_on, workspace):
    base, own = workspace / "assets/base", workspace / "custom_rewards/mine.py"
    real = base.resolve()
    base.unlink()
    shutil.copytree(real, base)
    own.parent.mkdir()
    own.write_text("# a reward of the user's own\n")
    assert [goes_on(), goes_on()] == [False, True]
    phases = workspace / "data/phases"
    for path in (phases / "full.jsonl", phases / "validation.jsonl", base / "config.json", own):
        content = path.read_text()
        assert content.endswith("\n")
        path.write_text(content.removesuffix("\n"))
        assert not goes_on(), path


# --- what goes wrong --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stage", "name"), [("sft", "basline"), ("sft", "zero_shot"), ("grpo", "baseline")])
def test_an_arm_that_the_stage_does_not_train_is_told_with_those_it_does(params_of, stage, name):
    params = params_of()
    with pytest.raises(InputError, match=rf"params.yaml:arms: found '{name}'; expected one of .*_"):
        train(params, name, 1, params.trained_by_sft if stage == "sft" else params.warmstarts)


def test_a_missing_warm_start_is_told_with_the_command_that_makes_it(params_of, workspace):
    with pytest.raises(InputError, match=r"no warm-start.*dvc repro sft@baseline_warmstart-1"):
        train_arm(params_of(), "grpo_from_baseline")
    assert outputs(workspace) == {}


def test_a_warm_start_of_another_recipe_or_an_alarm_leaves_earlier_outputs_as_they_were(trained, params_of, workspace):
    before = outputs(workspace)
    hot = {"alarms.kl_warn": 1e-6, "alarms.kl_stop": 1e-6, "arms.grpo_from_polychromic.learning_rate": 0.1}
    with pytest.raises(TrainingStopped, match=r"kl_stop"):
        train_arm(params_of(hot), "grpo_from_polychromic")
    with pytest.raises(InputError, match=r"polychromic_warmstart/seed-1.*differs in params.*dvc repro"):
        train_arm(params_of({"arms.polychromic_warmstart.lambda": 7.0}), "grpo_from_polychromic")
    assert outputs(workspace) == before


def test_a_missing_phase_and_a_post_that_is_too_long_are_told_and_leave_no_output(params_of, workspace):
    with pytest.raises(InputError, match=r"prompt\.max_prompt_tokens"):
        train_arm(params_of({"prompt.max_prompt_tokens": 20}), "baseline")
    (workspace / "data/phases/full.jsonl").unlink()
    with pytest.raises(InputError, match=r"full\.jsonl"):
        train_arm(params_of(), "baseline")
    assert outputs(workspace) == {}


@pytest.mark.parametrize(("every", "named"), [(1000, "models/baseline/seed-1"), (1, ".checkpoints/baseline-1")])
def test_a_disk_that_fills_while_saving_is_told_and_leaves_earlier_outputs_as_they_were(
    params_of, workspace, every, named
):
    train_arm(params_of(), "baseline")
    before = outputs(workspace)
    params = params_of({"arms.baseline.learning_rate": 1e-3, "train.checkpoint_every": every})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))  # as a full disk, to whoever writes a longer file
    try:
        with pytest.raises(InputError, match=rf"{named}.*File too large while saving.*Free space") as told:
            train_arm(params, "baseline")
    finally:  # before the test ends: the limit is the process's, and the test runner's own output may go to a file
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(told.value.problems) == 1
    assert outputs(workspace) == before
    assert not list(workspace.rglob("*.writing"))
