"""Numbers and names as a reader knows them."""

import pytest

from polychrome.reporting import words
from polychrome.reporting.names import MODELS, metric_name, model_name, named


def test_signs_are_true_minus_signs_and_nothing_has_none():
    assert [words.signed(value) for value in (0.05, -0.05, -1e-9, 0.0)] == ["+0.050", "\u22120.050", "0.000", "0.000"]
    assert [words.plain(value) for value in (0.05, -0.05, -1e-9)] == ["0.050", "\u22120.050", "0.000"]
    assert words.interval(-0.1, 0.2) == "\u22120.100 to 0.200"
    assert words.interval(-0.1, 0.2, plus=True) == "\u22120.100 to +0.200"
    assert [words.short(value) for value in (-0.05, 0.060113, 3, 1.08)] == ["\u22120.05", "0.0601", "3", "1.08"]


@pytest.mark.parametrize(
    ("tell", "told"),
    [
        (words.duration, {0.42: "0.4 s", 41: "41 s", 59.7: "1 min 00 s", 200: "3 min 20 s"}),
        (words.duration, {3599.6: "1 h 00 min", 7500: "2 h 05 min"}),
        (words.percent, {0: "0%", 0.0004: "0.0%", 0.051: "5.1%", 0.1: "10%", 0.123: "12%"}),
        (words.excluded, {0.0401: "a gain above 0.040 is excluded", -0.01: "any gain is excluded"}),
        (words.p_value, {0.0004: "p < 0.001", 0.0312: "p = 0.031"}),
        (words.sign, {">=": "\u2265", "<=": "\u2264", "<": "<"}),
        (metric_name, {"pass_at_10": "Pass@10", "rouge_l": "ROUGE-L", "words": "words", "an_own": "an own"}),
        (model_name, {"grpo_from_baseline": "baseline \u2192 GRPO", "an_arm": "an arm"}),
    ],
)
def test_durations_carry_over_small_shares_keep_a_digit_a_tiny_p_is_told_by_its_bound_and_names_are_names(tell, told):
    assert {value: tell(value) for value in told} == told


def test_the_ceiling_is_said_with_its_intervals():
    found = {"agreement": 0.1, "low": 0.02, "high": 0.2, "neighbours": 967, "ceiling_of_what_lasts": 0.31}
    assert words.ceiling(found) == "agreement 0.100 (0.020 to 0.200); neighbours 967; ceiling of what lasts 0.310"


def test_models_go_by_their_names_in_sentences_but_not_in_paths():
    told = named("grpo_from_baseline beats baseline_warmstart and baseline.", MODELS)
    assert told == "baseline \u2192 GRPO beats baseline warm-start and baseline."
    assert named("see results/gaming/grpo_from_baseline.", MODELS) == "see results/gaming/grpo_from_baseline."
