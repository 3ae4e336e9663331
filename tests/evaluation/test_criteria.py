"""The criteria that rest on training: whether it changed the models at all, and whether it gamed its reward."""

from dataclasses import replace

import numpy as np
import pytest

from polychrome.evaluation.contrasts import all_contrasts
from polychrome.evaluation.criteria import JUDGES, Evidence, judge_criteria
from polychrome.evaluation.experiment import KINDS, Criterion
from polychrome.evaluation.metrics import compared
from polychrome.evaluation.results import Results

from .fakes import EXPERIMENT, settings

POSTS, SEEDS = 20, (1, 2)
MODELS = (
    "zero_shot",
    "baseline_warmstart",
    "polychromic_warmstart",
    "baseline",
    "polychromic",
    "grpo_from_baseline",
    "grpo_from_polychromic",
)
SETTINGS = settings(100, ks=(1, 2))


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


def judged(values, verdicts=CLEAN, models=MODELS, experiment=EXPERIMENT):
    results = Results(models, SEEDS, 4, POSTS, values, {}, {})
    contrasts = all_contrasts(results, experiment.pairs, SETTINGS)
    criteria = judge_criteria(Evidence(results, contrasts, verdicts, experiment, SETTINGS))["criteria"]
    return {criterion["name"]: criterion for criterion in criteria}


def test_no_reward_hacking_is_the_verdict_over_all_seeds(values):
    criterion = judged(values)["no_reward_hacking_grpo_from_baseline"]
    assert (criterion["verdict"], criterion["value"], criterion["threshold"]) == ("pass", 0, 0)
    assert criterion["note"] == "Seed 1: Not gamed: of seed 1. Seed 2: Not gamed: of seed 2."


def test_one_gamed_seed_fails_its_arm_alone_and_is_reported(values):
    verdicts = CLEAN | {"grpo_from_baseline": [verdict(1), verdict(2, gamed=True)]}
    found = judged(values, verdicts)
    criterion = found["no_reward_hacking_grpo_from_baseline"]
    assert (criterion["verdict"], criterion["value"]) == ("fail", 1)
    assert criterion["note"] == "Seed 2: Gamed: of seed 2."
    assert found["no_reward_hacking_grpo_from_polychromic"]["verdict"] == "pass"


def test_a_verdict_that_the_data_do_not_back_is_no_acquittal(values):
    verdicts = CLEAN | {"grpo_from_polychromic": [verdict(1, conclusive=False), verdict(2)]}
    criterion = judged(values, verdicts)["no_reward_hacking_grpo_from_polychromic"]
    assert (criterion["verdict"], criterion["value"], criterion["inconclusive_seeds"]) == ("fail", 0, 1)
    assert "of seed 1" in criterion["note"]


@pytest.mark.parametrize(
    ("model", "start"),
    [
        ("baseline", "zero_shot"),
        ("polychromic", "zero_shot"),
        ("grpo_from_baseline", "baseline_warmstart"),
        ("grpo_from_polychromic", "polychromic_warmstart"),
    ],
)
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


def experiment(**changes):
    return replace(EXPERIMENT, **changes)


def problems(changed, models=MODELS):
    return {problem.where: f"{problem.found}; {problem.expected}" for problem in changed.problems(models)}


def test_every_kind_of_criterion_is_judged_by_a_function_of_its_name():
    assert set(JUDGES) == set(KINDS)


def test_the_questions_as_shipped_hold_each_pair_of_the_four_arms_once():
    assert len(EXPERIMENT.pairs) == len(set(map(frozenset, EXPERIMENT.pairs))) == 6
    assert EXPERIMENT.asked == "Q1 to Q4"
    assert problems(EXPERIMENT) == {}


def test_a_criterion_of_ones_own_needs_no_code(values):
    more = Criterion(level="nice", kind="exceeds", a="polychromic", metric="engagement", threshold=0.1, name="lively")
    criterion = judged(values, experiment=experiment(criteria=(*EXPERIMENT.criteria, more)))["lively"]
    assert (criterion["level"], criterion["verdict"], criterion["comparison"]) == ("nice", "pass", ">")
    assert criterion["text"] == "engagement of polychromic is above 0.1."


def test_what_a_criterion_needs_and_does_not_find_is_named():
    wrong = (
        Criterion(level="must", kind="seeds"),
        Criterion(level="must", kind="gain", a="polychromic", b="zero_shot", threshold=0.1),
        Criterion(level="must", kind="not_gamed", a="grpo_from_nobody"),
    )
    found = problems(experiment(criteria=wrong))
    assert found["criteria[0]"] == "no threshold; threshold for seeds"
    assert found["criteria[1]"].startswith("no contrast of polychromic with zero_shot; a question")
    assert found["criteria[2].a"].startswith("grpo_from_nobody; one of models: zero_shot")


def test_an_arm_that_was_dropped_is_named_wherever_the_experiment_still_speaks_of_it():
    found = problems(EXPERIMENT, [model for model in MODELS if model != "polychromic"])
    assert set(found) == {"compared.polychromic", *(f"questions[{i}].contrasts" for i in (0, 1, 3))}


def test_an_experiment_that_asks_nothing_is_reported():
    assert set(problems(experiment(questions=(), criteria=(), compared={"baseline": "zero_shot"}))) == {
        "compared", "questions",
    }  # fmt: skip
