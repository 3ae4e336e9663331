"""Kin of GRPO and of cross-entropy: what their steps are made of, and that every arm of the preset trains."""

from pathlib import Path
from unittest import mock

import pytest
import torch

from polychrome.models.policy import reference_active
from polychrome.objectives.grpo import group_advantages
from polychrome.objectives.kin import anchored, over_pass_rate, times_unlikeliness
from polychrome.params import parse_params
from polychrome.presets import apply_preset
from polychrome.training.methods.cross_entropy import CrossEntropy

from .tiny import grpo, kin, tempered, train_arm

LOGGED = {
    "tempered": "tempered_loss cross_entropy",
    "set_best": "set_score advantage_rms",
    "set_poly": "set_score advantage_rms",
    "darling": "darling_reward kl",
    "mara": "anchored_gain pass_share kl",
    "unlikely": "reward kl",
    "maxrl": "pass_share kl",
}


def asked(run, pairs):
    """One step: what advantages were asked of, and what came of it."""
    method = run.method
    with mock.patch.object(type(method), "advantages", autospec=True, side_effect=type(method).advantages) as seen:
        step = method.step(run.context, pairs, 0)
        of = seen.call_args.args[1]
    return of, *method.advantages(of), step


def drawn_logps(run, step, reference=False):
    """(B, 4): log-probabilities of the step's completions under the policy, scored anew, or under its reference."""
    with run.context.as_sampled():
        if reference:
            with reference_active(run.policy):
                found = [run.scorer(piece.packed)[0].sum(-1) for piece in step.pieces]
        else:
            found = [run.scorer(piece.packed)[0].sum(-1) for piece in step.pieces]
    return torch.cat(found).double().view(-1, 4)


@pytest.fixture
def moved(make_run, pairs):
    """A run of a kin whose policy has left its reference."""

    def build(objective, **changes):
        run = make_run(kin(objective, **changes))
        with torch.no_grad():
            for tensor in run.parameters.values():
                tensor.mul_(-2)
        return run

    return build


def test_unlikely_ranks_replies_by_what_the_policy_that_drew_them_gave_them(moved, pairs):
    run = moved("unlikely")
    of, advantages, _, step = asked(run, pairs)
    changed = times_unlikeliness(of.rewards, drawn_logps(run, step), 0.25)
    torch.testing.assert_close(advantages, group_advantages(changed), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(advantages, group_advantages(of.rewards), atol=0.01)


def test_darling_multiplies_rewards_by_how_many_of_the_others_are_in_other_classes(moved, pairs):
    run = moved("darling")
    of, advantages, watched, _ = asked(run, pairs)
    vectors = run.method.classes.encoder.embed([text for group in of.drawn.texts for text in group]).reshape(12, 4, -1)
    climbed = of.rewards.clone()
    for row, group in enumerate(vectors):
        alike = group @ group.T >= run.method.classes.threshold
        for _ in range(4):
            alike = alike @ alike  # a chain of likenesses is one class
        climbed[row] *= torch.from_numpy((~alike).sum(-1) / 3)
    assert 0.1 < climbed.mean() < of.rewards.mean() - 0.1
    torch.testing.assert_close(advantages, group_advantages(climbed, "none"))
    assert watched == {"darling_reward": pytest.approx(float(climbed.mean()))}


def test_maxrl_counts_passes_of_the_reward(moved, pairs):
    of, advantages, watched, _ = asked(moved("maxrl"), pairs)
    passes = (of.rewards >= 0.6).double()
    assert 0.1 < passes.mean() < 0.9
    torch.testing.assert_close(advantages, over_pass_rate(passes))
    assert watched == {"pass_share": pytest.approx(float(passes.mean()))}


def test_mara_anchors_at_the_reference_and_has_its_kl_in_the_reward_and_none_in_the_loss(moved, pairs):
    run = moved("mara")
    of, advantages, watched, step = asked(run, pairs)
    policy, reference = drawn_logps(run, step), drawn_logps(run, step, reference=True)
    assert (policy - reference).abs().mean() > 0.5
    torch.testing.assert_close(of.reference, reference, rtol=1e-5, atol=1e-5)
    raised = anchored(of.rewards, reference, 0.1, 0.6, 0.5)
    climbed = raised - 0.1 * (policy - reference)
    torch.testing.assert_close(advantages, group_advantages(climbed, "none"), rtol=1e-4, atol=1e-4)
    assert watched["anchored_gain"] == pytest.approx(float((raised - of.rewards).mean()), rel=1e-4)
    (piece,) = step.pieces
    loss, metrics = piece.loss(*run.scorer(piece.packed, piece.temperature)[:2])
    assert float(loss.detach()) == float(metrics["policy_loss"])
    assert float(metrics["kl"]) > 0.1


def test_grpo_has_its_kl_in_the_loss(make_run, pairs):
    run = make_run(grpo(beta=10.0))
    with torch.no_grad():
        for tensor in run.parameters.values():
            tensor.mul_(-2)
    (piece,) = run.method.step(run.context, pairs, 0).pieces
    loss, metrics = piece.loss(*run.scorer(piece.packed, piece.temperature)[:2])
    assert float(loss.detach()) > float(metrics["policy_loss"]) + 0.1


def test_tempered_with_beta_1_and_gamma_0_ends_with_the_weights_of_cross_entropy_bit_for_bit(make_run):
    runs = [make_run(method, epochs=2) for method in (CrossEntropy(), tempered(beta=1.0, gamma=0.0))]
    plain, other = (run.train().history for run in runs)
    assert [row | {"tempered_loss": row["cross_entropy"]} for row in plain] == other
    for name, tensor in runs[0].parameters.items():
        assert torch.equal(tensor, runs[1].parameters[name])


def test_tempered_logs_cross_entropy_at_temperature_1_and_ends_hotter_than_the_baseline(make_run):
    settings = {"epochs": 20, "learning_rate": 0.1, "batch_size": 12}
    plain, hot = (
        make_run(method, **settings).train().history for method in (CrossEntropy(), tempered(beta=0.5, gamma=0.0))
    )
    assert hot[0]["cross_entropy"] == pytest.approx(plain[0]["cross_entropy"], rel=1e-5)
    assert hot[0]["entropy"] == pytest.approx(plain[0]["entropy"], rel=1e-5)
    assert hot[-1]["entropy"] > plain[-1]["entropy"] + 0.03


def test_every_arm_of_the_methods_preset_trains(params_of, workspace):
    file, presets = workspace / "params.yaml", Path(__file__).parents[2] / "presets"
    shipped = parse_params(file.read_text()).arms
    file.write_text(apply_preset(file.read_text(), "methods", presets))
    added = [name for name in parse_params(file.read_text()).arms if name not in shipped]
    params = params_of({f"arms.{name}.batch_size": 6 for name in added if name != "tempered"})
    train_arm(params, "baseline_warmstart")
    for name in (name for name in added if not name.endswith("_from_polychromic")):
        summary = train_arm(params, name)
        assert summary["steps"] == (6 if name == "tempered" else 2)
        assert summary["last_step"]["grad_norm"] > 0
        assert set(LOGGED[params.arms[name].objective].split()) <= summary["last_step"].keys()
