"""The summary of a run, by hand, and the curves beside it."""

import json

import numpy as np
import pytest

from polychrome.training.loop import State
from polychrome.training.summary import reward_gain, summarise, write_training

FACTS = {"arm": "a", "seed": 1, "pairs": 3, "best_step": 0}


def rewards(*epochs: dict[str, float]) -> list[dict]:
    """A history in which every step shows one prompt."""
    return [{"loss": 0.5, "rollouts": [group(name, value)]} for epoch in epochs for name, value in epoch.items()]


def group(name: str, reward: float) -> dict:
    """Two replies to a prompt whose mean reward is the one given."""
    rewards = [reward - 0.1, reward + 0.1]
    return {"id": name, "post": "p", "replies": ["r", "s"], "rewards": rewards, "ended": [True, False]}


def test_the_gain_is_last_epoch_minus_first_by_prompt_whatever_the_order_and_the_epochs_between():
    told = reward_gain(
        rewards({"a": 0.1, "b": 0.5, "c": 0.2}, {"b": 0.9, "a": 0.9, "c": 0.9}, {"c": 0.4, "a": 0.2, "b": 0.8}), seed=0
    )
    assert told["reward_first_epoch"] == pytest.approx(0.8 / 3)
    assert told["reward_last_epoch"] == pytest.approx(1.4 / 3)
    assert told["reward_gain"]["mean"] == pytest.approx((0.1 + 0.3 + 0.2) / 3)
    assert told["prompts"] == 3


def test_the_interval_is_that_of_the_paired_gain_not_of_the_rewards():
    first = dict(zip(map(str, range(40)), np.random.default_rng(0).uniform(size=40), strict=True))
    noise = np.random.default_rng(1).normal(0.3, 0.05, size=40)
    last = {name: reward + by for (name, reward), by in zip(first.items(), noise, strict=True)}
    gain = reward_gain(rewards(first, last), 0)["reward_gain"]
    assert 0 < gain["low"] < gain["mean"] < gain["high"]
    assert gain["high"] - gain["low"] == pytest.approx(2 * 1.96 * 0.05 / 40**0.5, rel=0.3)


@pytest.mark.parametrize(
    "history",
    [
        rewards({"a": 0.1, "b": 0.2}),
        rewards({"a": 0.1}, {"a": 0.2}),
        [*rewards({"a": 0.1, "b": 0.2}), {"loss": 0.4}],
    ],
    ids=["one epoch", "one prompt", "rollouts that served two steps"],
)
def test_a_gain_that_cannot_be_measured_is_absent_and_says_why(history):
    told = reward_gain(history, seed=0)
    assert told["reward_gain"] is None
    assert "two epochs" in told["reward_gain_note"]


def test_the_interval_is_a_point_when_every_prompt_gains_the_same():
    gain = reward_gain(rewards({"a": 0.25, "b": 0.5}, {"a": 0.5, "b": 0.75}), 0)["reward_gain"]
    assert gain == {"mean": 0.25, "low": 0.25, "high": 0.25}


def test_the_summary_has_the_facts_the_last_step_and_the_mean_share_of_every_term_but_the_first():
    history = [{"loss": 2.0, "diversity_gradient_share": 0.2}, {"loss": 1.0, "diversity_gradient_share": 0.4}]
    state = State(step=2, history=history, validations=[{"step": 2, "validation_cross_entropy": 3.0}])
    expected = FACTS | {"steps": 2, "validations": state.validations, "last_step": history[-1]}
    assert summarise(state, FACTS, seed=1) == expected | {"diversity_gradient_share": pytest.approx(0.3)}


def test_each_curve_has_one_row_a_step_and_the_rewards_of_prompts_stay_out(tmp_path):
    history = [
        {"loss": 2.0 - n, "anything": 0.1 * n, "kl": 0.5, "rollouts": [group("a", 0.1 * n), group("b", 0.3)]}
        for n in range(3)
    ]
    write_training(tmp_path / "run", State(step=3, history=history), FACTS, seed=1)
    curves = {file.stem: file.read_text().splitlines() for file in (tmp_path / "run").rglob("*.tsv")}
    assert curves.keys() == {"loss", "anything", "kl"}
    assert curves["loss"] == ["step\tloss", "0\t2.0", "1\t1.0", "2\t0.0"]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert "rollouts" not in summary["last_step"]
    lines = [json.loads(line) for line in (tmp_path / "run" / "rollouts.jsonl").read_text().splitlines()]
    assert [(line["step"], line["id"], line["kl"]) for line in lines] == [(n, i, 0.5) for n in (1, 2, 3) for i in "ab"]
    assert lines[1]["replies"] == ["r", "s"]


def test_a_number_that_is_not_one_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="nan"):
        write_training(tmp_path / "run", State(step=1, history=[{"loss": float("nan")}]), FACTS, seed=1)
    assert not (tmp_path / "run").exists()
