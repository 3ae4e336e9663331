"""The comparison: planted differences are found, equal models are not told apart, criteria are judged honestly."""

import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from polychrome.errors import InputError
from polychrome.evaluation.compare import compare, pass_curves, table
from polychrome.evaluation.experiment import Question
from polychrome.evaluation.metrics import compared
from polychrome.evaluation.results import read_results
from polychrome.evaluation.statistics import holm
from polychrome.files import write_json
from polychrome.measures.passk import pass_at_k

from .fakes import EXPERIMENT, MODELS, settings

ARMS = MODELS[3:]
POSTS, SAMPLES, SEEDS = 40, 10, (1, 2, 3)
SETTINGS = settings(400)


class World:
    """Evaluations of models whose qualities are given, and verdicts on the GRPO arms."""

    def __init__(self, root):
        self.root = root
        self.chance = dict.fromkeys(MODELS, 0.15)  # that a reply passes
        self.rouge = dict.fromkeys(MODELS, 0.2)

    def write(self, seeds=(1,), models=MODELS):
        for seed in seeds:
            for model in models:
                self.write_model(model, seed)
            for arm in ARMS[2:]:
                found = {"arm": arm, "seed": seed, "verdict": "not gamed", "conclusive": True, "text": ""}
                write_json(self.root / f"gaming/{arm}/seed-{seed}/verdict.json", found)
        return self

    def write_model(self, model, seed):
        generator = np.random.default_rng([seed, *map(ord, model)])
        chance = self.chance.get(model, 0.15) * np.random.default_rng(0).uniform(0.5, 1.5, size=POSTS)
        passing = generator.binomial(SAMPLES, np.clip(chance, 0, 1))
        values = {name: 0.5 + 0.02 * generator.normal(size=POSTS) for name in compared(SETTINGS)}
        values["rouge_l"] += self.rouge.get(model, 0.2) - 0.5
        curve = np.stack([pass_at_k(SAMPLES, passing, k) for k in range(1, SAMPLES + 1)], axis=1)
        values |= {f"pass_at_{k}": curve[:, k - 1] for k in SETTINGS.ks}
        human = {"pass_at_1": [1.0, 0.0] * (POSTS // 2), "engagement": [0.5] * POSTS, "words": [7.0] * POSTS}
        value = {"posts": [f"post-{i}" for i in range(POSTS)], "samples": SAMPLES, "pass_curve": curve.tolist()}
        metrics = {name: of_posts.tolist() for name, of_posts in values.items()}
        write_json(self.path(model, seed), value | {"metrics": metrics, "human": human})
        write_json(self.path(model, seed).with_name("metrics.json"), {"failures": {"truncated": 0.0}})

    def path(self, model, seed=1):
        return self.root / "evaluation" / model / f"seed-{seed}" / "per_post.json"

    def change(self, model, change):
        value = json.loads(self.path(model).read_text())
        change(value)
        write_json(self.path(model), value)

    def compare(self, models=MODELS, seeds=(1,), settings=SETTINGS, experiment=EXPERIMENT):
        folders = {
            "evaluations": self.root / "evaluation",
            "gaming": self.root / "gaming",
            "out": self.root / "results",
        }
        self.judged = compare(models, seeds, experiment, settings, **folders)
        self.criteria = {criterion["name"]: criterion for criterion in self.judged["criteria"]}
        self.comparison, self.metrics = (
            json.loads((folders["out"] / f"{name}.json").read_text()) for name in ("comparison", "metrics")
        )
        self.answers = {question["id"]: question for question in self.comparison["questions"]}
        self.contrasts = [contrast for question in self.answers.values() for contrast in question["contrasts"]]
        return self

    def rows(self, name):
        return list(csv.DictReader((self.root / "results" / name).open()))

    def contrast(self, metric):
        return next(contrast for contrast in self.answers["Q1"]["contrasts"] if contrast["metric"] == metric)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.fixture(scope="module")
def equal(tmp_path_factory):
    """Models that do not differ, with several seeds."""
    return World(tmp_path_factory.mktemp("equal")).write(SEEDS).compare(seeds=SEEDS)


def test_a_planted_winner_meets_every_criterion(world):
    world.chance |= dict.fromkeys(ARMS, 0.1) | {"grpo_from_polychromic": 0.6}
    world.rouge["grpo_from_polychromic"] = 0.4
    world.write(SEEDS).compare(seeds=SEEDS)
    assert {criterion["verdict"] for criterion in world.criteria.values()} == {"pass"}
    of_levels = {"must": 7, "should": 4, "nice": 2}
    assert world.judged["summary"] == {level: {"pass": count, "of": count} for level, count in of_levels.items()}
    assert world.answers["Q4"]["ranking"][0]["model"] == "grpo_from_polychromic"
    assert "it is separated from the second" in world.answers["Q4"]["verdict"]
    assert world.answers["Q3"]["verdict"].startswith("grpo_from_polychromic is above grpo_from_baseline on Pass@10")
    assert world.answers["Q1"]["verdict"].startswith("No difference between polychromic and baseline on Pass@10")


def test_a_planted_loser_fails_and_the_failure_is_a_finding(world):
    world.chance["grpo_from_polychromic"] = 0.01
    world.write().compare()
    failed = ("pass_at_10", "significance", "rouge_l", "pass_at_10_gain_should", "effect_size_nice", "seeds")
    assert {world.criteria[name]["verdict"] for name in failed} == {"fail"}
    assert world.criteria["all_four_trained"]["verdict"] == "pass"
    assert world.criteria["significance"]["value"] < 0.05  # far from chance, but in the wrong direction
    assert "not above zero" in world.criteria["significance"]["note"]


def test_identical_models_share_the_first_place(world):
    world.write()
    for arm in ARMS:
        world.path(arm).write_bytes(world.path("zero_shot").read_bytes())
    world.compare()
    assert "no model is best" in world.answers["Q4"]["verdict"]
    contrast = world.contrast("pass_at_10")
    assert (contrast["p"], contrast["difference"], contrast["cohens_d"]) == (1, 0, None)
    assert (contrast["detectable"], contrast["sd_seeds"]) == (None, None)  # nothing varies, and there is one seed
    assert "too little varies here" in world.answers["Q1"]["verdict"]
    assert "excluded" not in world.answers["Q1"]["verdict"]  # an interval of one point excludes nothing
    assert any("every difference is zero" in note for note in contrast["notes"])


def test_p_is_corrected_over_all_contrasts_and_metrics_as_one_family(world):
    world.chance["grpo_from_polychromic"] = 0.4
    world.write().compare()
    assert world.comparison["family"]["tests"] == len(world.contrasts) == 48
    expected = holm([contrast["p"] for contrast in world.contrasts])
    assert [contrast["p_holm"] for contrast in world.contrasts] == pytest.approx(expected, rel=1e-4)


def test_the_best_is_set_against_the_second_whichever_way_their_contrast_is_held(world):
    world.chance |= dict.fromkeys(ARMS, 0.02) | {"baseline": 0.5}  # every contrast holds the baseline as b
    verdict = world.write().compare().answers["Q4"]["verdict"]
    assert verdict.startswith("baseline has the highest Pass@10; it is separated from the second")
    difference, low, high = map(float, re.findall(r"[+-]\d\.\d{3}", verdict)[:3])
    assert 0 < low < difference < high


def test_rouge_below_the_baselines_interval_fails_beside_the_absolute_threshold(world):
    world.rouge |= {"baseline": 0.6, "grpo_from_polychromic": 0.5}
    judged = world.write().compare().criteria
    assert (judged["rouge_l"]["verdict"], judged["rouge_l_not_below_baseline"]["verdict"]) == ("pass", "fail")


def test_a_gain_relative_to_nothing_is_null_and_cannot_pass(world):
    world.chance["baseline"] = 0.0
    gain = world.write().compare().criteria["pass_at_10_gain_should"]
    assert (gain["value"], gain["verdict"]) == (None, "fail")
    assert "relative to 0 does not exist" in gain["note"]


def test_a_metric_that_no_post_has_is_left_out_and_its_tests_leave_the_family(world):
    world.write().change("polychromic", lambda value: value["metrics"].update(self_bleu=[None] * POSTS))
    world.compare()
    assert "self_bleu" not in world.metrics["polychromic"]
    assert sum("undefined" in contrast for contrast in world.contrasts) == 3
    assert world.comparison["family"]["tests"] == 45
    assert {row["model"]: row["self_bleu"] for row in world.rows("plane.csv")}["polychromic"] == ""


def test_a_difference_that_the_metric_has_no_room_for_is_noted(world):
    world.chance |= dict.fromkeys(ARMS, 0.3)  # Pass@10 is nearly 1
    contrast = world.write().compare().contrast("pass_at_10")
    assert contrast["detectable"] > 1 - contrast["mean_b"]
    assert any("above b, too little to be seen" in note for note in contrast["notes"])


# --- models that do not differ ----------------------------------------------------------------------------------------


def test_equal_models_are_not_told_apart_and_what_would_have_been_seen_stands_beside_it(equal):
    assert not any(contrast["different"] for contrast in equal.contrasts)
    best, first = equal.answers["Q4"]["verdict"], equal.answers["Q1"]["verdict"]
    assert "it is not separated from the second" in best
    assert re.search(r"gain above \d\.\d{3} is excluded; .* would be seen with 80% power", best.split(" No diff")[0])
    seen = equal.contrast("pass_at_10")["detectable"]
    assert 0.05 < seen < 0.6
    high = equal.contrast("pass_at_10")["high"]
    assert f"; a gain above {high:.3f} is excluded; a true difference of {seen:.3f} would be seen with 80%" in first
    assert equal.comparison["family"]["power_threshold"] == pytest.approx(0.05 / 48, rel=1e-4)


def test_both_spreads_of_every_model_and_contrast_are_reported(equal):
    ours, theirs = (
        np.array([json.loads(equal.path(m, seed).read_text())["metrics"]["engagement"] for seed in SEEDS])
        for m in ("polychromic", "baseline")
    )
    mine = equal.comparison["models"]["polychromic"]["engagement"]
    assert mine["low"] < mine["mean"] < mine["high"]
    for found, values in ((mine, ours), (equal.contrast("engagement"), ours - theirs)):
        assert found["sd_posts"] == pytest.approx(values.mean(axis=0).std(ddof=1), rel=1e-4)
        assert found["sd_seeds"] == pytest.approx(values.mean(axis=1).std(ddof=1), rel=1e-4)


def test_the_metrics_file_is_one_small_table_with_the_human_pass_rate_and_pass_curves_agree_with_it(equal):
    headline = {"pass_at_1", "pass_at_10", "utility_k", "self_bleu", "semantic_diversity", "rouge_l", "engagement"}
    headline |= {"cross_entropy"}
    assert {model: set(of_model) for model, of_model in equal.metrics.items()} == (
        dict.fromkeys(MODELS, headline) | {"human": {"pass_at_1", "engagement"}}
    )
    assert equal.metrics["human"] == {"pass_at_1": 0.5, "engagement": 0.5}
    rows = equal.rows("pass_at_k.csv")
    curve = [float(row["value"]) for row in rows if row["model"] == "baseline"]
    assert curve == sorted(curve)
    assert (curve[0], curve[9]) == tuple(equal.metrics["baseline"][f"pass_at_{k}"] for k in (1, 10))
    assert all(float(row["low"]) <= float(row["value"]) <= float(row["high"]) for row in rows)


def test_what_ideal_policies_reach_stands_beside_the_models_where_the_ruler_knows_it(equal):
    results = read_results(MODELS, SEEDS, equal.root / "evaluation", SETTINGS)
    known = {"ideal: all": np.linspace(0.1, 0.55, SAMPLES)}
    mine = [row for row in pass_curves(results, SETTINGS, known) if row["model"] == "ideal: all"]
    assert [row["k"] for row in mine] == list(range(1, SAMPLES + 1))
    assert [row["value"] for row in mine] == [row["low"] for row in mine] == known["ideal: all"].tolist()
    head, _, *rows, human, ideal, _, _ = table(results, SETTINGS, known).rstrip("\n").split("\n")
    assert ideal.startswith("| ideal: all | 0.100 | 0.300 | 0.550 | - |")
    assert len({line.count("|") for line in (head, *rows, human, ideal)}) == 1


def test_what_rounds_to_zero_has_no_sign_in_the_table(equal):
    results = read_results(MODELS, SEEDS, equal.root / "evaluation", SETTINGS)
    for values in results.values.values():
        values["rouge_l"] = np.full_like(values["rouge_l"], -1e-5)
    assert "| 0.000 [0.000, 0.000] |" in table(results, SETTINGS, {})


def test_the_same_evaluations_give_the_same_bytes(equal):
    read = lambda: {file.name: file.read_bytes() for file in (equal.root / "results").iterdir()}  # noqa: E731
    first = read()
    equal.compare(seeds=SEEDS)
    assert first == read()
    assert len(first) == 6


# --- the experiment is data -------------------------------------------------------------------------------------------


def test_every_model_of_the_params_flows_through_to_tables_and_curves(world):
    models = (*MODELS, "polychromic_strong")
    world.write(models=models).compare(models=models)
    assert set(world.metrics) == {*models, "human"}
    table = (world.root / "results" / "table.md").read_text().splitlines()[2 : 3 + len(models)]
    assert [line.split(" | ")[0].strip("| ") for line in table] == [*models, "human reply"]
    assert len(world.rows("pass_at_k.csv")) == len(models) * SAMPLES + 1  # and the level of the human replies
    assert [row["model"] for row in world.rows("plane.csv")] == list(models)


def test_a_fifth_question_joins_the_family_and_a_dropped_arm_leaves_it(world):
    more = Question(id="Q5", text="Does training help at all?", contrasts=(("polychromic", "zero_shot"),))
    world.write().compare(experiment=replace(EXPERIMENT, questions=(*EXPERIMENT.questions, more)))
    assert world.answers["Q5"]["verdict"].startswith("No difference between polychromic and zero_shot")
    assert world.comparison["family"]["tests"] == 7 * 8
    assert world.comparison["family"]["correction"].endswith("of Q1 to Q5")

    first = next(question for question in EXPERIMENT.questions if question.id == "Q1")
    kinds = {one.kind: replace(one, a="polychromic") for one in reversed(EXPERIMENT.criteria)}
    dropped = replace(
        EXPERIMENT,
        compared={arm: start for arm, start in EXPERIMENT.compared.items() if "grpo" not in arm},
        questions=(replace(first, rank=True),),
        criteria=(kinds["trained"], kinds["above"]),
    )
    world.compare(models=("zero_shot", "baseline", "polychromic"), experiment=dropped)
    assert list(world.criteria) == ["all_two_trained", "pass_at_10"]
    assert [place["rank"] for place in world.answers["Q1"]["ranking"]] == [1, 2]
    assert "is not separated from the second" in world.answers["Q1"]["verdict"]


# --- bad input --------------------------------------------------------------------------------------------------------


def test_all_that_is_missing_is_one_error_that_says_which_model_which_seed_and_what_to_do(world):
    world.write((1, 2)).path("baseline", 2).unlink()
    verdict = world.root / "gaming" / "grpo_from_baseline" / "seed-2" / "verdict.json"
    verdict.unlink()
    with pytest.raises(InputError) as caught:
        world.compare(seeds=SEEDS)
    reported = str(caught.value)
    said = ("no evaluation of baseline with seed 2", str(verdict), "one for each of the seeds 1, 2, 3", "dvc repro")
    assert all(each in reported for each in (*said, *(f"no evaluation of {model} with seed 3" for model in MODELS)))
    assert "baseline with seed 1" not in reported
    assert len(caught.value.problems) == 1 + 1 + len(MODELS) + 2  # and the third verdicts on both GRPO arms
    assert not (world.root / "results").exists()


def test_a_model_measured_on_other_posts_and_a_k_that_was_not_evaluated_are_reported(world):
    world.write()
    with pytest.raises(InputError, match="no pass_at_7"):
        world.compare(settings=settings(ks=(1, 7)))
    world.change("polychromic", lambda value: value["posts"].reverse())
    with pytest.raises(InputError, match="not those of other models"):
        world.compare()
