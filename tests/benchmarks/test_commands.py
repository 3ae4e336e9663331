"""Every benchmark from its command line to its JSON, on the tiny model."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import arms, generate, grpo_step, harness, polychromic_step, roofline, scaling, sft_step
from benchmarks.scaling import Size, fit
from polychrome import paths
from polychrome.engine.compute import CHOSEN
from tests.engine.standin import StandIn

ROOT = Path(__file__).parents[2]


@pytest.fixture
def common(tiny_base, tmp_path, monkeypatch) -> list[str]:
    monkeypatch.setattr(roofline, "measure", lambda dtype: roofline.Rates(1e9, 1e9))
    return ["--model", str(tiny_base), "--threads", "1", "--results", str(tmp_path), "--no-memory"]


def read(path: Path | None) -> dict:
    assert path is not None
    return json.loads(path.read_text())


def test_grpo_step(common, capsys):
    found = read(grpo_step.main([*common, "--runs", "2", "--group", "2", "--tokens", "4"]))
    (peer,) = found["measured"].keys() - {"ours", "roofline"}
    assert peer in grpo_step.NAMES.values()
    assert set(found["details"]["trl_trial_seconds"]) == set(grpo_step.NAMES.values())
    assert found["ratios"].keys() == {f"{peer} / ours", "ours / roofline"}
    assert [t["name"] for t in found["targets"]] == ["times as fast as TRL", "times the roofline"]
    assert "times as fast as TRL" in capsys.readouterr().out


def test_the_peak_memory_of_grpo_is_compared_with_that_of_the_peer(common, monkeypatch):
    memory = {"ours": harness.Memory(900.0, 1500.0), "TRL, no checkpointing": harness.Memory(1000.0, 4000.0)}
    monkeypatch.setattr(harness, "memory_of", lambda module, side, argv: memory[side])
    arguments = [*common[:-1], "--runs", "1", "--group", "2", "--tokens", "3", "--trl-checkpointing", "off"]
    found = read(grpo_step.main(arguments))
    target = {"value": 0.375, "floor": 0.7, "aim": 0.5, "at_least": False, "floor_met": True, "aim_met": True}
    assert found["targets"][-1].items() >= target.items()
    assert "memory beyond the loaded model / TRL's: 0.2" in found["notes"]  # 600 MiB against 3000


def test_sft_step(common, conversations):
    arguments = [*common, "--runs", "2", "--batch", "4", "--conversations", str(conversations)]
    found = read(sft_step.main(arguments))
    (peer,) = found["measured"].keys() - {"ours"}
    assert set(found["details"]["trl_trial_tokens_per_second"]) == set(sft_step.SETTINGS)
    tokens, seconds = found["details"]["tokens"]["ours"], found["details"]["seconds"]["ours"]
    assert np.allclose(found["measured"]["ours"]["values"], np.divide(tokens, seconds), rtol=1e-3)
    if "packing" not in peer:
        assert found["details"]["tokens"][peer] == tokens


def test_generate(common, conversations):
    arguments = [*common, "--runs", "1", "--posts", "3", "--samples", "2", "--tokens", "4"]
    found = read(generate.main([*arguments, "--conversations", str(conversations)]))
    assert found["measured"].keys() == {"ours", "transformers"}
    assert len(found["setting"]["prompt_tokens"]) == 3


def test_generate_beside_vllm(common, conversations, tiny_base, monkeypatch):
    monkeypatch.setitem(CHOSEN, "sampler", None)
    arguments = [*common, "--runs", "2", "--posts", "3", "--samples", "2", "--tokens", "4"]
    with StandIn(tiny_base) as server:
        found = read(generate.main([*arguments, "--conversations", str(conversations), "--vllm", server.url]))
        asked = [body["max_tokens"] for body in server.bodies("/v1/completions")]
    assert found["ratios"].keys() == {"transformers / ours", "vllm / ours"}
    assert asked.count(4) == 3 * 3  # once to warm up


def test_polychromic_step(common, conversations, tiny_encoder):
    arguments = [*common, "--runs", "1", "--params", str(ROOT / "params.yaml"), "--encoder", str(tiny_encoder)]
    found = read(polychromic_step.main([*arguments, "--conversations", str(conversations)]))
    assert found["measured"].keys() == {"polychromic", "baseline"}
    assert found["setting"]["polychromic"]["lambda_"] > 0


def test_arms(common, conversations, tiny_encoder, monkeypatch):
    """All sides draw the same replies in every round, or they would not be of the same cost."""
    monkeypatch.setattr(paths, "ENCODER", tiny_encoder)
    drawn: dict[str, list] = {}
    steps_of = arms._steps

    def watched(args, params, recipe, policy):
        steps = steps_of(args, params, recipe, policy)
        drawn[recipe] = steps.rows
        return steps

    monkeypatch.setattr(arms, "_steps", watched)
    arguments = [*common, "--runs", "2", "--params", str(ROOT / "params.yaml")]
    found = read(arms.main([*arguments, "--conversations", str(conversations)]))
    assert found["measured"].keys() == drawn.keys() >= {"grpo_from", "set_best_from", "set_poly_from"}
    assert found["ratios"].keys() == {f"{recipe} / grpo_from" for recipe in drawn} - {"grpo_from / grpo_from"}
    for logged in ("reward", "completion_length"):
        assert len({tuple(row[logged] for row in rows) for rows in drawn.values()}) == 1


def test_scaling(common):
    found = read(scaling.main([*common, "--runs", "1", "--axes", "completion"]))
    assert found["details"]["exponents"].keys() == {"completion"}
    assert found["details"]["exponents"]["completion"].keys() == {"time"}
    assert [t["name"] for t in found["targets"]] == ["cost of a group, G 4 to 16"]


def test_the_memory_of_a_side_is_measured_in_a_process_of_its_own(tiny_base, monkeypatch):
    monkeypatch.chdir(ROOT)
    memory = harness.memory_of("benchmarks.scaling", str(Size(1, 2, 16, 4)), ["--model", str(tiny_base)])
    assert 0 < memory.loaded < memory.peak


def test_a_size_is_read_back_from_its_name_and_along_an_axis_only_that_number_changes():
    assert Size.parse(str(Size(3, 4, 5, 6))) == Size(3, 4, 5, 6)
    assert scaling.sizes_along("posts") == [Size(n, 8, 64, 32) for n in (1, 2, 4, 8)]


def test_a_power_law_is_recovered_with_the_standard_error_of_least_squares():
    """At log x = 0, 1, 2 and log y = 0, 1, 3: slope 3/2, squared residuals 1/6, one degree of freedom, Sxx = 2."""
    exact, found = fit([1, 2, 4, 8], [3 * x**0.5 for x in (1, 2, 4, 8)]), fit(np.exp([0, 1, 2]), np.exp([0, 1, 3]))
    assert (exact.exponent, exact.standard_error) == pytest.approx((0.5, 0), abs=1e-7)
    assert (found.exponent, found.standard_error) == pytest.approx((1.5, (1 / 12) ** 0.5))
