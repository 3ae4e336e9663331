"""Inputs: read whole, or every file that is missing or damaged is named, and a field that is asked for in vain."""

import pytest

from polychrome.errors import InputError
from polychrome.reporting.page import write_report
from polychrome.reporting.page.inputs import read_inputs
from tests.reported import places
from tests.reporting.page.conftest import PRICE
from tests.reporting.page.tree import GRPO, POSTS, RUN, edit

ASKED = "results/gaming/grpo_from_baseline/seed-42"
REPLIES = "results/evaluation/baseline/seed-42/replies.jsonl"


def wheres(tree, act=read_inputs, **more):
    return {where.removeprefix(f"{tree}/") for where in places(act, tree, **(RUN | more))}


def test_further_arms_that_were_put_to_the_question_are_read_too(tree):
    (tree / "results/gaming/control_beta_0").mkdir()
    (tree / ASKED).rename(tree / "results/gaming/control_beta_0/seed-42")
    assert wheres(tree) == {f"{ASKED}/{name}" for name in ("verdict.json", "curve.csv", "gaps.jsonl")}
    assert list(read_inputs(tree, **(RUN | {"seeds": (123, 456)})).gaming) == [*GRPO, "control_beta_0"]


def test_all_that_is_missing_or_damaged_is_reported_at_once_and_no_page_is_written(tree):
    gone = {f"results/{name}" for name in ("comparison.json", "pass_at_k.csv", "reward.json")}
    gone |= {REPLIES.replace("42", "123"), f"{ASKED}/verdict.json", "data/prepared/cleaning_report.json"}
    for name in gone:
        (tree / name).unlink()
    (tree / ".timings/compare.json").write_text("{")
    (tree / "results/judge.json").write_text("[]")
    with (tree / REPLIES).open("a") as file:
        file.write("not json\n")
    plane = tree / "results/plane.csv"
    lines = plane.read_text().splitlines()
    lines[1] = lines[1].replace(",0.", ",none", 1)
    plane.write_text("\n".join(lines))
    for curve in (tree / "results/training/baseline/seed-42/plots/metrics/train").iterdir():
        curve.unlink()
    damaged = {".timings/compare.json:1", "results/judge.json", "results/training/baseline/seed-42"}
    damaged |= {f"{REPLIES}:{POSTS + 1}", f"results/plane.csv:2:{lines[0].split(',')[1]}"}
    assert wheres(tree, write_report, settings=PRICE) == gone | damaged
    assert not (tree / "results/report.html").exists()


@pytest.mark.parametrize(
    ("name", "change", "where"),
    [
        ("results/judge.json", lambda value: value.pop("verdict"), "verdict"),
        ("results/comparison.json", lambda value: value["questions"][1]["contrasts"][0].pop("a"), "questions[1]"),
        ("results/comparison.json", lambda value: value["models"].pop("polychromic"), "models:polychromic"),
        (f"{ASKED}/verdict.json", lambda value: value.pop("text"), "text"),
        (REPLIES, lambda rows: rows[1]["replies"][2].pop("engagement"), "2:replies[2]:engagement"),
    ],
)
def test_a_file_that_lacks_a_field_is_an_error_that_names_both(tree, text_of, name, change, where):
    edit(tree / name, change)
    with pytest.raises(InputError, match=r"no such field") as caught:
        text_of(tree)
    assert f"{name}:{where}" in caught.value.problems[0].where


def test_a_curve_may_lack_an_interval_but_not_a_value(tree):
    path = tree / ASKED / "curve.csv"
    head, first, *others = path.read_text().splitlines()
    cells = dict(zip(head.split(","), first.split(","), strict=True))
    for gone in ("proxy_low", "proxy"):
        cells[gone] = ""
        path.write_text("\n".join([head, ",".join(cells.values()), *others]))
        if gone == "proxy_low":
            assert read_inputs(tree, **RUN).gaming["grpo_from_baseline"][42]["curve"][0][gone] is None
    assert wheres(tree) == {f"{ASKED}/curve.csv:2:proxy"}


def test_optional_parts_may_be_absent_but_not_damaged(tree):
    (tree / "results/controls/aa.json").write_text("{")
    assert wheres(tree) == {"results/controls/aa.json:1"}
    (tree / "results/controls/aa.json").unlink()
    for name in ("controls/overoptimisation.csv", "frontier/frontier.json"):
        (tree / "results" / name).unlink()
    found = read_inputs(tree, **RUN)
    assert (found.controls.keys(), found.betas, found.frontier) == ({"controls"}, (), None)
