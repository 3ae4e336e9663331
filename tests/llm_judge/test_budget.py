"""Limits are kept before a call is made; calls keep their distance."""

import pytest

from polychrome.llm_judge.budget import Budget, ExhaustedError, Pace


def test_a_call_that_could_break_the_limit_in_dollars_is_not_made():
    budget = Budget(0.010, 100, 3.0, 15.0)
    worst = budget.worst_case(request_bytes=1000, max_tokens=100)
    assert worst == pytest.approx((2024 * 3 + 100 * 15) / 1e6)  # 0.00757
    budget.reserve(worst)
    with pytest.raises(ExhaustedError, match=r"max_dollars"):
        budget.reserve(worst)
    assert budget.calls == 1
    budget.settle(worst, 0.001)
    budget.reserve(worst)
    assert budget.dollars == pytest.approx(0.001 + worst)


def test_calls_are_counted_too():
    budget = Budget(0.0, 1, 0.0, 0.0)
    budget.reserve(0.0)
    with pytest.raises(ExhaustedError, match="max_calls"):
        budget.reserve(0.0)


def test_calls_keep_the_distance_of_the_rate_and_wait_longer_when_asked_to():
    now, slept = [100.0], []

    def sleep(seconds):
        slept.append(seconds)
        now[0] += seconds

    pace = Pace(30.0, lambda: now[0], sleep)
    pace.wait()
    now[0] += 0.5
    pace.wait()
    pace.wait(at_least=7.0)
    now[0] += 5.0
    pace.wait()
    assert slept == pytest.approx([1.5, 7.0])
