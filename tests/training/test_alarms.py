"""What makes training warn, and what makes it stop."""

import math

import pytest

from polychrome.training.alarms import Alarms, TrainingStopped

from .tiny import grpo

ALARMS = Alarms(kl_warn=10.0, kl_stop=15.0, reward_flat_steps=3, length_collapse_ratio=0.3)


def rows(**columns: list[float]) -> list[dict[str, float]]:
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"kl": [0.0, 10.0]}, ""),
        ({"kl": [0.0, 10.1]}, "KL is 10.10 nats per reply, above alarms.kl_warn = 10"),
        ({"kl": [0.0, 15.0]}, "KL is 15.00 nats per reply, above alarms.kl_warn = 10"),
        ({"completion_length": [10.0, 9.0, 3.0]}, ""),
        ({"completion_length": [10.0, 9.0, 2.9]}, "replies shrink: 2.9 tokens, 10.0 at the start"),
        ({"reward": [0.5, 0.4, 0.5, 0.5, 0.5, 0.5], "completion_length": [9.0] * 6}, ""),  # it rises
    ],
)
def test_a_threshold_warns_where_it_is_crossed_and_not_where_it_is_met(columns, said):
    assert list(ALARMS.check(rows(**columns))) == ([said] if said else [])


KL = r"step 1: KL .* alarms.kl_stop = 15.*learning_rate.*beta"
DIVERGED = r"step 1: (loss|grad_norm) is (nan|inf): training diverged"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("kl", 15.1, KL), ("kl", math.inf, KL)]
    + [(name, value, DIVERGED) for name in ("loss", "grad_norm") for value in (math.nan, math.inf)],
)
def test_a_high_kl_and_a_loss_or_gradient_that_is_no_number_stop_and_say_what_to_change(name, value, said):
    with pytest.raises(TrainingStopped, match=said):
        list(ALARMS.check([{"loss": 1.0, "grad_norm": 1.0} | {name: value}]))


def test_a_reward_that_does_not_rise_warns_once_every_so_many_steps():
    flat = rows(reward=[0.5] * 12, completion_length=[9.0] * 12)
    told = [len(list(ALARMS.check(flat[:n]))) for n in range(1, 13)]
    assert told == [0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 1]
    assert "0.500 over the last 3 steps, 0.500 over the 3 before" in next(ALARMS.check(flat))


def test_rewards_that_differ_in_no_group_warn_from_the_first_step_on_but_seldom():
    flat = rows(zero_variance_share=[1.0] * 12, completion_length=[9.0] * 12)
    told = [list(ALARMS.check(flat[:n])) for n in range(1, 13)]
    assert [n for n, said in enumerate(told, start=1) if said] == [1, 2, 4, 8]
    assert told[1] == ["in all 2 steps so far the replies to every post had the same reward: there is nothing to learn"]
    flat[0]["zero_variance_share"] = 0.99
    assert [list(ALARMS.check(flat[:n])) for n in range(1, 13)] == [[]] * 12


def test_thresholds_of_zero_are_off():
    off = Alarms(kl_warn=10.0, kl_stop=15.0, reward_flat_steps=0, length_collapse_ratio=0.0)
    assert list(off.check(rows(reward=[0.5] * 6, completion_length=[9.0] * 5 + [0.0]))) == []


def test_training_stops_at_a_stopping_alarm_and_warns_on_the_way(make_run, capsys):
    alarms = Alarms(kl_warn=1e-3, kl_stop=0.5, reward_flat_steps=0, length_collapse_ratio=0.0)
    run = make_run(grpo(), batch_size=12, epochs=20, learning_rate=0.03, alarms=alarms)
    with pytest.raises(TrainingStopped, match="KL"):
        run.train()
    assert 1 < run.state.step < 20
    assert f"warning: test, step {run.state.step - 1}: KL is" in capsys.readouterr().out
