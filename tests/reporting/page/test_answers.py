"""The short answers: yes only when established, and what could not have been seen is said."""

import pytest

from polychrome.reporting.names import MODELS
from polychrome.reporting.page.answers import PREDICTED, answers


def contrast(a, b, difference, different=False, notes=()):
    found = {"undefined": "no posts"}
    if difference:
        found = {"difference": difference, "low": difference - 0.1, "high": difference + 0.1, "detectable": 0.3}
        found["different"] = different
    return {"a": a, "b": b, "metric": "pass_at_10", "notes": notes} | found


def answered(*contrasts, verdict="In full.", **more):
    question = {"id": "Q", "question": "Is it?", "verdict": verdict, "contrasts": contrasts} | more
    family = {"primary_metric": "pass_at_10"}
    (answer,) = answers({"family": family, "questions": [question], "models": MODELS})
    return answer


@pytest.mark.parametrize(
    ("differences", "short"),
    [
        ([(0.2, True)], "Yes"),
        ([(-0.2, True)], "No"),
        ([(0.2, False)], "Not established"),
        ([(None, None)], "Not established"),
        ([(0.2, True), (0.1, True)], "Yes"),
        ([(0.2, True), (0.1, False)], "In part"),
        ([(0.2, True), (-0.2, True)], "In part"),
        ([(-0.2, True), (0.1, False)], "No"),
    ],
)
def test_the_short_answer_says_yes_only_when_every_difference_is_established(differences, short):
    assert answered(*(contrast("polychromic", "baseline", *one) for one in differences))["short"] == short


@pytest.mark.parametrize(
    ("differences", "said"),
    [
        ([(0.02, False)], "a gain above 0.120 is excluded"),
        ([(0.02, False), (-0.04, False)], "a gain above 0.120 is excluded"),  # the largest that one leaves open
        ([(-0.2, False)], "any gain is excluded"),
        ([(0.2, True), (0.02, False)], ""),  # in part: the sentence says it of the other pair
        ([(-0.2, True)], ""),
        ([(None, None)], ""),
    ],
)
def test_an_answer_that_is_not_established_says_which_gain_is_excluded(differences, said):
    assert answered(*(contrast("polychromic", "baseline", *one) for one in differences))["excluded"] == said


def test_the_gain_of_the_best_is_excluded_whichever_way_its_contrast_is_held():
    ranking = [{"model": "baseline", "value": 0.9}, {"model": "polychromic", "value": 0.8}]
    held = [contrast("baseline", "polychromic", 0.03), contrast("polychromic", "baseline", -0.03)]
    assert [answered(one, ranking=ranking)["excluded"] for one in held] == ["a gain above 0.130 is excluded"] * 2


def test_the_answer_is_what_compare_says_of_the_primary_metric_with_names_and_what_could_not_be_seen():
    verdict = (
        "No difference between grpo_from_baseline and baseline on Pass@10 is established: difference +0.020. "
        "grpo_from_baseline also differs on Pass@1 (higher). polychromic is above baseline on Pass@10."
    )
    note = "a could be at most 0.225 above b, too little to be seen with 80% power"
    other = contrast("polychromic", "baseline", 0.2, True, notes=[note])
    answer = answered(contrast("grpo_from_baseline", "baseline", 0.02, notes=[note, "a note"]), other, verdict=verdict)
    assert answer["sentence"] == (
        "No difference between baseline \u2192 GRPO and baseline on Pass@10 is established: difference +0.020. "
        "polychromic is above baseline on Pass@10. "
        "baseline \u2192 GRPO could be at most 0.225 above baseline, too little to be seen with 80% power."
    )
    assert answer["in_full"] == verdict.replace("grpo_from_baseline", "baseline \u2192 GRPO")


@pytest.mark.parametrize(
    ("second", "other", "different", "short"),
    [
        (0.8, "polychromic", True, "baseline"),
        (0.8, "polychromic", False, "No clear winner"),
        (0.8, "zero_shot", True, "No clear winner"),  # no question contrasts the best with the second
        (0.9, "polychromic", True, "None"),
    ],
)
def test_the_best_is_named_only_when_it_is_separated_from_the_second(second, other, different, short):
    ranking = [{"model": "baseline", "value": 0.9}, {"model": "polychromic", "value": second}]
    verdict = "baseline has the highest Pass@10; difference +0.100. Another pair differs."
    answer = answered(contrast(other, "baseline", -0.1, different), ranking=ranking, verdict=verdict)
    assert (answer["short"], answer["sentence"]) == (short, "Baseline has the highest Pass@10; difference +0.100.")


def test_the_predicted_table_is_what_the_seed_wrote():
    final = {"pass_at_1": 0.45, "pass_at_10": 0.75, "self_bleu": 0.30, "rouge_l": 0.34, "engagement": 0.70}
    assert PREDICTED["grpo_from_polychromic"] == final
    assert [row["pass_at_10"] for row in PREDICTED.values()] == [0.42, 0.61, 0.68, 0.75]
