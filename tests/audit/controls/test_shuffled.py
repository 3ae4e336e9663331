"""Rewards at random: a gain is a finding, none is as expected, and how much could have been missed is said."""

import numpy as np
import pytest

from polychrome.audit.controls.record import AS_EXPECTED, NOT_AS_EXPECTED, NOT_MEASURED
from polychrome.audit.controls.shuffled import shuffled
from polychrome.errors import InputError
from tests.evaluation.fakes import settings, write_engagement

POSTS = 40


BEFORE = np.random.default_rng(0).uniform(0.4, 0.6, size=POSTS)


@pytest.fixture
def found(tmp_path):
    """What is found of a control that moved by so much, with so much noise beside an arm that gained 0.1."""

    def found(by, noise=0.01, before=BEFORE):
        start = write_engagement(tmp_path / "start", BEFORE, human=[0.4, 0.6] * (POSTS // 2))
        deviations = np.random.default_rng(7).normal(size=len(before))
        moved = noise * (deviations - deviations.mean())
        control = write_engagement(tmp_path / "control", before + by + moved)
        return shuffled(control, write_engagement(tmp_path / "arm", BEFORE + 0.1), start, settings(500))

    return found


def test_a_control_that_gains_nothing_is_as_expected_and_stands_beside_the_arms_gain(found):
    (control,), details = found(0.0)
    assert control.verdict == AS_EXPECTED
    assert control.low < 0 < control.high
    assert "is excluded" in control.found
    assert "+0.1" in control.note
    assert details["margin"] == pytest.approx(0.25 * np.array([0.4, 0.6] * 20).std(ddof=1))
    assert details["gain_excluded"]


def test_a_control_that_gains_is_a_finding(found):
    assert found(0.05)[0][0].verdict == NOT_AS_EXPECTED


def test_a_gain_that_so_few_posts_cannot_exclude_is_not_measured_and_said_to_be_so(found):
    (control,), details = found(0.0, noise=0.3)
    assert control.verdict == NOT_MEASURED
    assert "is not excluded by so few posts" in control.found
    assert not details["gain_excluded"]


def test_evaluations_of_other_posts_are_reported(found):
    with pytest.raises(InputError, match="not those of the warm-start"):
        found(0.0, before=BEFORE[:10])
