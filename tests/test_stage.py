"""What every stage has in common: it starts without waiting for what it does not use, and ends without searching."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


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
for name in ("sft", "grpo", "generate", "evaluate"):
    runpy.run_path({str(ROOT / "stages")!r} + f"/{{name}}.py")
slow = ("dvclive", "matplotlib", "nltk", "pandas", "peft", "rouge_score", "sacrebleu", "scipy.stats")
print(*(name for name in slow if name in sys.modules))
"""
    assert python(code, tmp_path).split() == []
