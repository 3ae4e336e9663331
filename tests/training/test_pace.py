"""How long all training takes, by hand: steps from params, seconds from what ran, the rest said to be a guess."""

from types import SimpleNamespace

import pytest

from polychrome.pairs.settings import SplitSettings
from polychrome.training.pace import estimate, runs

SIZES = {"phase1_pairs": 20, "phase2_pairs": 10, "test_pairs": 4, "validation_pairs": 4, "judge_pairs": 50}
PARAMS = SimpleNamespace(
    seeds=(1, 2),
    sft_arms=("plain", "varied"),
    grpo_recipes=("grpo",),
    grpo_starts=("plain",),
    split=SplitSettings(seed=7, **SIZES, reward_pairs=50, near_duplicate=0.8, min_p=0.0),
    arms={
        "plain": SimpleNamespace(objective="cross_entropy", data="full", epochs=3, batch_size=16),
        "varied": SimpleNamespace(objective="polychromic", data="phase1_sft", epochs=2, batch_size=8),
        "grpo_plain": SimpleNamespace(objective="grpo", data="phase2_grpo", epochs=1, batch_size=8, num_iterations=2),
    },
)


@pytest.fixture(autouse=True)
def _scratch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_every_arm_and_seed_has_its_steps():
    steps = {"plain": 3 * 2, "varied": 2 * 3, "grpo_plain": 1 * 2 * 2}
    assert list(runs(PARAMS)) == [(name, seed, count) for seed in (1, 2) for name, count in steps.items()]


def test_what_has_not_run_is_taken_for_twice_a_step_of_cross_entropy_and_said_to_be():
    said = estimate(PARAMS, "plain", 600.0)  # 6 x 600 + 6 x 1200 + 4 x 1200 s, twice
    assert said.startswith("training takes about 8.7 hours in all (6 runs, 0 done), 8.7 hours of it to come;")
    assert "cross_entropy 600.00, polychromic not measured, taken as 1200.00, grpo not measured, taken as 1200" in said


def test_what_has_run_counts_with_its_own_seconds_and_what_is_made_is_not_to_come(tmp_path):
    estimate(PARAMS, "plain", 20.0)
    (tmp_path / "models/plain/seed-1").mkdir(parents=True)
    (tmp_path / "models/plain/seed-1/adapter_model.safetensors").touch()
    said = estimate(PARAMS, "grpo_plain", 90.0)  # 2 (6 x 20 + 6 x 40 + 4 x 90) s, 120 of them done
    assert said.startswith("training takes about 24 minutes in all (6 runs, 1 done), 22 minutes of it to come;")
    assert "cross_entropy 20.00, polychromic not measured, taken as 40.00, grpo 90.00;" in said
