"""Every LoRA tensor learns from each term of every objective by itself."""

import numpy as np
import pytest
import torch

from polychrome.training.methods.cross_entropy import CrossEntropy

from .tiny import grpo, polychromic

pytestmark = pytest.mark.usefixtures("both_kernels")


def gradients(run, step, term: str) -> dict[str, torch.Tensor]:
    """The gradient of one term, by tensor."""
    run.optimizer.zero_grad()
    pieces = [piece for piece in step.pieces if piece.term == term]
    assert pieces
    for piece in pieces:
        loss, _ = piece.loss(*run.scorer(piece.packed, piece.temperature)[:2])
        loss.backward()
    return {name: tensor.grad.clone() for name, tensor in run.parameters.items()}


def assert_every_tensor_learns(grads: dict[str, torch.Tensor]) -> None:
    assert [name for name, grad in grads.items() if not grad.isfinite().all() or not grad.abs().max() > 1e-9] == []


def constant(posts, replies):
    return np.full(len(replies), 0.5)


def test_a_run_trains_every_lora_tensor_of_the_policy_and_none_of_the_reference(make_run):
    run = make_run()
    assert len(run.parameters) == 2 * 3 * 2  # A and B, three linear layers, two blocks
    assert all(".default." in name and "lora_" in name for name in run.parameters)


TERMS = {"cross_entropy": CrossEntropy, "diversity": polychromic, "grpo": grpo}  # of grpo the policy's term, without KL


@pytest.mark.parametrize("term", TERMS)
def test_each_term_reaches_every_lora_tensor(make_run, pairs, term):
    run = make_run(TERMS[term]())
    assert_every_tensor_learns(gradients(run, run.method.step(run.context, pairs, 0), term))


def test_the_kl_term_reaches_every_lora_tensor_once_the_policy_has_left_the_reference(make_run, pairs):
    run = make_run(grpo(beta=1.0, reward=constant))  # equal rewards: advantages are zero, only KL is left
    at_the_reference = gradients(run, run.method.step(run.context, pairs, 0), "grpo")
    assert all(grad.abs().max() < 1e-6 for grad in at_the_reference.values())
    torch.manual_seed(2)
    with torch.no_grad():
        for tensor in run.parameters.values():
            tensor += 0.3 * torch.randn_like(tensor)
    assert_every_tensor_learns(gradients(run, run.method.step(run.context, pairs, 0), "grpo"))


@pytest.mark.parametrize(
    ("term", "method"), [("grpo", lambda: grpo(reward=constant)), ("diversity", lambda: polychromic(gate=1.5))]
)
def test_equal_rewards_without_kl_and_replies_that_all_fail_the_gate_teach_nothing(make_run, pairs, term, method):
    run = make_run(method())  # no cosine reaches 1.5
    step = run.method.step(run.context, pairs, 0)
    assert all(torch.count_nonzero(grad) == 0 for grad in gradients(run, step, term).values())
    assert step.metrics["reward_std" if term == "grpo" else "valid_share"] == 0.0


def test_lambda_scales_the_gradient_of_diversity_and_leaves_that_of_cross_entropy(make_run, pairs):
    runs = [make_run(polychromic(lambda_=lambda_)) for lambda_ in (1.0, 2.0)]
    steps = [run.method.step(run.context, pairs, 0) for run in runs]
    for term, scale in (("diversity", 2.0), ("cross_entropy", 1.0)):
        expected, found = (gradients(run, step, term) for run, step in zip(runs, steps, strict=True))
        for name in expected:
            torch.testing.assert_close(found[name], scale * expected[name], rtol=1e-4, atol=1e-6)
