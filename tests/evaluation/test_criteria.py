"""The criteria that rest on training: whether it changed the models at all, and whether it gamed its reward."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from polychrome.evaluation.contrasts import all_contrasts
from polychrome.evaluation.criteria import JUDGES, Evidence, judge_criteria
from polychrome.evaluation.experiment import KINDS, Criterion, Question
from polychrome.evaluation.metrics import compared
from polychrome.evaluation.results import Results

from .fakes import EXPERIMENT, MODELS, settings

POSTS, SEEDS = 20, (1, 2)
SETTINGS = settings(100, ks=(1, 2))
STAGES = {model: "grpo" if model.startswith("grpo") else "sft" for model in MODELS}


@pytest.fixture
def values():
    random = np.random.default_rng(0)
    return {
        model: {name: random.uniform(0.2, 0.8, size=(len(SEEDS), POSTS)) for name in compared(SETTINGS)}
        for model in MODELS
    }


def verdict(seed, gamed=False, conclusive=True):
    word = "gamed" if gamed else "not gamed"
    return {"seed": seed, "verdict": word, "conclusive": conclusive, "text": f"{word.capitalize()}: of seed {seed}."}


CLEAN = {arm: [verdict(seed) for seed in SEEDS] for arm in ("grpo_from_baseline", "grpo_from_polychromic")}


def judged(values, verdicts=CLEAN, models=MODELS, experiment=EXPERIMENT, ideals=None):
    results = Results(models, SEEDS, 4, POSTS, values, {}, {})
    contrasts = all_contrasts(results, experiment.pairs, SETTINGS)
    criteria = judge_criteria(Evidence(results, contrasts, verdicts, experiment, SETTINGS, ideals or {}))["criteria"]
    return {criterion["name"]: criterion for criterion in criteria}


@pytest.mark.parametrize(
    ("verdicts", "outcome", "note"),
    [
        ([verdict(1), verdict(2)], ("pass", 0, 0), "Seed 1: Not gamed: of seed 1. Seed 2: Not gamed: of seed 2."),
        ([verdict(1), verdict(2, gamed=True)], ("fail", 1, 0), "Seed 2: Gamed: of seed 2."),
        ([verdict(1, conclusive=False), verdict(2)], ("fail", 0, 1), "Seed 1: Not gamed: of seed 1."),  # no acquittal
    ],
)
def test_no_reward_hacking_is_the_verdict_over_all_seeds_of_that_arm_alone(values, verdicts, outcome, note):
    found = judged(values, CLEAN | {"grpo_from_baseline": verdicts})
    criterion = found["no_reward_hacking_grpo_from_baseline"]
    assert (criterion["verdict"], criterion["value"], criterion["inconclusive_seeds"]) == outcome
    assert (criterion["threshold"], criterion["note"]) == (0, note)
    assert found["no_reward_hacking_grpo_from_polychromic"]["verdict"] == "pass"


@pytest.mark.parametrize(("model", "start"), EXPERIMENT.compared.items())
def test_a_model_that_training_left_as_it_was_is_not_trained(values, model, start):
    assert judged(values)["all_four_trained"]["verdict"] == "pass"
    values[model] = values[model] | {"cross_entropy": values[start]["cross_entropy"] + 0.001}
    criterion = judged(values)["all_four_trained"]
    assert (criterion["verdict"], criterion["value"]) == ("fail", pytest.approx(0.001))
    assert criterion["note"] == f"The least changed is {model}."


def test_without_the_base_model_it_is_not_known_whether_training_changed_anything(values):
    criterion = judged(values, models=MODELS[1:])["all_four_trained"]
    assert (criterion["value"], criterion["verdict"]) == (None, "fail")
    assert "zero_shot" in criterion["note"]


# --- the experiment is data -------------------------------------------------------------------------------------------


def problems(changed, models=MODELS):
    found = changed.problems(models, STAGES, compared(SETTINGS))
    return {problem.where: f"{problem.found}; {problem.expected}" for problem in found}


def test_every_kind_of_criterion_is_judged_by_a_function_of_its_name():
    assert set(JUDGES) == set(KINDS)


def test_the_questions_as_shipped_hold_each_pair_of_the_four_arms_once():
    assert len(EXPERIMENT.pairs) == len(set(map(frozenset, EXPERIMENT.pairs))) == 6
    assert EXPERIMENT.asked == "Q1 to Q4"
    assert problems(EXPERIMENT) == {}


def test_a_criterion_of_ones_own_needs_no_code(values):
    more = Criterion(level="nice", kind="exceeds", a="polychromic", metric="engagement", threshold=0.1, name="lively")
    criterion = judged(values, experiment=replace(EXPERIMENT, criteria=(*EXPERIMENT.criteria, more)))["lively"]
    assert (criterion["level"], criterion["verdict"], criterion["comparison"]) == ("nice", "pass", ">")
    assert criterion["text"] == "engagement of polychromic is above 0.1."


def test_a_threshold_and_a_metric_of_ones_own_say_how_far_and_in_what(values):
    values["polychromic"] = {name: of + 0.1 for name, of in values["baseline"].items()}
    of = {"level": "must", "kind": "above", "a": "polychromic", "b": "baseline"}
    asked = [of | {"threshold": 0.05}, of | {"threshold": 0.15}, of | {"metric": "engagement"}]
    asked = [Criterion(**one, name=str(i)) for i, one in enumerate(asked)]
    asked += [
        Criterion(level="must", kind="significant", a="polychromic", b="baseline", threshold=p, name=f"p {p}")
        for p in (0.01, 1e-9)
    ]
    asked.append(Criterion(level="must", kind="significant", a="baseline", b="polychromic", name="the other way"))
    found = judged(values, experiment=replace(EXPERIMENT, criteria=tuple(asked)))
    assert [found[str(i)]["verdict"] for i in range(3)] == ["pass", "fail", "pass"]
    assert found["1"]["text"] == "Pass@2 of polychromic is more than 0.15 above baseline's."
    assert found["2"]["value"] == pytest.approx(0.1)
    assert (found["p 0.01"]["verdict"], found["p 1e-09"]["verdict"]) == ("pass", "fail")
    assert found["the other way"]["value"] == found["p 0.01"]["value"]
    assert found["the other way"]["verdict"] == "fail"


def test_a_share_of_the_ideal_is_of_the_best_that_is_known_at_the_largest_k(values):
    ideals = {"ideal: one": np.array([0.9, 0.5, 0.6]), "ideal: other": np.array([0.1, 0.8, 1.0])}
    values["baseline"]["pass_at_2"] = np.full((len(SEEDS), POSTS), 0.6)
    reaches = Criterion(level="must", kind="share_of_ideal", a="baseline", threshold=0.74)
    experiment = replace(EXPERIMENT, criteria=(reaches,))
    found = judged(values, experiment=experiment, ideals=ideals)["share_of_ideal_baseline"]
    assert (found["value"], found["low"], found["verdict"]) == (pytest.approx(0.75), pytest.approx(0.75), "pass")
    unknown = judged(values, experiment=experiment)["share_of_ideal_baseline"]
    assert (unknown["value"], unknown["verdict"], unknown["note"]) == (None, "fail", "No ideal is known here.")


def test_what_a_criterion_needs_and_does_not_find_is_named():
    wrong = (
        Criterion(level="must", kind="seeds"),
        Criterion(level="must", kind="gain", a="polychromic", b="zero_shot", threshold=0.1),
        Criterion(level="must", kind="not_gamed", a="grpo_from_nobody"),
        Criterion(level="must", kind="not_gamed", a="baseline"),
        Criterion(level="must", kind="exceeds", a="baseline", metric="rougel", threshold=0.3),
        Criterion(level="must", kind="seeds", a="baseline", threshold=3),
    )
    found = problems(replace(EXPERIMENT, criteria=wrong))
    assert found["criteria[0]"] == "no threshold; threshold for seeds"
    assert found["criteria[1]"].startswith("no contrast of polychromic with zero_shot; a question")
    assert found["criteria[2].a"].startswith("grpo_from_nobody; one of models: zero_shot")
    assert found["criteria[3].a"] == "baseline; an arm that stage grpo trains"
    assert found["criteria[4].metric"].startswith("rougel; a metric")
    assert found["criteria[5]"] == "a; threshold for seeds, no more"


def test_a_question_that_cannot_be_answered_and_a_start_that_is_no_arm_are_reported():
    ask = partial(Question, text="which?")
    asked = (ask(id="Q1", contrasts=(("baseline", "baseline"),)), ask(id="Q1", contrasts=()))
    starts = EXPERIMENT.compared | {"polychromic": "foo"}
    assert problems(replace(EXPERIMENT, questions=asked, criteria=(), compared=starts)) == {
        "compared.polychromic": "foo; an arm under arms: that it started from",
        "questions[0].contrasts": "baseline with itself; two arms",
        "questions[1].contrasts": "none; one pair [a, b] or more",
        "questions[1].id": "Q1 again; each id once",
    }


def test_an_arm_that_was_dropped_is_named_wherever_the_experiment_still_speaks_of_it():
    found = problems(EXPERIMENT, [model for model in MODELS if model != "polychromic"])
    assert set(found) == {"compared.polychromic", *(f"questions[{i}].contrasts" for i in (0, 1, 3))}


def test_an_experiment_that_asks_nothing_is_reported():
    assert set(problems(replace(EXPERIMENT, questions=(), criteria=(), compared={"baseline": "zero_shot"}))) == {
        "compared", "questions",
    }  # fmt: skip
