"""The answers: one sentence each, with what was measured and what could have been."""

import pytest

from polychrome.reporting.figures import LABELS
from polychrome.reporting.page.answers import PREDICTED, answers, named

FAMILY = {"primary_metric": "pass_at_10", "confidence": 0.95}


def contrast(a, b, difference, different=False, **more):
    numbers = {"low": difference - 0.05, "high": difference + 0.05, "p_holm": 0.0001 if different else 0.4}
    return {"a": a, "b": b, "metric": "pass_at_10", "difference": difference, "different": different} | numbers | more


def answered(*contrasts, **more):
    question = {"id": "Q", "question": "Is it?", "verdict": "In full.", "contrasts": list(contrasts)} | more
    (answer,) = answers({"family": FAMILY, "questions": [question]}, LABELS)
    return answer


@pytest.mark.parametrize(
    ("differences", "short"),
    [
        ([(0.2, True)], "Yes"),
        ([(-0.2, True)], "No"),
        ([(0.2, False)], "Not established"),
        ([(0.2, True), (0.1, True)], "Yes"),
        ([(0.2, True), (0.1, False)], "In part"),
        ([(0.2, True), (-0.2, True)], "In part"),
        ([(-0.2, True), (0.1, False)], "No"),
    ],
)
def test_the_short_answer_says_yes_only_when_every_difference_is_established(differences, short):
    assert answered(*(contrast("polychromic", "baseline", d, different) for d, different in differences)).short == short


def test_an_established_difference_is_told_with_its_interval():
    assert answered(contrast("polychromic", "baseline", 0.2, True)).sentence == (
        "Polychromic is above baseline on Pass@10 by +0.200 (95% interval +0.150 to +0.250, Holm-corrected p < 0.001)."
    )


def test_one_that_is_not_names_what_would_have_been_seen():
    sentence = answered(contrast("grpo_from_baseline", "baseline", 0.02, detectable=0.094)).sentence
    assert sentence.startswith(
        "No difference between baseline \u2192 GRPO and baseline on Pass@10 is established, +0.020"
    )
    assert sentence.endswith("where a true 0.094 would be seen with 80% power.")
    unseen = answered(contrast("polychromic", "baseline", 0.02, detectable=None)).sentence
    assert unseen.endswith("where too little varies for any true difference to be seen with 80% power.")


def test_two_contrasts_are_still_one_sentence():
    sentence = answered(
        contrast("grpo_from_baseline", "baseline", 0.2, True), contrast("grpo_from_polychromic", "polychromic", 0.01)
    ).sentence
    assert sentence.count(";") == 1
    assert sentence.count(". ") == 0


def test_the_best_is_named_only_when_it_is_separated_from_the_second():
    ranking = [
        {"model": m, "value": v, "low": v - 0.1, "high": v} for m, v in (("baseline", 0.9), ("polychromic", 0.8))
    ]
    apart = answered(contrast("polychromic", "baseline", -0.1, True), ranking=ranking)
    assert apart.short == "baseline"
    assert "0.900 (0.800 to 0.900), and is separated from the second, polychromic: +0.100" in apart.sentence
    close = answered(contrast("polychromic", "baseline", -0.1), ranking=ranking)
    assert close.short == "No clear winner"
    assert "95% interval +0.050 to +0.150" in close.sentence
    tied = answered(contrast("polychromic", "baseline", 0.0), ranking=[ranking[0], ranking[1] | {"value": 0.9}])
    assert tied.short == "None"


def test_what_cannot_be_compared_says_so():
    undefined = {"a": "polychromic", "b": "baseline", "metric": "pass_at_10", "undefined": "fewer than two posts"}
    answer = answered(undefined)
    assert answer.short == "Not established"
    assert answer.sentence == "Polychromic and baseline cannot be compared on Pass@10: fewer than two posts."


def test_models_go_by_their_names_in_sentences():
    told = named("grpo_from_baseline beats baseline_warmstart and baseline.", LABELS)
    assert told == "baseline \u2192 GRPO beats baseline, warm-start and baseline."
    assert named("see results/gaming/grpo_from_baseline.", LABELS) == "see results/gaming/grpo_from_baseline."


def test_the_predicted_table_is_what_the_seed_wrote():
    assert PREDICTED["grpo_from_polychromic"] == {
        "pass_at_1": 0.45,
        "pass_at_10": 0.75,
        "self_bleu": 0.30,
        "rouge_l": 0.34,
        "engagement": 0.70,
    }
    assert [row["pass_at_10"] for row in PREDICTED.values()] == [0.42, 0.61, 0.68, 0.75]
