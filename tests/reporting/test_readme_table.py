"""The README says what the result files say, and nothing else in it moves."""

import json

import pytest

from polychrome.errors import InputError
from polychrome.reporting.readme_table import BEGIN, COLUMNS, END, main, narrowed, refresh

QUESTIONS = [
    {"id": "Q1", "question": "Is it better?", "verdict": "Yes, by 0.04 [0.01, 0.07]."},
    {"id": "Q2", "question": "Is it more varied?", "verdict": "No difference was found."},
]
CRITERIA = [
    {"level": "must", "text": "Pass@10 gain", "comparison": ">", "threshold": 0.0, "value": 0.04321, "verdict": "pass"},
    {"level": "should", "text": "a | b", "comparison": ">=", "threshold": 3, "value": None, "verdict": "fail"},
]


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "table.md").write_text("| model | Pass@1 |\n| --- | --- |\n| baseline | 0.20 |\n")
    (folder / "comparison.json").write_text(json.dumps({"questions": QUESTIONS}))
    (folder / "success_criteria.json").write_text(json.dumps({"criteria": CRITERIA}))
    return folder


@pytest.fixture
def readme(tmp_path):
    path = tmp_path / "README.md"
    path.write_bytes(f"# Title\r\nbefore\n{BEGIN}\nold numbers\n{END}\nafter \u00e9\n".encode())
    return path


def test_the_old_results_make_way_for_table_answers_and_criteria(readme, results):
    refresh(readme, results)
    expected = f"""{BEGIN}

| model | Pass@1 |
| --- | --- |
| baseline | 0.20 |

- **Q1. Is it better?** Yes, by 0.04 [0.01, 0.07].
- **Q2. Is it more varied?** No difference was found.

| level | criterion | value | is | than | verdict |
| --- | --- | --- | --- | --- | --- |
| must | Pass@10 gain | 0.0432 | > | 0 | pass |
| should | a \\| b | not measured | >= | 3 | fail |

{END}"""
    assert readme.read_bytes().decode() == f"# Title\r\nbefore\n{expected}\nafter \u00e9\n"


def test_a_wide_table_is_cut_to_its_first_columns_and_says_where_the_others_are():
    names = ["model", *(f"m{i}" for i in range(1, COLUMNS + 2))]
    rows = ["| " + " | ".join(cells) + " |" for cells in (names, ["---"] * len(names), ["a [1, 2]"] * len(names))]
    told = narrowed("\n".join([*rows, "", "Mean | interval."])).split("\n")
    assert told[0] == "| " + " | ".join(names[:COLUMNS]) + " |"
    assert told[2].count("a [1, 2]") == COLUMNS
    assert told[3:] == ["", "Mean | interval.", "", "More columns: [results/table.md](results/table.md)."]


def test_a_table_that_fits_stays_as_it_is():
    table = "| model | Pass@1 |\n|---|---|\n| a | 0.2 |\n\nNote."
    assert narrowed(table) == table


def test_refreshing_twice_changes_nothing(readme, results):
    refresh(readme, results)
    once = readme.read_bytes()
    refresh(readme, results)
    assert readme.read_bytes() == once


@pytest.mark.parametrize(
    "text", ["no marks", BEGIN, END, f"{END} {BEGIN}", f"{BEGIN} {BEGIN} {END}", f"{BEGIN} {END} {END}"]
)
def test_a_readme_without_each_mark_once_in_order_is_an_error_and_stays(readme, results, text):
    readme.write_text(text)
    with pytest.raises(InputError, match=r"README\.md: found"):
        refresh(readme, results)
    assert readme.read_text() == text


@pytest.mark.parametrize("name", ["table.md", "comparison.json", "success_criteria.json"])
def test_a_missing_result_is_an_error_and_the_readme_stays(readme, results, name):
    (results / name).unlink()
    old = readme.read_bytes()
    with pytest.raises(InputError, match=f"{name}: found no such file"):
        refresh(readme, results)
    assert readme.read_bytes() == old


def test_every_missing_field_is_told(readme, results):
    (results / "comparison.json").write_text(json.dumps({"questions": [{"id": "Q1"}, QUESTIONS[1]]}))
    with pytest.raises(InputError) as caught:
        refresh(readme, results)
    wheres = [problem.where.rsplit(":", 1)[1] for problem in caught.value.problems]
    assert wheres == ["questions[0].question", "questions[0].verdict"]


def test_an_empty_list_of_criteria_is_an_error(readme, results):
    (results / "success_criteria.json").write_text(json.dumps({"criteria": []}))
    with pytest.raises(InputError, match=r"success_criteria.json:criteria: found \[\]"):
        refresh(readme, results)


def test_the_command_refreshes_and_says_so_or_fails_with_the_reason(readme, results, capsys):
    assert main([str(readme), str(results)]) == 0
    assert "Pass@10 gain" in readme.read_text()
    (results / "table.md").unlink()
    assert main([str(readme), str(results)]) == 1
    assert "table.md: found no such file" in capsys.readouterr().err
