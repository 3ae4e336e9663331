"""The harness: sides take turns, the warm-up does not count, ratios pair what was timed together, the JSON is whole."""

import json
import os
import platform
import socket
from itertools import count
from types import SimpleNamespace

import pytest
import torch

from benchmarks import harness
from benchmarks.harness import Memory, Report, Spread, Target


class Clock:
    """A clock that moves only when a step says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now

    def step(self, *seconds: float):
        """A step that takes the next of ``seconds`` at each call."""
        left = iter(seconds)
        return lambda: setattr(self, "now", self.now + next(left))


def test_sides_run_in_turn_and_the_warm_up_is_among_them_and_not_counted():
    clock, order = Clock(), []
    sides = {"a": clock.step(100.0, 1.0, 2.0), "b": clock.step(200.0, 3.0, 5.0)}
    watched = {name: lambda name=name, step=step: (order.append(name), step()) for name, step in sides.items()}
    assert harness.in_turn(watched, runs=2, warmup=1, clock=clock) == {"a": [1.0, 2.0], "b": [3.0, 5.0]}
    assert "".join(order) == "ababab"


def test_the_ratio_is_that_of_the_medians_and_its_range_that_of_rounds():
    assert harness.ratio([8.0, 10.0, 30.0], [4.0, 2.0, 10.0]) == Spread(median=10 / 4, low=2.0, high=5.0)
    with pytest.raises(ValueError, match="shorter"):
        harness.ratio([1.0, 2.0], [1.0])


def test_the_fastest_is_chosen_without_its_first_step():
    clock = Clock()
    sides = {"slow start": clock.step(100.0, 1.0), "slow": clock.step(1.0, 2.0)}
    assert harness.fastest(sides, clock=clock) == ("slow start", {"slow start": 1.0, "slow": 2.0})


def test_a_target_is_met_on_its_own_side():
    values = [(6.0, True), (8.0, True), (4.9, True), (6.0, False)]
    targets = [Target("speed", value, floor=5, aim=8, at_least=at_least) for value, at_least in values]
    met = [(target.met(5), target.met(8)) for target in targets]
    assert met == [(True, False), (True, True), (False, False), (False, True)]


@pytest.fixture
def report() -> Report:
    found = Report("example", "s", 2, {"posts": 4}, {"ours": [1.0, 3.0, 2.0], "peer": [10.0, 12.0, 11.0]})
    found.memory = {"ours": Memory(loaded=100.0, peak=150.00001)}  # written at five digits
    found.ratios = {"peer / ours": harness.ratio(found.measured["peer"], found.measured["ours"])}
    found.targets = [Target("times as fast", 5.5, floor=5, aim=8), Target("memory", 0.6, 0.7, 0.5, at_least=False)]
    return found


def test_the_json_has_every_value_the_ratios_the_memory_and_which_targets_are_met(report, tmp_path, capsys):
    written = json.loads(report.finish(tmp_path).read_text())
    assert (tmp_path / "example.json").is_file()
    assert written["measured"]["ours"] == {"values": [1.0, 3.0, 2.0], "median": 2.0, "low": 1.0, "high": 3.0}
    assert written["memory_mib"] == {"ours": {"loaded": 100.0, "peak": 150.0, "growth": 50.0}}
    assert written["ratios"]["peer / ours"] == {"median": 5.5, "low": 4.0, "high": 10.0}
    assert [(t["floor_met"], t["aim_met"]) for t in written["targets"]] == [(True, False), (True, False)]
    assert written["setting"] == {"posts": 4}
    assert written["machine"]["threads"] == 2


def test_the_table_names_sides_ratios_and_targets_in_aligned_columns(report):
    text = report.as_text()
    rows = {line.split("  ")[0]: line.split() for line in text.splitlines() if line}
    assert rows["ours"][1:] == ["2", "1", "3", "150", "50"]
    assert rows["peer"][1:] == ["11", "10", "12", "-", "-"]
    assert rows["peer / ours"][3:] == ["5.5", "4", "10"]
    assert rows["memory"][1:] == ["0.6", "<=", "0.7", "yes", "<=", "0.5", "no"]
    assert all(len({len(line) for line in table.splitlines()}) == 1 for table in text.split("\n\n"))


def test_the_machine_is_described_without_naming_it_by_what_speed_depends_on(monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=2")
    monkeypatch.setenv("SOMETHING_ELSE", "secret")
    described = harness.machine(2)
    assert described["packages"]["torch"] == torch.__version__
    assert described["cores"] >= 1
    assert set(described["flags"]) <= set(harness.FLAGS)
    assert described["environment"]["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=2"
    assert set(described["environment"]) <= set(harness.ENVIRONMENT)
    text = json.dumps(described)
    assert "/" not in text  # no path
    assert all(name not in text for name in (socket.gethostname(), platform.node()) if name)


def test_memory_is_measured_in_a_process_without_a_pool_whose_pages_are_not_counted(monkeypatch):
    with pytest.raises(RuntimeError, match="No module named benchmarks"):
        harness.memory_of("benchmarks.nothing", "ours", [])

    def run(command, env, **_):
        assert "GLIBC_TUNABLES" not in env
        assert env["PATH"] == os.environ["PATH"]
        return SimpleNamespace(returncode=0, stdout='{"loaded": 1.0, "peak": 2.0}')

    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=2")
    monkeypatch.setattr(harness.subprocess, "run", run)
    assert harness.memory_of("module", "side", []).peak == 2.0


def test_memory_is_reported_in_mib_as_of_loading_and_at_its_peak(monkeypatch, capsys):
    most, now = harness.resident("VmHWM"), harness.resident("VmRSS")
    assert 10 < now < 100_000  # Python and PyTorch take hundreds
    assert most >= 0.9 * now
    with pytest.raises(RuntimeError, match="VmNothing"):
        harness.resident("VmNothing")
    held, steps = iter([100.0, 175.0]), count()
    monkeypatch.setattr(harness, "resident", lambda name: next(held))
    harness.tell_memory(lambda: "model", lambda model: next(steps))
    assert json.loads(capsys.readouterr().out) == {"loaded": 100.0, "peak": 175.0}
    assert next(steps) == 1
