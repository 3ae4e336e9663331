"""Inputs: read whole, or every file that is missing or damaged is named, and a field that is asked for in vain."""

import json

import pytest

from polychrome.errors import InputError
from polychrome.reporting.page import read_inputs, write_report
from tests.reporting.page.conftest import PRICE
from tests.reporting.page.tree import GRPO, MODELS, RUN, SEEDS, edit


def wheres(tree, act=read_inputs, **more):
    with pytest.raises(InputError) as caught:
        act(tree, **(RUN | more))
    return {problem.where.removeprefix(f"{tree}/") for problem in caught.value.problems}


def test_a_whole_run_is_read(inputs):
    assert inputs.models == MODELS
    assert inputs.grpo_arms == GRPO
    assert inputs.gaming.keys() == set(GRPO)
    assert list(inputs.gaming[GRPO[0]]) == sorted(SEEDS)
    assert inputs.training["polychromic"][42].keys() == {"loss", "diversity"}
    assert inputs.training[GRPO[0]][42]["kl"][0][0] == 0
    assert inputs.timings["compare"]["seconds"] == 12.5


def test_further_arms_that_were_put_to_the_question_are_read_too(tree):
    source = tree / "results/gaming/grpo_from_baseline/seed-42"
    further = tree / "results/gaming/control_beta_0/seed-42"
    further.parent.mkdir()
    source.rename(further)
    gone = {f"results/gaming/grpo_from_baseline/seed-42/{name}" for name in ("verdict.json", "curve.csv", "gaps.jsonl")}
    assert wheres(tree) == gone
    assert list(read_inputs(tree, **(RUN | {"seeds": (123, 456)})).gaming) == [*GRPO, "control_beta_0"]


def test_all_that_is_missing_or_damaged_is_reported_at_once_and_no_page_is_written(tree):
    gone = {
        "results/comparison.json",
        "results/pass_at_k.csv",
        "results/reward.json",
        "results/evaluation/baseline/seed-123/replies.jsonl",
        "results/gaming/grpo_from_baseline/seed-42/verdict.json",
        "data/prepared/cleaning_report.json",
    }
    for name in gone:
        (tree / name).unlink()
    (tree / ".timings/compare.json").write_text("{")
    (tree / "results/judge.json").write_text("[]")
    path = tree / "results/evaluation/baseline/seed-42/replies.jsonl"
    path.write_text(path.read_text() + "not json\n")
    plane = tree / "results/plane.csv"
    plane.write_text(plane.read_text().replace("baseline,0.", "baseline,none", 1))
    for curve in (tree / "results/training/baseline/seed-42/plots/metrics/train").iterdir():
        curve.unlink()
    damaged = {
        *(".timings/compare.json:1", "results/judge.json", "results/training/baseline/seed-42"),
        "results/evaluation/baseline/seed-42/replies.jsonl:7",
    }
    lines = plane.read_text().splitlines()
    damaged.add(f"results/plane.csv:{next(i for i, line in enumerate(lines, 1) if 'none' in line)}:semantic_diversity")
    assert wheres(tree, write_report, settings=PRICE) == gone | damaged
    assert not (tree / "results/report.html").exists()


@pytest.mark.parametrize(
    ("name", "change", "where"),
    [
        ("results/judge.json", lambda value: value.pop("verdict"), "verdict"),
        ("results/comparison.json", lambda value: value["questions"][1]["contrasts"][0].pop("a"), "questions[1]"),
        ("results/comparison.json", lambda value: value["models"].pop("polychromic"), "models:polychromic"),
        ("results/gaming/grpo_from_baseline/seed-42/verdict.json", lambda value: value.pop("text"), "text"),
        ("results/reward.json", lambda value: value.pop("verdict"), "verdict"),
    ],
)
def test_a_file_that_lacks_a_field_is_an_error_that_names_both(tree, text_of, name, change, where):
    edit(tree / name, change)
    with pytest.raises(InputError, match=r"no such field") as caught:
        text_of(tree)
    assert f"{name}:{where}" in caught.value.problems[0].where


def test_a_line_of_replies_that_lacks_a_field_is_named_by_its_number(tree, text_of):
    path = tree / "results/evaluation/baseline/seed-42/replies.jsonl"
    lines = path.read_text().split("\n")
    row = json.loads(lines[1])
    del row["replies"][2]["engagement"]
    path.write_text("\n".join([lines[0], json.dumps(row), *lines[2:]]))
    with pytest.raises(
        InputError, match=r"baseline/seed-42/replies\.jsonl:2:replies\[2\]:engagement: found no such field"
    ):
        text_of(tree)


def test_a_curve_may_lack_an_interval_but_not_a_value(tree):
    path = tree / "results/gaming/grpo_from_baseline/seed-42/curve.csv"
    head, first, *others = path.read_text().splitlines()
    step, kl, proxy, judge, *_ = first.split(",")
    path.write_text("\n".join([head, ",".join([step, kl, proxy, judge, *[""] * 4]), *others]))
    assert read_inputs(tree, **RUN).gaming["grpo_from_baseline"][42]["curve"][0]["proxy_low"] is None
    path.write_text("\n".join([head, ",".join([step, kl, "", judge, *[""] * 4]), *others]))
    assert wheres(tree) == {"results/gaming/grpo_from_baseline/seed-42/curve.csv:2:proxy"}


def test_optional_parts_may_be_absent_but_not_damaged(tree):
    (tree / "results/controls/aa.json").write_text("{")
    assert wheres(tree) == {"results/controls/aa.json:1"}
    (tree / "results/controls/aa.json").unlink()
    (tree / "results/controls/overoptimisation.csv").unlink()
    found = read_inputs(tree, **RUN)
    assert found.controls.keys() == {"controls"}
    assert found.betas == ()
