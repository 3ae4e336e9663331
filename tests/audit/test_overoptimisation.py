"""The over-optimisation curve: planted curves come back, and a peak out of reach is not claimed."""

import json

import numpy as np
import pytest

from polychrome.audit.overoptimisation import fit, gain_at, peak_of
from tests.evaluation.fakes import settings

ENDS = ("value", "low", "high")
PROMPTS = [f"prompt-{i}" for i in range(16)]
KL = np.repeat([0.0, 0.3, 1.0, 2.5, 6.0], len(PROMPTS)) * np.tile(np.linspace(0.8, 1.2, len(PROMPTS)), 5)
HOW = settings(300)


def planted(alpha, beta, noise=0.0, prompts=PROMPTS, seed=3):
    generator = np.random.default_rng(seed)
    worth = np.tile(generator.normal(size=len(prompts)), 5)  # what a prompt is worth, far larger than any gain
    scores = worth + gain_at(KL, alpha, beta) + noise * generator.normal(size=len(KL))
    return fit(KL, scores, prompts * 5, HOW)


def test_the_curve_is_the_papers():
    d = np.array([0.5, 1.0, 2.0])
    assert gain_at(d**2, 0.3, 0.2) == pytest.approx(d * (0.3 - 0.2 * np.log(d)))
    assert gain_at(np.array([0.0, -1e-4]), 0.3, 0.2).tolist() == [0, 0]


def test_a_planted_curve_comes_back_exactly_whatever_the_prompts_are_worth():
    found = planted(0.1, 0.08)
    assert found["alpha"] == pytest.approx(dict.fromkeys(ENDS, 0.1))
    assert found["beta"] == pytest.approx(dict.fromkeys(ENDS, 0.08))
    assert found["peak_kl"] == pytest.approx(np.exp(2 * (0.1 / 0.08 - 1)))
    assert found["peak_share"] == 1.0
    assert found["gain_at_reach"] == pytest.approx(dict.fromkeys(ENDS, float(gain_at(found["reach_kl"], 0.1, 0.08))))
    assert found["text"].startswith("The curve peaks at a KL of 1.65 nats per reply")


def test_the_peak_is_where_the_curve_is_highest():
    kl = np.linspace(0.01, 6, 5000)
    peak = peak_of(np.array([0.1]), np.array([0.08]), reach=6.0)[0]
    assert kl[gain_at(kl, 0.1, 0.08).argmax()] == pytest.approx(peak, abs=0.01)


def test_intervals_hold_the_truth_under_noise():
    found = [planted(0.1, 0.08, noise=0.02, seed=seed) for seed in range(150)]
    for name, truth in (("alpha", 0.1), ("beta", 0.08)):
        covered = np.mean([each[name]["low"] < truth < each[name]["high"] for each in found])
        assert covered == pytest.approx(0.93, abs=0.05)  # percentiles of 16 prompts are a little narrow
    peak = np.exp(2 * (0.1 / 0.08 - 1))
    assert np.mean([each["peak_kl_low"] < peak < each["peak_kl_high"] for each in found]) > 0.87


@pytest.mark.parametrize("beta", [0.0, 0.03])
def test_a_curve_that_only_rises_has_no_peak_within_reach(beta):
    found = planted(0.1, beta)
    assert [found[f"peak_{name}"] for name in ("kl", "kl_low", "kl_high", "share")] == [None, None, None, 0.0]
    assert found["text"].startswith("No peak within reach: at a KL of 7.2 nats")
    assert "rises" in found["text"]


def test_a_curve_that_falls_from_the_start_peaks_at_the_start():
    assert planted(-0.2, 0.05)["peak_kl"] < 1e-4
    assert "falls" in planted(-0.2, 0.0)["text"]


def test_one_epoch_has_one_intercept_for_all():
    kl = np.linspace(0, 4, 30)
    found = fit(kl, 0.5 + gain_at(kl, 0.1, 0.08), [f"prompt-{i}" for i in range(30)], HOW)
    assert found["alpha"]["value"] == pytest.approx(0.1)


def test_without_a_spread_of_kl_nothing_is_claimed():
    found = fit(np.full(80, 2.0), np.random.default_rng(0).normal(size=80), PROMPTS * 5, HOW)
    assert {found[name] for name in ("alpha", "beta", "peak_kl", "peak_share")} == {None}
    assert found["text"].startswith("No curve could be fitted")
    json.dumps(found, allow_nan=False)
