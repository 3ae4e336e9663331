"""Numbers and names as a reader knows them."""

import pytest

from polychrome.reporting import words
from polychrome.reporting.names import MODELS, metric_name, model_name, named


def test_signs_are_true_minus_signs_and_nothing_has_none():
    assert words.signed(0.05) == "+0.050"
    assert words.signed(-0.05) == "\u22120.050"
    assert words.signed(-1e-9) == "0.000"
    assert words.plain(-0.05) == "\u22120.050"
    assert words.plain(-1e-9) == "0.000"
    assert words.interval(-0.1, 0.2, plus=True) == "\u22120.100 to +0.200"


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.42, "0.4 s"),
        (41, "41 s"),
        (59.7, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599.6, "1 h 00 min"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations_carry_over(seconds, told):
    assert words.duration(seconds) == told


def test_shares_keep_a_digit_where_they_are_small():
    assert [words.percent(share) for share in (0, 0.0004, 0.051, 0.1, 0.123)] == ["0%", "0.0%", "5.1%", "10%", "12%"]


def test_p_is_told_by_its_bound_when_it_is_tiny():
    assert words.p_value(0.0004) == "p < 0.001"
    assert words.p_value(0.0312) == "p = 0.031"


def test_figures_beside_a_threshold_are_short_and_set_in_print():
    assert [words.short(value) for value in (-0.05, 0.060113, 3, 1.08)] == ["\u22120.05", "0.0601", "3", "1.08"]
    assert [words.sign(comparison) for comparison in (">=", "<=", "<")] == ["\u2265", "\u2264", "<"]


def test_the_ceiling_is_said_with_its_intervals():
    found = {"agreement": 0.1, "low": 0.02, "high": 0.2, "neighbours": 967, "ceiling_of_what_lasts": 0.31}
    assert words.ceiling(found) == "agreement 0.100 (0.020 to 0.200); neighbours 967; ceiling of what lasts 0.310"


def test_metrics_and_models_have_names():
    found = [metric_name(name) for name in ("pass_at_10", "rouge_l", "words", "an_own_metric")]
    assert found == ["Pass@10", "ROUGE-L", "words", "an own metric"]
    assert [model_name(name) for name in ("grpo_from_baseline", "an_arm")] == ["baseline \u2192 GRPO", "an arm"]


def test_models_go_by_their_names_in_sentences_but_not_in_paths():
    told = named("grpo_from_baseline beats baseline_warmstart and baseline.", MODELS)
    assert told == "baseline \u2192 GRPO beats baseline warm-start and baseline."
    assert named("see results/gaming/grpo_from_baseline.", MODELS) == "see results/gaming/grpo_from_baseline."
