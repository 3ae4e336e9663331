"""What every stage has in common: it starts without waiting for what it does not use, and ends without searching."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from polychrome.files import read_json

ROOT = Path(__file__).parents[1]
SCRIPTS = ["stages/split.py", "controls/stage.py", "frontier/stage.py"]


def python(code: str, cwd: Path) -> str:
    """What ``code`` prints, in a process of its own: importing a stage changes the process it is in."""
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, check=True, capture_output=True, text=True).stdout


def test_garbage_is_collected_while_main_runs_but_not_among_what_was_imported(tmp_path):
    code = """
import gc
from polychrome import stage
print(gc.isenabled())
stage.run(lambda: print(gc.isenabled(), gc.get_freeze_count() > 0))
"""
    assert python(code, tmp_path).split() == ["False", "True", "True"]


def test_training_generating_and_evaluating_do_not_wait_for_libraries_that_few_runs_use(tmp_path):
    code = f"""
import runpy, sys
sys.path.insert(0, {str(ROOT / "stages")!r})
for name in ("sft", "grpo", "generate", "evaluate"):
    runpy.run_path({str(ROOT / "stages")!r} + f"/{{name}}.py")
slow = ("dvclive", "matplotlib", "nltk", "pandas", "peft", "rouge_score", "sacrebleu", "scipy.stats")
print(*(name for name in slow if name in sys.modules))
"""
    assert python(code, tmp_path).split() == []


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_stage_runs_the_code_of_its_own_checkout_whatever_is_installed(script, tmp_path):
    """As in `dvc exp run --queue`: a copy whose code was edited, while the environment names the workspace's."""
    shutil.copytree(ROOT / Path(script).parent, tmp_path / Path(script).parent)
    code = tmp_path / "src/polychrome"
    code.mkdir(parents=True)
    (code / "__init__.py").touch()
    (code / "stage.py").write_text("raise SystemExit('the edited one')")
    for cwd in (tmp_path, tmp_path.parent):
        done = subprocess.run(
            [sys.executable, tmp_path / script], cwd=cwd, capture_output=True, text=True, check=False,
            env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (1, "the edited one\n")


STAGE = """
import sys, time
from polychrome import stage
def main():
    print({told!r}, flush=True)
    time.sleep({seconds})
sys.argv = ["sft.py", {arm!r}, "42"]
stage.run(main)
"""


def start(cwd: Path, told="main", seconds=0, arm="baseline", **environment: str) -> subprocess.Popen[str]:
    """A process that runs a stage which takes so long and says so much."""
    return subprocess.Popen(
        [sys.executable, "-c", STAGE.format(told=told, seconds=seconds, arm=arm)], cwd=cwd, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | environment,
    )  # fmt: skip


def test_two_processes_never_share_an_arm_the_second_waits_and_says_for_whom(tmp_path):
    first = start(tmp_path, seconds=600)
    assert first.stdout.readline() == "main\n"
    began, second = time.monotonic(), start(tmp_path)
    told, heard = second.stderr.readline(), time.monotonic()
    assert told.startswith(f"sft baseline 42 waits for process {first.pid}, which is making the same outputs")
    for other in (start(tmp_path, arm="polychromic"), start(tmp_path, RANK="1")):  # RANK: one of several that train
        assert (*other.communicate(timeout=100), other.returncode) == ("main\n", "", 0)
    assert second.poll() is None
    first.send_signal(signal.SIGKILL)
    waited = time.monotonic() - heard
    assert (*second.communicate(timeout=100), second.returncode) == ("main\n", "", 0)
    seconds = read_json(tmp_path / ".timings/sft-baseline-42.json")["seconds"]
    assert seconds <= time.monotonic() - began - waited + 0.01  # the wait is not the stage's


def test_closing_lines_come_through_on_a_terminal_that_lacks_their_letters(tmp_path):
    done = start(tmp_path, told="Größe \U0001f600", PYTHONIOENCODING="ascii")
    assert (*done.communicate(timeout=100), done.returncode) == ("Gr\\xf6\\xdfe \\U0001f600\n", "", 0)


def test_the_last_line_says_where_replies_were_drawn_by_a_server_that_they_may_not_come_again(tmp_path):
    code = """
import sys
from types import SimpleNamespace
from polychrome import stage
sys.modules["polychrome.engine.compute"] = SimpleNamespace(CHOSEN={"sampler": "vLLM 0.32.0"})
stage.run(lambda: print("main"))
"""
    first, last = python(code, tmp_path).splitlines()
    assert first == "main"
    assert last.startswith("replies were drawn by vLLM 0.32.0: the same inputs may give other bytes next time")
    (timing,) = (tmp_path / ".timings").iterdir()
    assert read_json(timing)["sampler"] == "vLLM 0.32.0"
