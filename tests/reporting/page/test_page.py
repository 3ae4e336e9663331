"""The page: everything is in it, nothing else is, and what models wrote stays text."""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import pytest

from polychrome.errors import InputError
from polychrome.files import read_json
from polychrome.reporting.names import model_colour, model_name
from polychrome.reporting.page import view, write_report
from polychrome.reporting.page.answers import PREDICTED
from tests.reporting.page.conftest import PRICE
from tests.reporting.page.elements import parse
from tests.reporting.page.tree import GRPO, HOSTILE, MODELS, ROOT, RUN, edit

SECTIONS = {"answers", "table", "criteria", "pass", "plane", "replies", "failures", "training", "gaming", "reward"}


@pytest.fixture(scope="module")
def document(page):
    return parse(page.read_text(encoding="utf-8"))


def test_it_is_small_fetches_nothing_and_every_reference_has_its_target(page, document):
    assert page.stat().st_size < 2_500_000
    ids = [e.attributes["id"] for e in document if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    for element in document:
        for name in ("src", "href", "xlink:href", "action", "srcset", "poster"):
            target = element.attributes.get(name, "data:,")
            assert target == "data:," or (target[0] == "#" and target[1:] in ids), (element.tag, target)
        assert element.attributes.get("aria-labelledby", ids[0]) in ids
    style = "".join(element.text for element in document.all("style"))
    assert not re.search(r"@import|url\((?!#)", style)


def test_its_policy_lets_its_own_script_run_and_nothing_else(document):
    (policy,) = document.all("meta", **{"http-equiv": "Content-Security-Policy"})
    rules = dict(rule.strip().split(" ", 1) for rule in policy.attributes["content"].split(";"))
    (script,) = [e for e in document.all("script") if "type" not in e.attributes]
    digest = base64.b64encode(hashlib.sha256("".join(script.children).encode()).digest()).decode()
    assert rules["script-src"] == f"'sha256-{digest}'"
    assert rules["default-src"] == "'none'"


def test_headings_tables_and_drawings_say_what_they_are_to_who_does_not_see_them(document):
    levels = [int(e.tag[1]) for e in document if re.fullmatch("h[1-6]", e.tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert all(table.all("caption") and table.all("th", scope="col") for table in document.all("table"))
    scrolling = [e for e in document if e.attributes.get("class", "").split()[:1] == ["scroll"]]
    assert all(e.attributes["tabindex"] == "0" and e.attributes["aria-label"] for e in scrolling)  # by keyboard, too
    assert all(len(e.attributes["aria-label"]) > 20 for e in document.all("svg") if e.attributes["role"] == "img")
    assert {e.attributes["id"] for e in document.all("section") if "id" in e.attributes} >= SECTIONS


def test_no_stand_in_colour_is_left_and_every_model_has_the_colour_of_the_figures(page, document):
    assert not re.search(r"#0[12]0[134][0-9a-f]{2}\b", page.read_text(encoding="utf-8"))
    style = document.all("style")[0].text
    assert all(f"--mark-{place}:{model_colour(model).lower()};" in style for place, model in enumerate(MODELS))


_RENDER = """
import sys
from dataclasses import replace
from polychrome.reporting.page import read_inputs, render
from tests.reporting.page.conftest import PRICE
from tests.reporting.page.tree import RUN
sys.stdout.write(render(replace(read_inputs(sys.argv[1], **RUN), timings={}), PRICE))
"""


def test_the_same_results_give_the_same_bytes_in_another_process_but_for_clocks_in_one_element(run, page):
    environment = os.environ | {"PYTHONHASHSEED": "77", "MPLBACKEND": "svg"}
    command = [sys.executable, "-c", _RENDER, str(run)]
    again = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True).stdout.decode()
    whole = page.read_text(encoding="utf-8")
    cost = re.compile(r'<section id="cost".*?</section>', re.S)
    assert cost.sub("", whole) == cost.sub("", again)
    assert whole != again


def test_a_reply_that_is_markup_stays_text_wherever_it_stands(document):
    assert not document.all("img")
    assert len(document.all("script")) == 3
    packed = json.loads("".join(document.one("packed").children))
    assert packed["posts"][0][3][0][0][0][0] == HOSTILE
    assert " ".join(HOSTILE.split()) in [e.text for e in document.one("gaming").all("p", **{"class": "reply"})]


def test_posts_arms_and_sentences_of_the_files_stay_text_too(tree, text_of):
    edit(tree / "results/comparison.json", lambda value: value["questions"][0].update(question="<script>1</script>"))
    gaps = tree / "results/gaming/grpo_from_baseline/seed-42/gaps.jsonl"
    edit(gaps, lambda rows: rows[1].update(post="<i>", reply="{{x}}<svg/>", gap=9))
    document = parse(text_of(tree))
    assert document.one("q1").all("h3")[0].text == "Q1 <script>1</script>"
    assert document.one("gaming").all("p", **{"class": "reply"})[0].text == "{{x}}<svg/>"


def test_each_question_is_answered_with_an_interval(run, document):
    for question in read_json(run / "results/comparison.json")["questions"]:
        sentence = document.one(question["id"].lower()).all("p")[-1].text
        assert sentence.endswith(".")
        assert "also differs" not in sentence
        assert re.search(r"95% interval [+-][\d.]+ to [+-][\d.]+, Holm-corrected p [=<]", sentence)


def test_the_predicted_table_is_the_seeds_and_says_so(run, document):
    predicted, measured = document.one("table").all("table")[:2]
    assert predicted.all("caption")[0].text.startswith("Predicted")
    assert measured.all("caption")[0].text.startswith("Measured")
    expected = {model_name(model): [f"{v:.2f}" for v in values.values()] for model, values in PREDICTED.items()}
    assert predicted.rows() == expected
    found = read_json(run / "results/comparison.json")["models"]["baseline"]["pass_at_1"]
    assert measured.rows()["baseline"][0] == f"{found['mean']:.3f} {found['low']:.3f} to {found['high']:.3f}"


def test_pass_at_k_in_numbers_is_the_comparisons(run, document):
    (table,) = document.one("pass").all("table")
    assert [e.text for e in table.all("th", scope="col")] == ["model", "k = 1", "k = 5", "k = 10"]
    found = read_json(run / "results/comparison.json")["models"]["polychromic"]
    means = [cell.split()[0] for cell in table.rows()["polychromic"]]
    assert means == [f"{found[f'pass_at_{k}']['mean']:.3f}" for k in (1, 5, 10)]


def test_criteria_are_a_checklist_with_their_evidence(tree, text_of):
    every = [
        {"level": "must", "verdict": "pass", "value": 0.025, "threshold": 0.0, "low": -0.075, "high": 0.15},
        {"level": "must", "verdict": "fail", "value": 0.0601, "threshold": 0.3},
        {"level": "should", "verdict": "fail", "value": None, "threshold": 0.3},
    ]
    every = [row | {"text": "One.", "note": "Zero.", "comparison": ">=", "name": "n"} for row in every]
    edit(tree / "results/success_criteria.json", lambda value: value.update(criteria=every))
    section = parse(text_of(tree)).one("criteria")
    assert [e.text for e in section.all("h3")] == ["Must 1 of 2", "Should 0 of 1"]
    first, second, third = (item.text for item in section.all("li"))
    assert first.startswith("\u2713met")
    assert "measured 0.025 (interval \u22120.075 to 0.150), to be \u2265 0. Zero." in first
    assert second.startswith("\u2715not met")
    assert "undefined" in third


def test_the_gaming_verdict_of_every_run_is_there_and_one_that_is_not_settled_says_so(document):
    gaming = document.one("gaming")
    verdicts = [e.text for e in gaming.all("span") if e.attributes.get("class", "").startswith("tag")]
    assert verdicts == ["not gamed", "gamed", "not gamed, not settled", *["not gamed"] * 2, "not gamed, not settled"]
    assert len(gaming.all("ol")[0].all("li")) == 10
    assert all(len(document.one(f"figure-gaming-{arm}").all("svg")) == 2 for arm in GRPO)  # for a desktop, for a phone


def test_failures_of_every_model_and_of_people_are_counted_by_kind(document):
    table = document.one("failures").all("table")[0]
    assert [e.text for e in table.all("th", scope="col")][1:3] == ["copied", "generic"]
    assert table.rows().keys() == {*map(model_name, MODELS), "human"}
    assert table.rows()["human"] == ["0%", "5.0%", *["0%"] * 4]


def test_optional_parts_are_shown_when_they_were_made_and_a_word_says_when_not(inputs, text_of, document):
    assert read_json(ROOT / "results/controls/controls.json")["text"] in document.one("controls").text
    assert "win rate 0.52" in document.one("controls").text
    without = parse(text_of(replace(inputs, controls={}, betas=(), llm_judge={}, frontier=None)))
    assert [e for e in without if e.attributes.get("id") == "frontier" or "#frontier" in e.attributes.values()] == []
    told = without.one("controls").text
    assert "The controls were not run" in told
    assert "It was not asked" in told


def test_an_arm_stands_against_decoding_alone_in_a_sentence_and_every_difference(inputs, document):
    section, found = document.one("frontier"), inputs.frontier
    assert found["arms"][0]["sentence"].startswith("At equal Pass@1, polychromic beats sampling baseline hotter")
    assert found["arms"][0]["sentence"] in section.text
    assert len(section.all("svg")) == 2  # wide and narrow
    (table,) = section.all("table")
    assert len(table.all("tr")) == 1 + len(found["contrasts"]) == 7
    words = [e.attributes["data-words"] for e in section.all("svg")[0] if "data-words" in e.attributes]
    assert any(said.startswith("baseline, min-p, temperature 1.4: semantic diversity 0.8") for said in words)


def test_a_run_of_other_arms_is_shown_without_what_was_predicted_of_ours(tree):
    for path in [p for p in tree.rglob("*") if p.is_file() and p.suffix in (".json", ".csv")]:
        path.write_text(re.sub(r"\b(grpo_from_)?(baseline|polychromic)\b", r"\1our_\2", path.read_text()))
    for path in [p for p in sorted(tree.rglob("*"), reverse=True) if p.name in PREDICTED and p.is_dir()]:
        path.rename(path.with_name(re.sub("(baseline|polychromic)", r"our_\1", path.name)))
    models = tuple(re.sub(r"(baseline|polychromic)$", r"our_\1", model) for model in MODELS)
    text = write_report(tree, **(RUN | {"models": models}), settings=PRICE).read_text()
    assert "grpo from our baseline" in text
    assert "Before anything had run" not in text
    assert len(parse(text).one("table").all("table")) == 1


def test_a_page_above_the_limit_is_reported_not_written(inputs, text_of, monkeypatch):
    monkeypatch.setattr(view, "LIMIT", 10_000)
    with pytest.raises(InputError, match=r"the report: found \d+ bytes; expected less than 10000"):
        text_of(inputs)


def test_what_asks_for_care_stands_above_with_the_replies_that_the_judge_likes(tree, text_of):
    replies = [{"post": "a post", "text": HOSTILE, "engagement": 0.9}] * 10
    said = "zero_shot, untouched, passes more often (0.610) than every fine-tuned model (at most 0.5, baseline)."
    change = {"warnings": {"sentences": [said], "replies": replies}}
    edit(tree / "results/comparison.json", lambda value: value.update(change))
    (answers,) = [e for e in parse(text_of(tree)) if e.attributes.get("id") == "answers"]
    assert said.replace("zero_shot", "zero-shot") in answers.text
    assert len(answers.all("li")) == 10
    assert not answers.all("img")


def test_the_judge_says_how_it_orders_replies_and_what_of_its_ceiling_it_reaches(tree, text_of):
    name = "pairwise_accuracy_within_person"
    change = {name: 0.53, f"{name}_low": 0.512, f"{name}_high": 0.549, "ceiling": {"share_reached": 0.583}}
    edit(tree / "results/judge.json", lambda value: value.update(change))
    (section,) = [e for e in parse(text_of(tree)) if e.attributes.get("id") == "reward"]
    (said,) = [e for e in section.all("div") if "neighbouring turns of one person" in e.text]
    assert "53% of the time" in said.text
    assert "0.512 to 0.549" in said.text
    assert "share reached 0.583" in section.text
