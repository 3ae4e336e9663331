"""kill -9 of `dvc repro` alone: its stage goes on, and the next `dvc repro` waits for it and ends well."""

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.pipeline.conftest import ROOT, Repository

pytestmark = pytest.mark.timeout(300)

STAGE = """
import time
from pathlib import Path
from polychrome import stage

def say(what):
    with open("log", "a") as log:
        print(what, file=log)

def main():
    say("begins")
    while not Path("go").exists():
        time.sleep(0.05)
    Path("out").write_text("whole")
    say("ends")

stage.run(main)
"""


@pytest.fixture
def repository(tmp_path) -> Repository:
    """One stage, which lasts until there is a file `go`."""
    (tmp_path / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc/config", tmp_path / ".dvc")
    (tmp_path / "src").symlink_to(ROOT / "src")
    (tmp_path / "slow.py").write_text(STAGE)
    (tmp_path / "dvc.yaml").write_text("stages: {slow: {cmd: python slow.py, deps: [slow.py], outs: [out]}}")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    yield Repository(tmp_path)
    (tmp_path / "go").touch()


def until(there: Path) -> None:
    while not there.exists():
        time.sleep(0.05)


def test_a_second_repro_waits_for_the_stage_of_one_that_was_killed(repository):
    log, started = repository.path / "log", {"cwd": repository.path, "env": repository.environment}
    with subprocess.Popen(["dvc", "repro", "-q"], stderr=subprocess.DEVNULL, **started) as first:
        until(log)
        first.kill()
    with subprocess.Popen(["dvc", "repro", "-q"], stderr=subprocess.PIPE, text=True, **started) as second:
        waits = next(line for line in second.stderr if "waits for" in line)
        assert "slow waits for process" in waits
        assert log.read_text() == "begins\n"  # one at a time
        (repository.path / "go").touch()
        assert second.stderr.read() == ""
    assert second.returncode == 0
    assert log.read_text() == "begins\nends\n" * 2
    assert (repository.path / "out").read_text() == "whole"
    assert repository.outputs().keys() == {"out"}
