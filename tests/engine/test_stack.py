"""The stack against transformers, family by family, and the backend's arithmetic against the plain formulas."""

import pytest
import torch
import torch.nn.functional as F
from transformers import LlamaConfig, MistralConfig, Qwen2Config

from polychrome.engine.backend import Backend, Projection
from polychrome.engine.stack import Stack, has_stack
from polychrome.models.policy import adapter_tensors

from .families import FAMILIES, SIZES, causal, opened
from .numeric import numbers

IDS = torch.tensor([3, 14, 15, 92, 65, 35, 89, 79, 32, 38])


def states_of(model, backend):
    return Stack(model, backend)(IDS, torch.arange(len(IDS)), causal)[0]


def by_transformers(model):
    return model.get_base_model().base_model(input_ids=IDS[None], use_cache=False).last_hidden_state[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_states_and_gradients_of_every_adapter_tensor_are_those_of_transformers_and_peft(family, backend):
    """With disabled adapters and without any the base answers."""
    policy = opened(FAMILIES[family])
    assert has_stack(policy)
    tensors, weights = adapter_tensors(policy), numbers(len(IDS), SIZES["hidden_size"], seed=1)
    fast, slow = states_of(policy, backend), by_transformers(policy)
    torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-5)
    found, expected = (torch.autograd.grad((y * weights).sum(), list(tensors.values())) for y in (fast, slow))
    for name, a, b in zip(tensors, found, expected, strict=True):
        assert b.norm() > 0, name
        assert (a - b).norm() <= 1e-5 * b.norm(), name
    with policy.disable_adapter(), torch.no_grad():
        expected = by_transformers(policy)
        torch.testing.assert_close(states_of(policy, backend), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(states_of(policy.unload(), backend), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(**SIZES, hidden_act="gelu"),
        LlamaConfig(**SIZES, attention_dropout=0.1),
        MistralConfig(**SIZES, sliding_window=4),
        Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=4, max_window_layers=1),
        LlamaConfig(**SIZES, rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}),
    ],
    ids=["another activation", "dropout", "window", "window in some layers", "positions by length"],
)
def test_what_the_stack_does_not_compute_it_does_not_claim(config):
    assert not has_stack(opened(config, adapted=False))


# --- the arithmetic of PyTorch's operators: in float32 it is held beside compiled code's in test_compiled.py ---------


def wide(*shape, seed=0):
    return numbers(*shape, seed=seed).double().requires_grad_()


def test_the_backward_pass_of_projections_by_hand_is_the_derivative_by_finite_differences(backend):
    """float64 and central differences: torch.autograd.gradcheck, to 1e-5. Compiled code leaves float64 alone."""
    first, second, bias, other_b = (wide(*n, seed=7 + i).detach() for i, n in enumerate([(4, 6), (7, 6), (4,), (7, 3)]))

    def two_projections(x, a, b, other_a):
        one = Projection(lambda y: F.linear(y, first, bias), first, bias, a, b, 1.7)
        two = Projection(lambda y: F.linear(y, second), second, None, other_a, other_b, 0.4)
        return tuple(backend.project(x, [one, two]))

    inputs = wide(5, 6), wide(2, 6, seed=4), wide(4, 2, seed=5), wide(3, 6, seed=6)
    assert torch.autograd.gradcheck(two_projections, inputs)


def test_in_bfloat16_the_norm_and_its_gradient_are_those_of_the_formula_to_its_rounding():
    x = numbers(7, 12).bfloat16().requires_grad_()
    weight, upstream = numbers(12, seed=1).bfloat16(), numbers(7, 12, seed=2)
    wide = x.detach().double().requires_grad_()
    expected = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-5) * weight.double()
    found = Backend().rms_norm(x, weight, 1e-5)
    torch.testing.assert_close(found.double(), expected, rtol=2e-2, atol=2e-2)
    (gradient,) = torch.autograd.grad((found * upstream.bfloat16()).sum(), x)
    (by_formula,) = torch.autograd.grad((expected * upstream).sum(), wide)
    torch.testing.assert_close(gradient.double(), by_formula, rtol=2e-2, atol=4e-2)


def test_in_bfloat16_the_gradient_of_a_confident_token_is_not_lost_to_rounding():
    """p is near 1 for the target: (one-hot - p) is small, and must not be a difference of two rounded numbers."""
    weight = numbers(40, 16, seed=1).bfloat16()
    states = (weight[3] * 1.1).float()[None].bfloat16().requires_grad_()
    wide = states.detach().double().requires_grad_()
    logp = (wide @ weight.double().t()).log_softmax(-1)[0, 3]
    assert logp.exp() > 0.9
    (expected,) = torch.autograd.grad(logp, wide)
    (found,) = torch.autograd.grad(Backend().token_scores(states, weight, torch.tensor([3]), 1.0, 8)[0].sum(), states)
    assert (found.double() - expected).norm() < 0.05 * expected.norm()
