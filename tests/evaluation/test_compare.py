"""The comparison: planted differences are found, equal models are not told apart, criteria are judged honestly."""

import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from polychrome.errors import InputError
from polychrome.evaluation.compare import compare
from polychrome.evaluation.experiment import Question
from polychrome.evaluation.passk import pass_at_k
from polychrome.evaluation.statistics import holm
from polychrome.files import write_json

from .fakes import EXPERIMENT, settings

FOUR = ("baseline", "polychromic", "grpo_from_baseline", "grpo_from_polychromic")
MODELS = ("zero_shot", "baseline_warmstart", "polychromic_warmstart", *FOUR)
POSTS, SAMPLES = 40, 10
SETTINGS = settings(400)


class World:
    """Evaluations of models whose qualities are given, and verdicts on the GRPO arms."""

    def __init__(self, root):
        self.root = root
        self.chance = dict.fromkeys(MODELS, 0.15)  # that a reply passes
        self.engagement = dict.fromkeys(MODELS, 0.5)
        self.rouge = dict.fromkeys(MODELS, 0.2)
        self.verdict = "not gamed"

    def write(self, seeds=(1,), models=MODELS):
        for model in models:
            for seed in seeds:
                self.write_model(model, seed)
        for arm in ("grpo_from_baseline", "grpo_from_polychromic"):
            for seed in seeds:
                found = {"arm": arm, "seed": seed, "verdict": self.verdict, "conclusive": True}
                write_json(self.root / f"gaming/{arm}/seed-{seed}/verdict.json", found | {"text": "", "checks": []})

    def write_model(self, model, seed):
        generator = np.random.default_rng([seed, *map(ord, model)])
        chance = self.chance.get(model, 0.15) * np.random.default_rng(0).uniform(0.5, 1.5, size=POSTS)
        passing = generator.binomial(SAMPLES, np.clip(chance, 0, 1))
        noise = 0.02 * generator.normal(size=(4, POSTS))
        metrics = {f"pass_at_{k}": pass_at_k(SAMPLES, passing, k).tolist() for k in (1, 5, 10)}
        metrics |= {
            "self_bleu": (0.4 + noise[0]).tolist(),
            "semantic_diversity": (0.8 + noise[1]).tolist(),
            "rouge_l": (self.rouge.get(model, 0.2) + noise[2]).tolist(),
            "engagement": (self.engagement.get(model, 0.5) + noise[3]).tolist(),
            "cross_entropy": (4.0 + noise[0]).tolist(),
            "relevance": [0.3] * POSTS,
            "rouge_1": [0.2] * POSTS,
            "rouge_2": [0.1] * POSTS,
            "distinct_1": [0.6] * POSTS,
            "distinct_2": [0.8] * POSTS,
            "distinct_3": [0.9] * POSTS,
            "well_formed": [1.0] * POSTS,
            "words": [8.0] * POSTS,
        }
        human = {"pass_at_1": [1.0, 0.0] * (POSTS // 2), "engagement": [0.5] * POSTS, "words": [7.0] * POSTS}
        value = {
            "posts": [f"post-{i}" for i in range(POSTS)],
            "samples": SAMPLES,
            "passing": passing.tolist(),
            "metrics": metrics,
            "human": human,
        }
        write_json(self.path(model, seed), value)

    def path(self, model, seed):
        return self.root / "evaluation" / model / f"seed-{seed}" / "per_post.json"

    def compare(self, models=MODELS, seeds=(1,), settings=SETTINGS, experiment=EXPERIMENT):
        return compare(
            models,
            seeds,
            experiment,
            settings,
            evaluations=self.root / "evaluation",
            gaming=self.root / "gaming",
            out=self.root / "results",
        )

    def result(self, name):
        return json.loads((self.root / "results" / name).read_text())


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def answers(comparison):
    return {question["id"]: question for question in comparison["questions"]}


def verdicts(criteria):
    return {criterion["name"]: criterion["verdict"] for criterion in criteria["criteria"]}


def test_a_planted_winner_meets_every_criterion(world):
    world.chance |= {"baseline": 0.1, "polychromic": 0.1, "grpo_from_baseline": 0.1, "grpo_from_polychromic": 0.6}
    world.rouge["grpo_from_polychromic"] = 0.4
    seeds = (1, 2, 3)
    world.write(seeds)
    criteria = world.compare(seeds=seeds)
    assert set(verdicts(criteria).values()) == {"pass"}
    assert criteria["summary"] == {
        "must": {"pass": 7, "of": 7},
        "should": {"pass": 4, "of": 4},
        "nice": {"pass": 2, "of": 2},
    }
    comparison = world.result("comparison.json")
    assert answers(comparison)["Q4"]["ranking"][0]["model"] == "grpo_from_polychromic"
    assert "it is separated from the second" in answers(comparison)["Q4"]["verdict"]
    assert answers(comparison)["Q3"]["verdict"].startswith(
        "grpo_from_polychromic is above grpo_from_baseline on Pass@10"
    )
    assert answers(comparison)["Q1"]["verdict"].startswith("No difference between polychromic and baseline on Pass@10")


def test_a_planted_loser_fails_and_the_failure_is_a_finding(world):
    world.chance["grpo_from_polychromic"] = 0.01
    world.write()
    criteria = world.compare()
    judged = verdicts(criteria)
    assert judged["all_four_trained"] == "pass"
    failed = ("pass_at_10", "significance", "rouge_l", "pass_at_10_gain_should", "effect_size_nice", "seeds")
    assert {judged[name] for name in failed} == {"fail"}
    significance = next(c for c in criteria["criteria"] if c["name"] == "significance")
    assert significance["value"] < 0.05  # far from chance, but in the wrong direction
    assert "not above zero" in significance["note"]


def test_equal_models_are_not_told_apart(world):
    world.write((1, 2, 3))
    world.compare(seeds=(1, 2, 3))
    comparison = world.result("comparison.json")
    assert not any(c["different"] for name in ("Q1", "Q2", "Q3", "Q4") for c in answers(comparison)[name]["contrasts"])
    assert "it is not separated from the second" in answers(comparison)["Q4"]["verdict"]


def test_identical_models_share_the_first_place(world):
    world.write()
    for model in FOUR:
        world.path(model, 1).write_bytes(world.path("zero_shot", 1).read_bytes())
    world.compare()
    comparison = world.result("comparison.json")
    assert "no model is best" in answers(comparison)["Q4"]["verdict"]
    contrast = answers(comparison)["Q1"]["contrasts"][0]
    assert (contrast["p"], contrast["difference"], contrast["cohens_d"]) == (1, 0, None)
    assert (contrast["detectable"], contrast["sd_seeds"]) == (None, None)  # nothing varies, and there is one seed
    assert "too little varies here" in answers(comparison)["Q1"]["verdict"]
    assert any("every difference is zero" in note for note in contrast["notes"])


def test_p_is_corrected_over_all_contrasts_and_metrics_as_one_family(world):
    world.chance["grpo_from_polychromic"] = 0.4
    world.write()
    world.compare()
    comparison = world.result("comparison.json")
    tests = [c for name in ("Q1", "Q2", "Q3", "Q4") for c in answers(comparison)[name]["contrasts"]]
    assert comparison["family"]["tests"] == len(tests) == 42
    assert [c["p_holm"] for c in tests] == pytest.approx(holm([c["p"] for c in tests]), rel=1e-4)


def test_the_best_is_set_against_the_second_whichever_way_their_contrast_is_held(world):
    world.chance |= dict.fromkeys(FOUR, 0.02) | {"baseline": 0.5}  # every contrast holds the baseline as b
    world.write()
    world.compare()
    verdict = answers(world.result("comparison.json"))["Q4"]["verdict"]
    assert verdict.startswith("baseline has the highest Pass@10; it is separated from the second")
    difference, low, high = map(float, re.findall(r"[+-]\d\.\d{3}", verdict)[:3])
    assert 0 < low < difference < high


def test_rouge_below_the_baselines_interval_fails_beside_the_absolute_threshold(world):
    world.rouge |= {"baseline": 0.6, "grpo_from_polychromic": 0.5}
    world.write()
    judged = verdicts(world.compare())
    assert (judged["rouge_l"], judged["rouge_l_not_below_baseline"]) == ("pass", "fail")


def test_a_gain_relative_to_nothing_is_null_and_cannot_pass(world):
    world.chance["baseline"] = 0.0
    world.write()
    gain = next(c for c in world.compare()["criteria"] if c["name"] == "pass_at_10_gain_should")
    assert (gain["value"], gain["verdict"]) == (None, "fail")
    assert "relative to 0 does not exist" in gain["note"]


def test_the_metrics_file_is_one_small_table_with_the_human_pass_rate(world):
    world.write()
    world.compare()
    metrics = world.result("metrics.json")
    assert set(metrics) == {*MODELS, "human"}
    headline = {"pass_at_1", "pass_at_10", "self_bleu", "semantic_diversity", "rouge_l", "engagement", "cross_entropy"}
    assert all(set(metrics[model]) == headline for model in MODELS)
    assert metrics["human"] == {"pass_at_1": 0.5, "engagement": 0.5}


def test_a_metric_that_no_post_has_is_left_out_and_its_tests_leave_the_family(world):
    world.write()
    path = world.path("polychromic", 1)
    value = json.loads(path.read_text())
    value["metrics"]["self_bleu"] = [None] * POSTS
    write_json(path, value)
    world.compare()
    assert "self_bleu" not in world.result("metrics.json")["polychromic"]
    comparison = world.result("comparison.json")
    undefined = [
        c for name in ("Q1", "Q2", "Q3", "Q4") for c in answers(comparison)[name]["contrasts"] if "undefined" in c
    ]
    assert len(undefined) == 3
    assert comparison["family"]["tests"] == 39
    plane = {row["model"]: row for row in csv.DictReader((world.root / "results" / "plane.csv").open())}
    assert plane["polychromic"]["self_bleu"] == ""


def test_every_model_of_the_params_flows_through_to_tables_and_curves(world):
    models = (*MODELS, "polychromic_strong")
    world.write(models=models)
    world.compare(models=models)
    results = world.root / "results"
    assert "polychromic_strong" in world.result("metrics.json")
    table = (results / "table.md").read_text()
    assert [line.split(" | ")[0].strip("| ") for line in table.splitlines()[2 : 3 + len(models)]] == [
        *models,
        "human reply",
    ]
    curves = list(csv.DictReader((results / "pass_at_k.csv").open()))
    assert len(curves) == len(models) * SAMPLES + 1  # and the level of the human replies
    assert [row["model"] for row in csv.DictReader((results / "plane.csv").open())] == list(models)


def test_pass_curves_rise_with_k_and_agree_with_the_metrics(world):
    world.write()
    world.compare()
    rows = list(csv.DictReader((world.root / "results" / "pass_at_k.csv").open()))
    curve = [float(row["value"]) for row in rows if row["model"] == "baseline"]
    assert curve == sorted(curve)
    metrics = world.result("metrics.json")["baseline"]
    assert (curve[0], curve[9]) == (metrics["pass_at_1"], metrics["pass_at_10"])
    assert all(float(row["low"]) <= float(row["value"]) <= float(row["high"]) for row in rows)


def test_the_same_evaluations_give_the_same_bytes(world):
    world.write()
    read = lambda: {file.name: file.read_bytes() for file in (world.root / "results").iterdir()}  # noqa: E731
    world.compare()
    first = read()
    world.compare()
    assert first == read()
    assert len(first) == 6


def test_all_that_is_missing_is_one_error_that_says_which_model_which_seed_and_what_to_do(world):
    world.write((1, 2))
    world.path("baseline", 2).unlink()
    verdict = world.root / "gaming" / "grpo_from_baseline" / "seed-2" / "verdict.json"
    verdict.unlink()
    with pytest.raises(InputError) as caught:
        world.compare(seeds=(1, 2, 3))
    reported = str(caught.value)
    assert "no evaluation of baseline with seed 2" in reported
    assert str(verdict) in reported
    assert all(f"no evaluation of {model} with seed 3" in reported for model in MODELS)
    assert "one for each of the seeds 1, 2, 3" in reported
    assert "dvc repro" in reported
    assert "baseline with seed 1" not in reported
    assert len(caught.value.problems) == 1 + 1 + len(MODELS) + 2  # and the third verdicts on both GRPO arms
    assert not (world.root / "results").exists()


def test_both_spreads_of_every_model_and_contrast_are_reported(world):
    seeds = (1, 2, 3)
    world.write(seeds)
    world.compare(seeds=seeds)
    comparison = world.result("comparison.json")
    read = lambda model: np.array(  # noqa: E731
        [json.loads(world.path(model, seed).read_text())["metrics"]["engagement"] for seed in seeds]
    )
    mine = comparison["models"]["polychromic"]["engagement"]
    values = read("polychromic")
    assert mine["sd_posts"] == pytest.approx(values.mean(axis=0).std(ddof=1), rel=1e-4)
    assert mine["sd_seeds"] == pytest.approx(values.mean(axis=1).std(ddof=1), rel=1e-4)
    assert mine["low"] < mine["mean"] < mine["high"]
    contrast = next(c for c in answers(comparison)["Q1"]["contrasts"] if c["metric"] == "engagement")
    differences = values - read("baseline")
    assert contrast["sd_posts"] == pytest.approx(differences.mean(axis=0).std(ddof=1), rel=1e-4)
    assert contrast["sd_seeds"] == pytest.approx(differences.mean(axis=1).std(ddof=1), rel=1e-4)


def test_beside_no_difference_stands_the_difference_that_would_have_been_seen(world):
    world.write((1, 2, 3))
    world.compare(seeds=(1, 2, 3))
    comparison = world.result("comparison.json")
    contrast = next(c for c in answers(comparison)["Q1"]["contrasts"] if c["metric"] == "pass_at_10")
    verdict = answers(comparison)["Q1"]["verdict"]
    assert verdict.startswith("No difference")
    assert f"a true difference of {contrast['detectable']:.3f} would be seen with 80% power" in verdict
    assert 0.05 < contrast["detectable"] < 0.6
    assert comparison["family"]["power_threshold"] == pytest.approx(0.05 / 42, rel=1e-4)
    assert "would be seen with 80% power" in answers(comparison)["Q4"]["verdict"].split(" No difference")[0]


def test_a_difference_that_the_metric_has_no_room_for_is_noted(world):
    world.chance |= dict.fromkeys(FOUR, 0.3)  # Pass@10 is nearly 1
    world.write()
    world.compare()
    contrast = next(
        c for c in answers(world.result("comparison.json"))["Q1"]["contrasts"] if c["metric"] == "pass_at_10"
    )
    assert contrast["detectable"] > 1 - contrast["mean_b"]
    assert any("above b, too little to be seen" in note for note in contrast["notes"])


def test_a_model_measured_on_other_posts_is_reported(world):
    world.write()
    path = world.path("polychromic", 1)
    value = json.loads(path.read_text())
    value["posts"].reverse()
    write_json(path, value)
    with pytest.raises(InputError, match="not those of other models"):
        world.compare()


def test_a_k_that_was_not_evaluated_is_reported(world):
    world.write()
    with pytest.raises(InputError, match="no pass_at_7"):
        world.compare(settings=settings(ks=(1, 7)))


def test_a_fifth_question_joins_the_family_and_a_dropped_arm_leaves_it(world):
    world.write()
    more = Question(id="Q5", text="Does training help at all?", contrasts=(("polychromic", "zero_shot"),))
    world.compare(experiment=replace(EXPERIMENT, questions=(*EXPERIMENT.questions, more)))
    comparison = world.result("comparison.json")
    assert answers(comparison)["Q5"]["verdict"].startswith("No difference between polychromic and zero_shot")
    assert comparison["family"]["tests"] == 7 * 7
    assert comparison["family"]["correction"].endswith("of Q1 to Q5")

    of_sft = [question for question in EXPERIMENT.questions if question.id == "Q1"]
    two = {arm: start for arm, start in EXPERIMENT.compared.items() if "grpo" not in arm}
    criteria = tuple(replace(one, a="polychromic") for one in EXPERIMENT.criteria if one.kind in ("trained", "above"))[
        :2
    ]
    dropped = replace(EXPERIMENT, compared=two, questions=(replace(of_sft[0], rank=True),), criteria=criteria)
    judged = world.compare(models=("zero_shot", "baseline", "polychromic"), experiment=dropped)
    assert [one["name"] for one in judged["criteria"]] == ["all_two_trained", "pass_at_10"]
    question = answers(world.result("comparison.json"))["Q1"]
    assert [place["rank"] for place in question["ranking"]] == [1, 2]
    assert "is not separated from the second" in question["verdict"]
