"""A training stage that is killed goes on from its last checkpoint, and ends with the bytes of one that never was."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from polychrome.params import load_params

from .tiny import outputs, train_arm

ARMS = ("polychromic", "grpo_from_polychromic")
LONG = {
    "lora.dropout": 0.2,
    "train.keep_best": True,
    "train.gradient_accumulation": 2,
    "arms.polychromic.epochs": 3,  # 18 steps each, a checkpoint after every second
    "arms.grpo_from_polychromic.epochs": 6,
}


def train_and_kill(arm: str, folder: Path) -> None:
    """Train in a process of its own and kill -9 it as soon as it has left a checkpoint."""
    code = f"""if True:
        from polychrome.params import load_params
        from polychrome.training.runs import train
        train(load_params(), {arm!r}, 1, [{arm!r}])"""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=folder, stderr=subprocess.DEVNULL, env=environment)
    deadline = time.monotonic() + 200
    while not list(folder.glob(".checkpoints/*/[!.]*/state.json")):
        assert process.poll() is None, "ended before its first checkpoint"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@pytest.mark.parametrize("arm", ARMS)
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(arm, workspace, params_of, monkeypatch, capsys):
    params = params_of(LONG)
    if arm in params.warmstarts:
        train_arm(params, params.warmstarts[arm])
    disturbed = workspace.parent / f"{workspace.name}-disturbed"
    shutil.copytree(workspace, disturbed, symlinks=True)
    before = outputs(disturbed)

    train_arm(params, arm)
    undisturbed = outputs(workspace)
    assert "going on" not in capsys.readouterr().out

    train_and_kill(arm, disturbed)
    assert outputs(disturbed) == before  # nothing, or the warm-start alone
    monkeypatch.chdir(disturbed)
    summary = train_arm(load_params(), arm)
    said = capsys.readouterr().out
    step = int(said.partition(f"{arm} seed 1: going on from step ")[2].split()[0])
    assert 0 < step < summary["steps"] == 18
    assert outputs(disturbed) == undisturbed
    assert not list(disturbed.glob(".checkpoints/*"))
