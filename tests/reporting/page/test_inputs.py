"""Inputs: read whole, or told file by file, line by line, field by field."""

import json

import pytest

from polychrome.errors import InputError
from tests.reporting.page.conftest import read
from tests.reporting.page.tree import GRPO, MODELS, SEEDS, put


def wheres(tree, **more):
    with pytest.raises(InputError) as caught:
        read(tree, **more)
    return [problem.where.removeprefix(f"{tree}/") for problem in caught.value.problems]


def edit(path, change):
    value = json.loads(path.read_text())
    change(value)
    put(path, value)


def test_a_whole_run_is_read(tree):
    inputs = read(tree)
    assert inputs.models == MODELS
    assert inputs.grpo_arms == GRPO
    assert inputs.gaming.keys() == set(GRPO)
    assert list(inputs.gaming[GRPO[0]]) == sorted(SEEDS)
    assert len(inputs.training["baseline"][42]) == 0  # a loss, which the page does not draw
    assert inputs.training["polychromic"][42].keys() == {"diversity"}
    assert inputs.training[GRPO[0]][42]["kl"][0][0] == 0


def test_further_arms_that_were_put_to_the_question_are_read_too(tree):
    source = tree / "results/gaming/grpo_from_baseline/seed-42"
    further = tree / "results/gaming/control_beta_0/seed-42"
    further.parent.mkdir()
    source.rename(further)
    assert wheres(tree) == [
        f"results/gaming/grpo_from_baseline/seed-42/{name}" for name in ("verdict.json", "curve.csv", "gaps.jsonl")
    ]
    assert list(read(tree, seeds=(123, 456)).gaming) == [*GRPO, "control_beta_0"]


def test_missing_and_wrong_fields_are_told_by_their_place(tree):
    edit(tree / "results/judge.json", lambda value: value.pop("spearman_low"))
    edit(tree / "results/comparison.json", lambda value: value["questions"][1]["contrasts"][0].pop("a"))
    edit(tree / "results/reward.json", lambda value: value.update(pairs="many"))
    assert wheres(tree) == [
        "results/comparison.json:questions[1]:contrasts[0]:a",
        "results/judge.json:spearman_low",
        "results/reward.json:pairs",
    ]


def test_a_line_that_is_no_reply_is_told_by_file_line_and_field(tree):
    path = tree / "results/evaluation/baseline/seed-42/replies.jsonl"
    lines = path.read_text().removesuffix("\n").split("\n")  # a reply may hold other line ends
    row = json.loads(lines[1])
    row["replies"][2]["engagement"] = None
    row["human"]["passes"] = 1
    path.write_text("\n".join([lines[0], json.dumps(row), "not json", *lines[3:]]) + "\n")
    where = "results/evaluation/baseline/seed-42/replies.jsonl"
    assert wheres(tree) == [f"{where}:2:human:passes", f"{where}:2:replies[2]:engagement", f"{where}:3"]


def test_a_number_that_is_not_finite_is_told(tree):
    path = tree / "results/pass_at_k.csv"
    path.write_text(path.read_text().replace("baseline,1,0.3800", "baseline,1,nan", 1))
    edit(tree / "results/judge.json", lambda value: value.update(spearman=float("inf")))
    assert wheres(tree) == ["results/pass_at_k.csv:42:value", "results/judge.json:spearman"]


def test_a_curve_may_lack_an_interval_but_not_a_value(tree):
    path = tree / "results/gaming/grpo_from_baseline/seed-42/curve.csv"
    head, first, *others = path.read_text().splitlines()
    step, kl, proxy, _, _, *rest = first.split(",")
    path.write_text("\n".join([head, ",".join([step, kl, proxy, "", "", *rest]), *others]))
    assert read(tree).gaming["grpo_from_baseline"][42].curve[0]["proxy_low"] is None
    path.write_text("\n".join([head, ",".join([step, kl, "", "", "", *rest]), *others]))
    assert wheres(tree) == ["results/gaming/grpo_from_baseline/seed-42/curve.csv:2:proxy"]


def test_models_that_answered_other_posts_are_told(tree):
    path = tree / "results/evaluation/prompted/seed-456/replies.jsonl"
    path.write_text("\n".join(path.read_text().split("\n")[:-2]) + "\n")
    assert wheres(tree) == ["results/evaluation/prompted/seed-456/replies.jsonl"]


def test_a_model_that_compare_has_not_seen_is_told_by_every_file(tree):
    for name in ("pass_at_k.csv", "plane.csv"):
        path = tree / "results" / name
        kept = [line for line in path.read_text().splitlines() if not line.startswith("polychromic,")]
        path.write_text("\n".join(kept) + "\n")
    assert wheres(tree) == ["results/pass_at_k.csv", "results/plane.csv"]


def test_a_training_run_without_curves_is_told(tree):
    for path in (tree / "results/training/grpo_from_polychromic/seed-42/plots/metrics/train").iterdir():
        path.unlink()
    assert wheres(tree) == ["results/training/grpo_from_polychromic/seed-42/plots/metrics/train"]


def test_a_damaged_optional_part_is_told_an_absent_one_is_not(tree):
    (tree / "results/controls/aa.json").write_text("{")
    assert wheres(tree) == ["results/controls/aa.json:1"]
    (tree / "results/controls/aa.json").unlink()
    assert read(tree).controls.keys() == {"controls"}
