"""Several processes train as one does at the same global batch, each with the whole base model or with a part of it."""

import json
import os
import shutil
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from peft import PeftModel

from polychrome.files import read_json
from polychrome.models.policy import open_base
from polychrome.pairs.schema import write_pairs

from .tiny import outputs, rewarded, train_arm
from .two_processes import answers

ROOT, HERE = Path(__file__).parents[2], Path(__file__).parent
TWO = "--multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no --main_process_port 0"
FAILS = """
import os, signal, time
from polychrome import stage
from polychrome.errors import bad

def main():
    rank = os.environ["RANK"]
    if {killed} and rank == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep((200 if {killed} else 1) * (rank == "0"))  # the first is the last to fail; or is ended by the launcher
    raise bad("params.yaml:arms", "none in process " + rank, "an arm", "Name one.")

stage.run(main)
"""


def run(folder: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run Python in ``folder`` on CPUs, where several processes talk by gloo."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "GLOO_SOCKET_IFNAME": "lo"}
    environment |= {"PYTHONPATH": str(ROOT / "src")}
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, *command], cwd=folder, env=environment, **pipes)
    try:
        told = process.communicate()
    finally:
        process.terminate()  # the launcher takes along processes that wait for each other for ever; a kill would not
        process.wait(60)
    return subprocess.CompletedProcess(process.args, process.returncode, *told)


def launched(folder: Path, *script: str | Path) -> subprocess.CompletedProcess[str]:
    return run(folder, "-m", "polychrome.training.launch", *TWO.split(), *script)


def assert_same(one: dict[str, Any], two: dict[str, Any]) -> None:
    assert len(one["rows"]) == len(two["rows"]) >= 4
    for step, (expected, found) in enumerate(zip(one["rows"], two["rows"], strict=True)):
        assert expected.keys() == found.keys(), step
        assert expected.get("rollouts") == found.get("rollouts")
        for key in expected.keys() - {"rollouts"}:
            assert found[key] == pytest.approx(expected[key], abs=1e-4), (step, key)
    for expected, found in zip(one["validations"], two["validations"], strict=True):
        assert found == pytest.approx(expected, abs=1e-4)
    assert two["weights"][0] == two["weights"][1]  # bit for bit the same on both
    assert two["weights"][0] == pytest.approx(one["weights"][0], abs=1e-3)


def test_two_processes_log_and_learn_what_one_does(workspace, tiny_base, warmstart, pairs):
    """Every method, with the base whole in each process, in parts, and in parts from a checkpoint on."""
    write_pairs(workspace / "pairs.jsonl", pairs)
    asked = tiny_base, warmstart, workspace / "pairs.jsonl", workspace / "answers.json"
    done = launched(workspace, HERE / "two_processes.py", *asked)
    assert done.returncode == 0, done.stderr[-4000:]
    two = json.loads((workspace / "answers.json").read_text())
    assert two["processes"] == 2

    one = answers(tiny_base, warmstart, pairs)
    for kind in ("whole", "sharded"):
        assert one.keys() == two[kind].keys()
        for name in one:
            assert_same(one[name], two[kind][name])
    assert {name: two["resumed"][name] for name in ("rows", "weights")} == {
        name: two["sharded"]["grpo"][name] for name in ("rows", "weights")
    }
    assert two["resumed"]["held"] == [0.5, 0.5]

    shares = two["whole"]["cross_entropy"]["posts"]  # each process sees its own posts only
    assert [len(share) for share in shares] == [2 * (2 + 1), 2 * 1]
    assert sorted(chain(*shares)) == sorted(*one["cross_entropy"]["posts"])


@pytest.mark.parametrize(("arm", "shard"), [("baseline_warmstart", False), ("grpo_from_baseline", True)])
def test_a_stage_starts_its_processes_itself(workspace, params_of, tiny_base, arm, shard):
    """And leaves what one process does: numbers to 1e-4, and the same PEFT files."""
    changes = rewarded(workspace, "grpo_from_baseline")
    changes |= {f"arms.{name}.learning_rate": 1e-3 for name in ("baseline_warmstart", "grpo_from_baseline")}
    alone = params_of(changes)
    if shard:
        train_arm(alone, "baseline_warmstart")
    before = outputs(workspace).keys()
    by_one = train_arm(alone, arm)
    made = outputs(workspace).keys() - before
    for part in ("models", "results/training"):
        shutil.rmtree(workspace / part / arm)

    params_of(changes | {"compute.processes": 2, "compute.shard": shard})
    stage = "grpo" if shard else "sft"
    done = run(workspace, ROOT / f"stages/{stage}.py", arm, "1")
    assert done.returncode == 0, done.stderr[-4000:]
    assert read_json(workspace / f".timings/{stage}-{arm}-1.json")["processes"] == 2
    assert ("layers of the base model in 2 parts" in done.stderr) == shard
    assert outputs(workspace).keys() - before == made
    by_two = read_json(workspace / f"results/training/{arm}/seed-1/summary.json")
    assert by_two["last_step"] == pytest.approx(by_one["last_step"], abs=1e-4)
    assert by_two["steps"] == by_one["steps"]
    PeftModel.from_pretrained(open_base(tiny_base, dtype=None), workspace / f"models/{arm}/seed-1")


@pytest.mark.parametrize("killed", [False, True])
def test_what_goes_wrong_is_said_once(tmp_path, killed):
    """By the first of processes that fail alike; of one that cannot say it any more by the launcher."""
    (tmp_path / "fails.py").write_text(FAILS.format(killed=killed))
    done = launched(tmp_path, "fails.py")
    assert done.returncode == (137 if killed else 1)
    assert "Traceback" not in done.stderr
    [told] = [line for line in done.stderr.splitlines() if "process" in line]
    expected = "process 1 was ended by SIGKILL" if killed else "params.yaml:arms: found none in process 0"
    assert told.startswith(expected)
