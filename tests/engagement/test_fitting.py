"""Training the learned reward: what its report says beyond that of the judge."""

from dataclasses import replace

import numpy as np
import pytest

from polychrome.pairs.schema import Pair

from .pairs import WORDS, fitted_to, some_pairs


@pytest.fixture(scope="module")
def report():
    """Of pairs where questions engage; so does, less, a long reply."""
    return fitted_to(some_pairs(400, 80, asking=2.0, length=0.3), "reward")[1]


def test_a_signal_beyond_length_beats_length_significantly_and_none_does_not(report):
    assert report["gain_over_length_low"] > 0.2
    assert report["p_against_length"] < 0.01
    assert 0.6 < report["pairwise_accuracy_low"] < report["pairwise_accuracy"] < report["pairwise_accuracy_high"]
    _, nothing = fitted_to(some_pairs(400, 80), "reward")
    assert nothing["gain_over_length_low"] < 0
    assert nothing["p_against_length"] > 0.05


def test_the_head_is_that_of_the_best_epoch_however_long_the_fit_goes_on():
    early, late = (fitted_to(some_pairs(400, 80), "reward", patience=epochs)[0].head for epochs in (6, 60))
    assert np.array_equal(early.weights, late.weights)


def test_calibration_and_errors_are_those_of_the_held_out_predictions(report):
    curve = report["calibration"]
    assert [point["pairs"] for point in curve] == [40] * 10
    assert np.mean([point["actual"] for point in curve]) == pytest.approx(0.5, abs=1e-9)
    predicted = [point["predicted"] for point in curve]
    assert predicted == sorted(predicted)
    assert curve[-1]["actual"] > curve[0]["actual"] + 0.3
    assert all(point["low"] <= point["actual"] <= point["high"] for point in curve)
    assert all(0 < error < 0.5 for error in report["error_by_quartile"])


def test_the_ceiling_correlates_turns_of_one_person_in_one_conversation_where_turns_have_an_order():
    generator = np.random.default_rng(1)
    habit = generator.normal(size=60)
    pairs = []
    for c, place in ((c, place) for c in range(60) for place in range(6)):
        mood = habit[c] if place % 2 else -habit[c]  # the two of a conversation take turns
        post, reply = (" ".join(generator.choice(WORDS, size=4 + c % 3)) for _ in range(2))
        pairs.append(Pair(f"k{c}:{place}", f"k{c}", post, reply, float(np.exp(3 * mood + generator.normal())), "x"))
    ceiling = fitted_to(pairs, "reward", epochs=2)[1]["ceiling"]
    assert ceiling["neighbours"] == 60 * 4
    assert 0.6 < ceiling["low"] < ceiling["agreement"] < ceiling["high"] < 1
    assert ceiling["ceiling_of_what_lasts"] == pytest.approx(ceiling["agreement"] ** 0.5)
    unordered = [replace(pair, id=f"r{i}") for i, pair in enumerate(pairs)]
    assert fitted_to(unordered, "reward", epochs=2)[1]["ceiling"].keys() == {"neighbours", "note"}
