"""Cost: seconds are summed, priced, and never invented."""

import pytest

from polychrome.errors import InputError
from polychrome.reporting.page.cost import cost_of, expected_runs, read_timings
from tests.reporting.page.conftest import read
from tests.reporting.page.elements import parse
from tests.reporting.page.tree import put


@pytest.fixture
def inputs(tree):
    return read(tree)


def lines(cost):
    return {line.stage: (line.runs, line.of, line.seconds) for line in cost.lines}


def test_every_run_of_the_pipeline_is_expected_once(inputs):
    runs = expected_runs(inputs)
    assert runs["sft"][0] == "sft baseline_warmstart 42"
    assert {stage: len(own) for stage, own in runs.items()} == {
        **dict.fromkeys(("assets", "prepare", "split", "judge", "reward", "compare"), 1),
        "untouched": 6,
        "sft": 12,
        "grpo": 6,
        "generate": 24,
        "evaluate": 24,
        "gaming": 6,
    }


def test_seconds_are_summed_by_stage_and_priced_by_the_hour(inputs):
    timings = {f"grpo {arm} 42": (1800.0, "x") for arm in ("grpo_from_baseline", "grpo_from_polychromic")}
    cost = cost_of(timings | {"split": (36.0, "x")}, inputs, 0.5, "EUR")
    assert lines(cost)["grpo"] == (2, 6, 3600.0)
    assert cost.seconds == 3636.0
    assert cost.price(cost.seconds) == pytest.approx(0.505)


def test_what_was_not_timed_is_named_and_not_counted(inputs):
    cost = cost_of({"split": (36.0, "x"), "sft old_arm 7": (9.0, "x"), "report": (5.0, "x")}, inputs, 0.5, "EUR")
    assert "assets" in cost.untimed
    assert len(cost.untimed) == 83
    assert cost.others == ["sft old_arm 7"]
    assert cost.seconds == 36.0
    assert lines(cost)["compare"] == (0, 1, 0.0)


def test_the_page_says_what_is_missing_and_shows_no_zero_for_it(inputs, text_of):
    section = parse(text_of(inputs, {"split": (36.0, "x86_64, 2 threads")})).one("cost")
    assert "36 s of machine time, 0.00 EUR at 0.4 EUR an hour, as far as it was timed." in section.text
    rows = {row.all("th")[0].text.split()[0]: [cell.text for cell in row.all("td")] for row in section.all("tr")[1:-1]}
    assert rows["split"] == ["1 of 1", "36 s", "0.004"]
    assert rows["compare"] == ["0 of 1", "not timed", "\u2013"]
    assert "No timing is here of 83 runs" in section.text
    assert "Timed on: x86_64, 2 threads." in section.text


def test_no_timings_at_all_is_no_error(tmp_path):
    assert read_timings(tmp_path / "none") == {}


def test_every_damaged_timing_is_told(tmp_path):
    put(tmp_path / "a.json", {"stage": "a", "seconds": -1})
    put(tmp_path / "b.json", {"seconds": 3})
    (tmp_path / "c.json").write_text("{")
    put(tmp_path / "d.json", {"stage": "d", "seconds": 3, "dtype": "float32", "threads": 2, "machine": "x"})
    with pytest.raises(InputError) as caught:
        read_timings(tmp_path)
    assert [problem.where.rsplit("/", 1)[1] for problem in caught.value.problems] == ["a.json", "b.json", "c.json:1"]
    for name in "abc":
        (tmp_path / f"{name}.json").unlink()
    assert read_timings(tmp_path) == {"d": (3.0, "x, float32, 2 threads")}
