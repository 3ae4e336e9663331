"""scripts/gpu_check.sh on a machine without a GPU: every part at toy size, and what a cut part leaves."""

import json
import subprocess
from pathlib import Path

import pytest
import torch

from benchmarks import gpu

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.timeout(600), pytest.mark.skipif(torch.cuda.is_available(), reason="it would measure")]


def test_every_part_runs_at_toy_size_and_stands_in_the_file(tmp_path):
    out = tmp_path / "gpu.json"
    command = [ROOT / "scripts/gpu_check.sh", "--out", out, "--limit", "300"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())
    assert list(found) == sorted(["machine", "tests", "steps", "profile"])
    assert found["machine"]["bf16_matmul_flops"] > 0
    assert "skipped" in found["tests"]["output"]
    toy = found["steps"]["toy"]
    assert all(side["tokens_per_second"] > 0 for sides in toy["generate"].values() for side in sides.values())
    assert toy["grpo_step"]["seconds"] > 0
    assert toy["trl_grpo_step"] == "TRL not there" or toy["trl_grpo_step"]["seconds"] > 0
    assert "aten::" in found["profile"]["a GRPO step"]["top"]


def test_a_part_that_is_cut_says_so_and_the_others_go_on(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    out = tmp_path / "gpu.json"
    assert gpu.main(["--parts", "machine", "--out", str(out), "--limit", "0.05"]) == 1
    assert "cut after 0.05 s" in json.loads(out.read_text())["machine"]["error"]
