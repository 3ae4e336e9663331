"""Training the learned reward: it finds what is there, finds nothing where nothing is, and reports honestly."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from polychrome.engagement.fitting import fit, pairwise_accuracy
from polychrome.engagement.learned import LearnedReward
from polychrome.engagement.ranks import ranked
from polychrome.engagement.settings import FitSettings
from polychrome.pairs.schema import Pair
from tests.encoders import Letters

from .pairs import WORDS, some_pairs

SETTINGS = FitSettings(learning_rate=1e-3, penalty=0.01, epochs=60, patience=6)
SIGNAL = {"asking": 2.0, "length": 0.3}  # questions engage; so does, less, a long reply


def fitted_to(pairs, **changes):
    return fit(ranked(pairs, "reward", 200, 0.95), Letters(), replace(SETTINGS, **changes))


@pytest.fixture(scope="module")
def fitted():
    return fitted_to(some_pairs(400, 80, **SIGNAL))


def test_a_signal_beyond_length_is_found_and_beats_length_significantly(fitted):
    _, report = fitted
    assert report["spearman_low"] > 0.45
    assert report["spearman_low"] < report["spearman"] < report["spearman_high"]
    assert report["gain_over_length_low"] > 0.2
    assert report["p_against_length"] < 0.01
    assert "better than the reply's length" in report["verdict"]


def test_what_is_reported_holds_on_fresh_conversations(fitted):
    head, report = fitted
    fresh = some_pairs(400, 80, seed=9, **SIGNAL)
    reward = LearnedReward(head, Letters())
    predicted = reward.predict([p.post for p in fresh], [p.reply for p in fresh])
    accuracy = pairwise_accuracy(predicted, np.array([p.engagement for p in fresh]))
    assert report["pairwise_accuracy_low"] - 0.03 < accuracy < report["pairwise_accuracy_high"] + 0.05


def test_without_a_signal_nothing_is_found_and_that_is_said():
    _, report = fitted_to(some_pairs(400, 80))
    assert report["spearman_low"] < 0.05
    assert report["gain_over_length_low"] < 0
    assert report["p_against_length"] > 0.05
    assert "not established to be better than" in report["verdict"]


def test_a_conversation_never_predicts_itself():
    """Five copies of one pair per conversation and no signal: folds that cut conversations would find the copies."""
    alone = some_pairs(80, 80)
    pairs = [replace(pair, id=f"{pair.id}-{copy}") for pair in alone for copy in range(5)]
    _, report = fitted_to(pairs, penalty=0.0)
    assert report["spearman"] < 0.25


def test_calibration_and_errors_are_those_of_the_held_out_predictions(fitted):
    _, report = fitted
    curve = report["calibration"]
    assert [point["pairs"] for point in curve] == [40] * 10
    assert np.mean([point["actual"] for point in curve]) == pytest.approx(0.5, abs=1e-9)
    predicted = [point["predicted"] for point in curve]
    assert predicted == sorted(predicted)
    assert curve[-1]["actual"] > curve[0]["actual"] + 0.3
    assert all(point["low"] <= point["actual"] <= point["high"] for point in curve)
    low, *_, high = report["error_by_quartile"]
    assert 0 < low < 0.5
    assert 0 < high < 0.5


def test_pairwise_accuracy_counts_pairs():
    predicted, target = np.random.default_rng(0).integers(0, 6, size=(2, 40)).astype(float)
    differ = [(i, j) for i, j in combinations(range(40), 2) if target[i] != target[j]]
    signs = np.array([np.sign((predicted[i] - predicted[j]) * (target[i] - target[j])) for i, j in differ])
    assert pairwise_accuracy(predicted, target) == pytest.approx((signs / 2 + 0.5).mean())


def test_the_ceiling_correlates_turns_of_one_person_in_one_conversation():
    generator = np.random.default_rng(1)
    habit = generator.normal(size=60)
    pairs = []
    for c, place in ((c, place) for c in range(60) for place in range(6)):
        mood = habit[c] if place % 2 else -habit[c]  # the two of a conversation take turns
        post, reply = (" ".join(generator.choice(WORDS, size=4 + c % 3)) for _ in range(2))
        pairs.append(Pair(f"k{c}:{place}", f"k{c}", post, reply, float(np.exp(3 * mood + generator.normal())), "x"))
    _, report = fitted_to(pairs, epochs=2)
    ceiling = report["ceiling"]
    assert ceiling["neighbours"] == 60 * 4
    assert 0.6 < ceiling["low"] < ceiling["agreement"] < ceiling["high"] < 1
    assert ceiling["ceiling_of_what_lasts"] == pytest.approx(ceiling["agreement"] ** 0.5)


def test_without_turns_in_order_there_is_no_ceiling_and_that_is_said():
    pairs = [replace(pair, id=f"r{i}") for i, pair in enumerate(some_pairs(100, 20))]
    _, report = fitted_to(pairs, epochs=2)
    assert report["ceiling"]["neighbours"] == 0
    assert "agreement" not in report["ceiling"]
