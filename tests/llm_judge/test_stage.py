"""The stage as a command: its exit status tells DVC whether to run it again, and the key stays in the environment."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from polychrome.params import load_params
from tests.llm_judge.conftest import KEY, dull, varied, write_model

ROOT = Path(__file__).parents[2]


@pytest.fixture
def repository(server, tmp_path):
    """A scratch repository with two models' replies, whose judge is the scripted endpoint."""
    write_model("polychromic", varied)
    write_model("baseline", dull)
    write(tmp_path, server, max_calls=7)
    return tmp_path


def write(repository, server, **changes):
    """params.yaml with two seeds, asking the scripted endpoint."""
    text = (ROOT / "params.yaml").read_text()
    text = re.sub(r"(?m)^seeds: \[.*?\]", "seeds: [42, 123]", text)
    changes = {"backend": "anthropic", "model": "judge-1", "base_url": server.base_url("anthropic")} | changes
    text = re.sub(r"(?m)^  bootstrap: \d+", "  bootstrap: 200", text)
    head, section = text.split("\nllm_judge:\n")
    for name, value in changes.items():
        section = re.sub(rf"(?m)^  {name}: +\S+", f"  {name}: {value}", section, count=1)
    (repository / "params.yaml").write_text(f"{head}\nllm_judge:\n{section}")
    load_params(repository / "params.yaml")


def run(repository, *arguments):
    return subprocess.run(
        [sys.executable, ROOT / "stages/llm_judge.py", *arguments],
        cwd=repository,
        env=os.environ | {"ANTHROPIC_API_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_partial_run_ends_with_status_1_and_the_next_one_completes_it(repository, server):
    partial = run(repository, "polychromic", "baseline")
    assert partial.returncode == 1
    assert "max_calls" in partial.stderr
    assert "partial: 3 of 8 judged" in partial.stdout
    write(repository, server, max_calls=100)
    complete = run(repository, "polychromic", "baseline")
    assert complete.returncode == 0, complete.stderr
    assert len(server.requests) == 16
    written = repository / "results/llm_judge/polychromic_vs_baseline.json"
    assert '"status": "complete"' in written.read_text()
    said = partial.stdout + partial.stderr + complete.stdout + complete.stderr
    assert KEY not in said
    assert not [p for p in repository.rglob("*") if p.is_file() and KEY.encode() in p.read_bytes()]


def test_other_than_two_models_is_told(repository):
    told = run(repository, "polychromic")
    assert told.returncode == 1
    assert "two models" in told.stderr
    assert "Traceback" not in told.stderr
