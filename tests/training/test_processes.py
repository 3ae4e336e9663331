"""Two processes under `accelerate launch` train as one does at the same global batch."""

import json
import os
import socket
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest
from peft import PeftModel

from polychrome.files import read_json
from polychrome.models.policy import open_base
from polychrome.pairs.schema import write_pairs

from .tiny import train_arm
from .two_processes import answers

SCRIPT = Path(__file__).with_name("two_processes.py")


def launch(*arguments: Path) -> None:
    """Start two processes; --multi_gpu is how the launcher calls several on one machine, gloo is what they then use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    command += ["--main_process_ip", "127.0.0.1", "--main_process_port", str(port)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "GLOO_SOCKET_IFNAME": "lo"}
    process = subprocess.Popen([*command, SCRIPT, *arguments], env=environment, stderr=subprocess.PIPE, text=True)
    try:
        _, said = process.communicate(timeout=200)
    finally:
        process.terminate()  # the launcher takes along processes that wait for each other for ever; a kill would not
        process.wait(60)
    assert process.returncode == 0, said[-4000:]


def test_two_processes_log_and_learn_what_one_does(workspace, params_of, tiny_base, warmstart, pairs):
    write_pairs(workspace / "pairs.jsonl", pairs)
    params = params_of({"arms.baseline.batch_size": 5, "arms.baseline.learning_rate": 1e-3})
    launch(tiny_base, warmstart, workspace / "pairs.jsonl", workspace / "answers.json")
    two = json.loads((workspace / "answers.json").read_text())
    assert two.pop("processes") == 2

    one = answers(tiny_base, warmstart, pairs)
    assert one.keys() == two.keys()
    for name, alone in one.items():
        together = two[name]
        assert len(alone["rows"]) == len(together["rows"]) >= 4
        for step, (expected, found) in enumerate(zip(alone["rows"], together["rows"], strict=True)):
            assert expected.keys() == found.keys(), (name, step)
            assert expected.pop("rollouts", None) == found.pop("rollouts", None)
            for key, value in expected.items():
                assert found[key] == pytest.approx(value, abs=1e-4), (name, step, key)
        for expected, found in zip(alone["validations"], together["validations"], strict=True):
            assert found == pytest.approx(expected, abs=1e-4), name
        assert together["weights"][0] == together["weights"][1]  # bit for bit the same on both
        assert together["weights"][0] == pytest.approx(alone["weights"][0], abs=1e-3)

    shares = two["cross_entropy"]["posts"]  # each process sees its own posts only
    assert [len(share) for share in shares] == [2 * (2 + 1), 2 * 1]
    assert sorted(chain(*shares)) == sorted(*one["cross_entropy"]["posts"])

    by_two = read_json(workspace / "results/training/baseline/seed-1/summary.json")
    by_one = train_arm(params, "baseline")
    assert by_two["last_step"] == pytest.approx(by_one["last_step"], abs=1e-4)
    assert by_two["steps"] == by_one["steps"]
    PeftModel.from_pretrained(open_base(tiny_base, dtype=None), workspace / "models/baseline/seed-1")
