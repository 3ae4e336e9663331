"""Training on replies that a vLLM server draws, against one that speaks its protocol."""

import math
from types import SimpleNamespace

import pytest
import torch

from polychrome.engine import compute
from polychrome.engine.served import Served
from polychrome.errors import InputError
from tests.engine.standin import StandIn

from .test_gradients import gradients
from .tiny import grpo, outputs, polychromic, train_arm


@pytest.fixture
def standin(tiny_base, monkeypatch):
    monkeypatch.setitem(compute.CHOSEN, "sampler", None)
    with StandIn(tiny_base) as server:
        yield server


@pytest.fixture
def served(standin, monkeypatch, tmp_path):
    """Make the stand-in, which tells log-probabilities so much too high, this process's sampler."""
    monkeypatch.chdir(tmp_path)

    def choose(shift: float = 0.0) -> None:
        own = Served(SimpleNamespace(sampler_url=standin.url), torch.float32)
        own.takes_seeds = True  # so that it draws the same again
        standin.shift = shift
        monkeypatch.setattr(compute, "_server", own)

    return choose


def test_grpo_learns_from_a_servers_replies_and_logs_the_gap(make_run, served, standin):
    served()
    history = make_run(grpo(beta=0.1), batch_size=6).train().history
    assert len(history) == len(standin.bodies("/v1/load_lora_adapter")) == 2
    assert all(row["sampler_gap"] < 1e-4 < row["grad_norm"] for row in history)
    served(shift=0.3)
    assert make_run(grpo(), batch_size=12).train().history[0]["sampler_gap"] == pytest.approx(0.3, abs=1e-4)


@pytest.mark.parametrize(("term", "method"), [("grpo", grpo), ("diversity", polychromic)])
def test_each_token_of_a_policy_loss_is_weighed_by_policy_over_sampler(make_run, pairs, served, term, method):
    """A sampler that says log q + s for log q has ratios exp(-s), the same everywhere, and so has the gradient."""

    def learned(shift: float) -> dict[str, torch.Tensor]:
        served(shift)
        run = make_run(method())
        return gradients(run, run.method.step(run.context, pairs[:4], 0), term)

    as_it_is, too_low = learned(0.0), learned(-0.4)
    for name, gradient in as_it_is.items():
        torch.testing.assert_close(too_low[name], math.exp(0.4) * gradient, rtol=1e-3, atol=1e-6)
        assert gradient.abs().max() > 1e-6


def test_what_the_policy_draws_itself_is_not_weighed(make_run, pairs):
    run = make_run(grpo())
    drawn = run.context.draw(pairs[:2], 3, ("test",), record=False, temperature=1.0, max_new_tokens=4)
    (part,) = drawn.parts(run.context)
    assert part.weights(part.sampler_logps) is None


def test_a_server_that_dies_in_a_step_leaves_the_checkpoint_and_training_goes_on_from_it(
    standin, params_of, workspace, capsys
):
    params = params_of({"compute.sampler": "vllm", "compute.sampler_url": standin.url})
    standin.act = lambda path, body: (None, "") if len(standin.bodies("/v1/completions")) > 8 else None
    with pytest.raises(InputError, match=r"/v1/completions: found no answer.*goes on from its last checkpoint"):
        train_arm(params, "polychromic")
    assert outputs(workspace) == {}
    assert len(list(workspace.glob(".checkpoints/*/*/state.json"))) == 1
    standin.act = lambda path, body: None
    assert train_arm(params, "polychromic")["steps"] == 6
    assert "polychromic seed 1: going on from step 2" in capsys.readouterr().out
    assert "models/polychromic/seed-1/adapter_model.safetensors" in outputs(workspace)
    assert list(workspace.glob(".running/*")) == []


def test_an_arm_that_draws_nothing_asks_no_server(standin, params_of):
    train_arm(params_of({"compute.sampler": "vllm", "compute.sampler_url": standin.url}), "baseline")
    assert standin.asked == []
