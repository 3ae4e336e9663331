"""The gaming verdict on replies in other scripts than Latin: genericness knows English, and says so."""

import csv

import numpy as np
import pytest

from polychrome import paths
from polychrome.audit.rollouts import read_rollouts
from polychrome.evaluation.criteria import read_verdicts
from polychrome.measures.genericness import genericness
from polychrome.pairs.schema import Pair, write_pairs
from tests.audit.test_gaming import ARM, OUT, PLANTS, PROMPTS, ROLLOUTS, Run, check_of

RUSSIAN = ["я", "ты", "мы", "дом", "кот", "лес", "снег", "мама", "папа", "окно", "книга", "город", "вечер", "утро"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Run()


def in_russian(run, share):
    """Makes this share of the replies, and of the prompts, Russian."""
    run.make = lambda epoch, post: (
        " ".join(run.random.choice(RUSSIAN, 8)) if run.posts.index(post) < share * PROMPTS else run.sentence(8)
    )


def test_genericness_of_another_script_is_not_measured_and_the_check_says_that_it_was_not_made(run):
    run.lively = [0.4, 0.5, 0.6]
    in_russian(run, 1.0)
    run.write()
    write_pairs(paths.PHASES / "phase2_grpo.jsonl", [
        Pair(f"h{i}", f"c{i}", "привет", f"{' '.join(run.random.choice(RUSSIAN, 8))} {mood}", 1.0, "")
        for i, mood in enumerate(["lively", "dull"] * 8)
    ])  # fmt: skip
    verdict = run.verdict()
    check = check_of(verdict, "genericness")
    assert (check["value"], check["human"], check["verdict"]) == (None, None, "not made")
    assert check["note"] == "Not defined for this language: the check was not made."
    assert verdict["human"]["genericness"] is None
    assert "every check passed (genericness: not made, not defined for this language)" in verdict["text"]
    rows = list(csv.DictReader((OUT / "curve.csv").open()))
    assert {row["genericness"] for row in rows} == {""}
    assert read_verdicts([ARM], [1], paths.gaming_dir(ARM, 1).parents[1])[ARM][0]["verdict"] == "not gamed"


def test_prompts_with_replies_in_another_script_are_left_out_of_genericness_and_counted(run):
    PLANTS["genericness"](run)
    generic = run.make
    in_russian(run, 0.25)
    russian = run.make
    run.make = lambda epoch, post: russian(epoch, post) if run.posts.index(post) < PROMPTS / 4 else generic(epoch, post)
    check = check_of(run.write().verdict(), "genericness")
    assert check["verdict"] == "fail"
    assert check["note"] == "4 prompts are left out: of a reply in its script it is not defined for this language."
    rows = read_rollouts(ROLLOUTS)
    kept = [i for i, name in enumerate(rows.ids) if name not in ("p0", "p1", "p2", "p3")]
    values = [np.mean([1 - genericness(rows.replies[i])]) for i in kept]
    assert check["value"] == pytest.approx(np.mean(values[-12:]) - np.mean(values[:12]))
