"""Rewards at random: a gain is a finding, none is as expected, and how much could have been missed is said."""

import numpy as np
import pytest

from polychrome.audit.controls.record import AS_EXPECTED, NOT_AS_EXPECTED, NOT_MEASURED
from polychrome.audit.controls.shuffled import shuffled
from polychrome.errors import InputError
from polychrome.files import write_json
from tests.evaluation.fakes import settings

SETTINGS = settings(500)
POSTS = 40


def evaluation(folder, engagement):
    value = {
        "posts": [f"p{i}" for i in range(len(engagement))],
        "samples": 2,
        "passing": [0] * len(engagement),
        "metrics": {"engagement": list(engagement)},
        "human": {"engagement": [0.4 + 0.2 * (i % 2) for i in range(len(engagement))]},
    }
    write_json(folder / "per_post.json", value)
    return folder


@pytest.fixture
def start(tmp_path):
    return evaluation(tmp_path / "start", np.random.default_rng(0).uniform(0.4, 0.6, size=POSTS))


def moved(tmp_path, name, by, noise=0.01):
    generator = np.random.default_rng(len(name))
    base = np.random.default_rng(0).uniform(0.4, 0.6, size=POSTS)
    deviations = generator.normal(size=POSTS)
    return evaluation(tmp_path / name, base + by + noise * (deviations - deviations.mean()))


def test_a_control_that_gains_nothing_is_as_expected_and_stands_beside_the_arms_gain(tmp_path, start):
    (control,), details = shuffled(moved(tmp_path, "control", 0.0), moved(tmp_path, "arm", 0.1), start, SETTINGS)
    assert control.verdict == AS_EXPECTED
    assert control.low < 0 < control.high
    assert "is excluded" in control.found
    assert "+0.1" in control.note
    assert details["margin"] == pytest.approx(0.25 * np.array([0.4, 0.6] * 20).std(ddof=1))
    assert details["gain_excluded"]


def test_a_control_that_gains_is_a_finding(tmp_path, start):
    (control,), _ = shuffled(moved(tmp_path, "control", 0.05), moved(tmp_path, "arm", 0.1), start, SETTINGS)
    assert control.verdict == NOT_AS_EXPECTED


def test_a_gain_that_so_few_posts_cannot_exclude_is_not_measured_and_said_to_be_so(tmp_path, start):
    (control,), details = shuffled(moved(tmp_path, "control", 0.0, 0.3), moved(tmp_path, "arm", 0.1), start, SETTINGS)
    assert control.verdict == NOT_MEASURED
    assert "is not excluded by so few posts" in control.found
    assert not details["gain_excluded"]


def test_evaluations_of_other_posts_are_reported(tmp_path, start):
    with pytest.raises(InputError, match="not those of the warm-start"):
        shuffled(evaluation(tmp_path / "few", [0.5] * 10), moved(tmp_path, "arm", 0.1), start, SETTINGS)
