"""Cost: seconds are summed, priced, and never invented."""

from dataclasses import replace

from polychrome.reporting.page.cost import cost_of, expected_runs
from tests.reporting.page.elements import parse


def cost(inputs, seconds):
    timings = {run: {"stage": run, "seconds": value, "machine": "x"} for run, value in seconds.items()}
    return cost_of(replace(inputs, timings=timings))


def lines(found):
    return {line["stage"]: (line["runs"], line["of"], line["seconds"]) for line in found["lines"]}


def test_every_run_of_the_pipeline_is_expected_once(inputs):
    runs = {stage: own for (stage, _), own in expected_runs(inputs).items()}
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


def test_seconds_are_summed_by_stage(inputs):
    found = cost(inputs, {"grpo grpo_from_baseline 42": 1800.0, "grpo grpo_from_polychromic 42": 1800.0, "split": 36.0})
    assert lines(found)["grpo"] == (2, 6, 3600.0)
    assert found["seconds"] == 3636.0


def test_what_was_not_timed_is_named_and_not_counted(inputs):
    found = cost(inputs, {"split": 36.0, "sft old_arm 7": 9.0, "report": 5.0})
    assert "assets" in found["untimed"]
    assert len(found["untimed"]) == 83
    assert found["others"] == ["sft old_arm 7"]
    assert found["seconds"] == 36.0
    assert lines(found)["compare"] == (0, 1, 0.0)


def test_the_page_says_what_is_missing_and_shows_no_zero_for_it(inputs, text_of):
    timing = {"seconds": 3636.0, "machine": "x86_64", "threads": 2, "dtype": "float32"}
    section = parse(text_of(inputs, {"split": timing})).one("cost")
    assert "1 h 00 min of machine time, 0.40 EUR at 0.4 EUR per hour, as far as it was timed." in section.text
    rows = {row.all("th")[0].text.split()[0]: [cell.text for cell in row.all("td")] for row in section.all("tr")[1:-1]}
    assert rows["split"] == ["1 of 1", "1 h 00 min", "0.404"]
    assert rows["compare"] == ["0 of 1", "not timed", "\u2013"]
    assert "No timing is here of 83 runs" in section.text
    assert "Timed on: x86_64, float32, 2 threads." in section.text
    assert "Times were left out." in parse(text_of(inputs, None)).one("cost").text
