"""Twenty GRPO steps on the fast path against the slow one: transformers' forward pass, one completion at a time."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from polychrome.engine import compute
from polychrome.engine import sampler as engine
from polychrome.engine.backend import Backend
from polychrome.models.policy import adapter_tensors, add_adapter, open_base, save_adapter
from polychrome.training.methods import grpo as method_file
from tests.engine.naive import naive_scores
from tests.tiny import LORA

from .tiny import grpo, polychromic, tiny_run

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

pytestmark = pytest.mark.usefixtures("both_kernels")


class OneAtATime(nn.Module):
    """The scorer without packing, shared prompts, hand-written backward passes or a trunk."""

    def __init__(self, policy):
        super().__init__()
        self.policy = policy

    def forward(self, packed, temperature=1.0, trunk=None, replay=None, with_entropy=True):
        scored = []
        for i, owner in enumerate(packed.owner):
            prompt = packed.input_ids[packed.prompts[owner, : packed.prompt_lengths[owner]]].tolist()
            completion = packed.targets[packed.completion == i].tolist()
            scored.append(naive_scores(self.policy, prompt, completion, temperature))
        return (*(pad_sequence(part, batch_first=True) for part in zip(*scored, strict=True)), None)


def trained(run):
    return [{name: value for name, value in row.items() if name != "rollouts"} for row in run.train().history]


def learned(run, step):
    """What a step logs, and its gradient by tensor."""
    run._backward(step, row := {})
    return row, {name: tensor.grad.clone() for name, tensor in run.parameters.items()}


def assert_near(gradients, others):
    for name, expected in others.items():
        assert expected.norm() > 0
        assert (gradients[name] - expected).norm() < 1e-4 * expected.norm() + 1e-7, name


@pytest.mark.parametrize(("steps", "loss_type"), [(1, "dapo"), (2, "grpo")], ids=["on policy", "two steps a batch"])
def test_twenty_grpo_steps_have_the_losses_of_the_naive_path(make_run, pairs, monkeypatch, steps, loss_type):
    method = {"beta": 0.2, "num_iterations": steps, "loss_type": loss_type}
    epochs = 20 // steps
    fast = trained(make_run(grpo(**method), pairs=pairs[:4], epochs=epochs, learning_rate=1e-3))
    monkeypatch.setattr(engine, "stack_of", lambda model, backend: None)
    monkeypatch.setattr(compute, "_chosen", Backend())
    slow_run = make_run(grpo(**method), pairs=pairs[:4], epochs=epochs, learning_rate=1e-3)
    slow_run.scorer = OneAtATime(slow_run.policy)
    slow_run.context = replace(slow_run.context, scorer=slow_run.scorer)
    slow = trained(slow_run)
    assert len(fast) == len(slow) == 20
    for name in ("loss", "policy_loss", "kl", "grad_norm", "reward", "entropy", "completion_length"):
        found, expected = (torch.tensor([row[name] for row in rows]) for rows in (fast, slow))
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")
    assert abs(fast[-1]["kl"]) > 1e-4  # it went somewhere


def test_sampler_and_trainer_agree_up_to_rounding_in_float32_replayed_or_computed_anew(make_run, pairs):
    rows = trained(make_run(grpo(), pairs=pairs, epochs=4))
    assert len(rows) > method_file.GAP_EVERY
    for i, row in enumerate(rows):
        assert 0 <= row["sampler_gap"] <= row["sampler_gap_max"] < 1e-4
        assert abs(row["sampler_kl"]) < 1e-6
        if i % method_file.GAP_EVERY == 0:
            assert row["sampler_gap"] > 0  # two computations, not one compared to itself


@pytest.mark.parametrize("layers", [0, 1], ids=["adapted everywhere", "adapted above a trunk"])
@pytest.mark.parametrize("rows", [128, 5], ids=["all at once", "refilled"])
@pytest.mark.parametrize("parts", [1, 5], ids=["one batch", "micro-batches"])
def test_what_was_recorded_while_sampling_is_what_training_would_compute(
    make_run, pairs, monkeypatch, tiny_base, tmp_path, layers, rows, parts
):
    """Loss and gradient of a step that replays the sampler's numbers against one that computes them anew."""
    monkeypatch.setattr(engine, "MOST_ROWS", rows)
    settings = SimpleNamespace(**vars(LORA) | {"layers": layers, "targets": ALL})
    start = add_adapter(open_base(tiny_base, torch.float32), settings, seed=1)
    torch.manual_seed(2)
    with torch.no_grad():
        for tensor in adapter_tensors(start).values():
            tensor.add_(0.2 * torch.randn_like(tensor))
    (tmp_path / "start").mkdir()
    save_adapter(start, tmp_path / "start", {})
    found = []
    for number in (1, 0):
        run = tiny_run(tiny_base, tmp_path / "start", pairs, grpo(beta=0.3), gradient_accumulation=parts)
        monkeypatch.setattr(method_file, "GAP_EVERY", 1 if number == 0 else 99)
        step = run.method.step(run.context, pairs, 7)  # the same number: the same samples
        assert (len(step.pieces) > 1) is (parts > 1)
        assert all((piece.replay is None) is (number == 0) for piece in step.pieces)
        found.append(learned(run, step))
    (replayed, fast), (computed, slow) = found
    for name in ("loss", "policy_loss", "kl", "entropy"):
        assert replayed[name] == pytest.approx(computed[name], rel=1e-4, abs=1e-6)
    assert_near(fast, slow)


def test_a_polychromic_step_that_replays_its_samples_learns_what_one_that_computes_them_anew_does(make_run, pairs):
    found = []
    for memory_mib in (1024, 0):
        run = make_run(polychromic())
        run.context = replace(run.context, memory_mib=memory_mib)
        step = run.method.step(run.context, pairs[:4], 7)
        pieces = [piece for piece in step.pieces if piece.term == "diversity"]
        assert all((piece.replay is None) is (memory_mib == 0) for piece in pieces)
        found.append(learned(run, replace(step, pieces=pieces))[1])
    assert_near(*found)
