"""Cost: seconds are summed, priced, and never invented."""

from dataclasses import replace

import pytest

from polychrome.reporting.page.cost import cost_of, expected_runs
from tests.reporting.page.elements import parse


def test_every_run_of_the_pipeline_is_expected_once(inputs):
    runs = expected_runs(inputs)
    assert runs["sft"][0] == "sft baseline_warmstart 42"
    once = dict.fromkeys(("assets", "prepare", "split", "judge", "reward", "compare"), 1)
    often = {"untouched": 6, "sft": 12, "grpo": 6, "generate": 24, "evaluate": 24, "gaming": 6}
    assert {stage: len(own) for stage, own in runs.items()} == once | often


@pytest.fixture
def timed(inputs):
    """Inputs with these clocks alone."""
    seconds = {"grpo grpo_from_baseline 42": 1800.0, "grpo grpo_from_polychromic 42": 1800.0, "split": 36.0}
    seconds |= {"sft old_arm 7": 9.0, "report": 5.0}
    about = {"machine": "x86_64", "threads": 2, "dtype": "float32"}
    return replace(inputs, timings={run: {"seconds": value} | about for run, value in seconds.items()})


def test_seconds_are_summed_by_stage_and_what_was_not_timed_is_named_and_not_counted(timed):
    found = cost_of(timed)
    lines = {line["stage"]: (line["runs"], line["of"], line["seconds"]) for line in found["lines"]}
    assert (lines["grpo"], lines["compare"]) == ((2, 6, 3600.0), (0, 1, 0.0))
    assert found["seconds"] == 3636.0
    assert "assets" in found["untimed"]
    assert len(found["untimed"]) == 81
    assert found["others"] == ["sft old_arm 7"]


def test_the_page_says_what_is_missing_and_shows_no_zero_for_it(timed, text_of):
    section = parse(text_of(timed)).one("cost")
    assert "1 h 00 min of machine time, 0.40 EUR at 0.4 EUR per hour, as far as it was timed." in section.text
    rows = {name.split()[0]: cells for name, cells in section.rows().items()}
    assert rows["split"] == ["1 of 1", "36 s", "0.004"]
    assert rows["compare"] == ["0 of 1", "not timed", "\u2013"]
    assert "No timing is here of 81 runs" in section.text
    assert "Timed on: x86_64, float32, 2 threads." in section.text
