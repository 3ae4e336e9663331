"""The gaming verdicts of several rewards side by side: kept as they are; all that is missing is reported."""

import json

from polychrome.audit.controls.rewards import KEPT, rewards
from polychrome.files import write_json
from tests.reported import reported


def verdict(folder, **changes):
    value = dict.fromkeys(KEPT, "x") | {"checks": [{"name": "copy_rate", "verdict": "fail"}]} | changes
    write_json(folder / "verdict.json", value)
    return folder


def test_each_run_keeps_its_verdict_and_the_checks_that_failed(tmp_path):
    runs = [
        ("a", "hybrid", verdict(tmp_path / "a", verdict="gamed")),
        ("b", "learned", verdict(tmp_path / "b", checks=[{"name": "judge", "verdict": "pass"}])),
    ]
    found = rewards(runs, tmp_path / "out.json")
    assert [(run["arm"], run["reward"], run["failed_checks"]) for run in found["runs"]] == [
        ("a", "hybrid", ["copy_rate"]),
        ("b", "learned", []),
    ]
    assert found["runs"][0]["verdict"] == "gamed"
    assert json.loads((tmp_path / "out.json").read_text()) == found


def test_every_missing_verdict_or_field_is_reported_and_nothing_is_written(tmp_path):
    write_json(tmp_path / "b" / "verdict.json", {"verdict": "gamed"})
    runs = [("a", "hybrid", tmp_path / "a"), ("b", "learned", tmp_path / "b")]
    assert len(reported(rewards, runs, tmp_path / "out.json")) == 2
    assert not (tmp_path / "out.json").exists()
