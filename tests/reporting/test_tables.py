"""README.md and docs/results.md say what the result files say, and nothing else in the README moves."""

import json
import shutil
import subprocess

import pytest

from polychrome.errors import InputError
from polychrome.files import read_json
from polychrome.frontier.comparing import compare
from polychrome.reporting.names import model_name
from polychrome.reporting.tables import BEGIN, END, KEPT_LINKS, in_words, main, refresh
from tests.frontier.made import params_of, write_model
from tests.reporting.page.tree import ROOT, edit

README = f"# Title\r\nbefore\n{BEGIN}\nold numbers\n{END}\nafter \u00e9\n"


@pytest.fixture
def place(tmp_path):
    """A README and the committed results beside it."""
    for file in [*(ROOT / "results").glob("*.*"), *(ROOT / "results/controls").glob("*.json")]:
        if file.suffix != ".html":
            (tmp_path / file.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, tmp_path / file.relative_to(ROOT))
    (tmp_path / "README.md").write_bytes(README.encode())
    return tmp_path


def refreshed(place):
    refresh(place)
    return (place / "README.md").read_bytes().decode(), (place / "docs/results.md").read_text()


def test_what_is_committed_is_what_the_committed_files_say(place):
    changed = ["git", "diff", "--quiet", "HEAD", "--", "results"]
    if subprocess.run(changed, cwd=ROOT, capture_output=True, check=False).returncode:
        pytest.skip("results/ is another run than the committed one, or this is no clone")
    shutil.copy(ROOT / "README.md", place)
    committed = (ROOT / "README.md").read_bytes().decode(), (ROOT / "docs/results.md").read_text()
    assert refreshed(place) == committed, "run `python -m polychrome.reporting.tables`"


def test_a_run_that_is_kept_has_a_page_in_words_of_its_own_files_and_its_links_lead_there(place, capsys):
    kept = place / "results/kept"
    kept.mkdir()
    for file in (place / "results").glob("*.*"):
        shutil.copy(file, kept)
    assert main([str(kept)]) == 0
    page = (kept / "README.md").read_text()
    assert "](../../docs/metrics.md)" in page
    assert "](report.html)" in page
    assert (place / "README.md").read_bytes().decode() == README
    assert f"{kept}/README.md" in capsys.readouterr().out


@pytest.mark.parametrize("page", sorted((ROOT / "results").glob("*/README.md")), ids=lambda page: page.parent.name)
def test_a_committed_run_is_what_its_files_say(page):
    assert in_words(page.parent, KEPT_LINKS)[0] == page.read_text(), "run `make keep`"


def test_the_readme_has_one_table_of_at_most_seven_columns_and_keeps_the_rest_to_the_byte(place):
    readme, _ = refreshed(place)
    assert readme.startswith(f"# Title\r\nbefore\n{BEGIN}\n\n| model | Pass@1 | Pass@10 |")
    assert readme.endswith(f"(docs/results.md).\n\n{END}\nafter \u00e9\n")
    rows = [line for line in readme.split("\n") if line.startswith("|")]
    (columns,) = {row.count("|") - 1 for row in rows}
    assert 5 <= columns <= 7
    found = read_json(place / "results/comparison.json")["models"]["grpo_from_baseline"]["pass_at_10"]
    (row,) = [row for row in rows if row.startswith("| baseline \u2192 GRPO |")]
    assert f"| {found['mean']:.3f} [{found['low']:.3f}, {found['high']:.3f}] |" in row
    assert refreshed(place)[0] == readme


def test_the_page_holds_every_model_contrast_criterion_and_control(place):
    _, page = refreshed(place)
    comparison = read_json(place / "results/comparison.json")
    assert all(f"\n| {model_name(model)} | " in page for model in comparison["models"])
    contrasts = [one for question in comparison["questions"] for one in question["contrasts"]]
    assert page.count(" against ") > len(contrasts)
    assert all(f"{abs(one['difference']):.3f}" in page and f"{one['detectable']:.3g}" in page for one in contrasts)
    for name in ("success_criteria.json", "controls/controls.json"):
        (rows,) = [value for value in read_json(place / "results" / name).values() if isinstance(value, list)]
        assert sum(page.count(f"| {verdict} |\n") for verdict in {row["verdict"] for row in rows}) >= len(rows)
    assert f"{read_json(place / 'results/reward.json')['spearman']:.3f}" in page
    assert "Not gamed: the proxy changed by" in page


def test_what_is_not_defined_is_a_dash_and_controls_that_were_not_run_are_said_so(place):
    rows = [{"level": "must", "text": "a | b", "comparison": ">=", "threshold": 3, "value": None, "verdict": "fail"}]
    edit(place / "results/success_criteria.json", lambda value: value.update(criteria=rows))
    undefined = {"a": "polychromic", "b": "baseline", "metric": "rouge_l", "undefined": "fewer than two posts"}
    edit(place / "results/comparison.json", lambda value: value["questions"][0].update(contrasts=[undefined]))
    shutil.rmtree(place / "results/controls")
    _, page = refreshed(place)
    assert "| must | a \\| b | - | >= | 3 | fail |" in page
    assert "| polychromic against baseline | ROUGE-L | fewer than two posts | - | - |" in page
    assert "The controls were not run." in page


def test_what_decoding_alone_reaches_is_told_where_it_was_measured(place):
    readme, page = refreshed(place)
    assert "decoding alone" not in readme + page
    for seed in (1, 2):
        write_model(place / "results/frontier", "baseline", seed, alone=True)
        write_model(place / "results/frontier", "grpo_from_baseline", seed, varied=0.3)
    found = compare(params_of(("baseline", "grpo_from_baseline"), (1, 2)), place / "results/frontier")
    readme, page = refreshed(place)
    assert "at its quality: beats: baseline \u2192 GRPO." in readme
    sentence = found["arms"][0]["sentence"].replace("grpo_from_baseline", "baseline \u2192 GRPO")
    assert f"- {sentence}\n" in page
    assert page.count("| baseline \u2192 GRPO | min-p | semantic diversity | ") == 1


@pytest.mark.parametrize(
    "text", ["no marks", BEGIN, END, f"{END} {BEGIN}", f"{BEGIN} {BEGIN} {END}", f"{BEGIN} {END} {END}"]
)
def test_a_readme_without_each_mark_once_in_order_is_an_error_and_stays(place, text):
    (place / "README.md").write_text(text)
    with pytest.raises(InputError, match=r"README\.md: found"):
        refreshed(place)
    assert (place / "README.md").read_text() == text
    assert not (place / "docs").exists()


def test_a_missing_file_or_field_is_an_error_and_both_files_stay(place, capsys, monkeypatch):
    monkeypatch.chdir(place)
    edit(place / "results/comparison.json", lambda value: value["questions"][0].pop("verdict"))
    assert main() == 1
    assert "comparison.json:questions[0]:verdict: found no such field" in capsys.readouterr().err
    (place / "results/comparison.json").write_text(json.dumps([]))
    (place / "results/table.md").unlink()
    assert main() == 1
    assert (place / "README.md").read_bytes().decode() == README
    assert not (place / "docs").exists()


def test_what_asks_for_care_stands_in_the_readme_and_on_the_page_with_the_names_of_models(place):
    said = "More than 10% of replies were cut at max_new_tokens: grpo_from_baseline (84%)."
    change = {"warnings": {"sentences": [said], "replies": []}}
    edit(place / "results/comparison.json", lambda value: value.update(change))
    named = said.replace("grpo_from_baseline", "baseline \u2192 GRPO")
    assert all(text.count(named) == 1 for text in refreshed(place))
