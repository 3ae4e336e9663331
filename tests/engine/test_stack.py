"""The stack against transformers, family by family, and its arithmetic against the plain formulas."""

import pytest
import torch
import torch.nn.functional as F
from transformers import GemmaConfig, LlamaConfig, MistralConfig, Qwen2Config

from polychrome.engine import kernels
from polychrome.engine.kernels import Projection, project, rms_norm, rotate, swiglu, token_scores
from polychrome.engine.stack import Stack, has_stack
from polychrome.models.policy import adapter_tensors

from .families import FAMILIES, SIZES, opened

pytestmark = pytest.mark.usefixtures("both_kernels")

IDS = torch.tensor([3, 14, 15, 92, 65, 35, 89, 79, 32, 38])


def causal(i, q, k, v, scale):
    q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=True)
    return out[0].transpose(0, 1).flatten(1)


@pytest.mark.parametrize("adapted", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_states_are_those_of_transformers(family, adapted):
    model = opened(FAMILIES[family], adapted=adapted)
    assert has_stack(model)
    inner = model.get_base_model() if adapted else model
    with torch.no_grad():
        expected = inner.base_model(input_ids=IDS[None], use_cache=False).last_hidden_state[0]
        states, _ = Stack(model)(IDS, torch.arange(len(IDS)), causal)
    torch.testing.assert_close(states, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_of_every_adapter_tensor_are_those_of_transformers_and_peft(family):
    policy = opened(FAMILIES[family])
    tensors = adapter_tensors(policy)
    weights = torch.randn(len(IDS), SIZES["hidden_size"], generator=torch.Generator().manual_seed(1))
    slow = policy.get_base_model().base_model(input_ids=IDS[None], use_cache=False).last_hidden_state[0]
    expected = torch.autograd.grad((slow * weights).sum(), list(tensors.values()))
    fast, _ = Stack(policy)(IDS, torch.arange(len(IDS)), causal)
    found = torch.autograd.grad((fast * weights).sum(), list(tensors.values()))
    for name, a, b in zip(tensors, found, expected, strict=True):
        assert b.norm() > 0, name
        assert (a - b).norm() <= 1e-5 * b.norm(), name


@pytest.mark.parametrize(
    "config",
    [
        GemmaConfig(**SIZES),
        LlamaConfig(**SIZES, hidden_act="gelu"),
        LlamaConfig(**SIZES, attention_dropout=0.1),
        MistralConfig(**SIZES, sliding_window=4),
        Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=4, max_window_layers=1),
        LlamaConfig(**SIZES, rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}),
    ],
    ids=["another family", "another activation", "dropout", "window", "window in some layers", "positions by length"],
)
def test_what_the_stack_does_not_compute_it_does_not_claim(config):
    assert not has_stack(opened(config, adapted=False))


def test_with_merged_or_disabled_adapters_the_base_answers():
    policy = opened(FAMILIES["llama"])
    with policy.disable_adapter(), torch.no_grad():
        states, _ = Stack(policy)(IDS, torch.arange(len(IDS)), causal)
        expected = policy.get_base_model().base_model(input_ids=IDS[None], use_cache=False).last_hidden_state[0]
    torch.testing.assert_close(states, expected, rtol=1e-5, atol=1e-5)


# --- the arithmetic --------------------------------------------------------------------------------------------------


def numbers(*shape, seed=0):
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return values.requires_grad_()


def test_every_backward_pass_by_hand_is_the_derivative_by_finite_differences():
    """float64 and central differences: torch.autograd.gradcheck, to 1e-5."""
    cos, sin = numbers(5, 1, 3, seed=2).detach(), numbers(5, 1, 3, seed=3).detach()
    # The norm is taken in float32 on purpose: its own test is below.
    checked = [
        (kernels._Swiglu.apply, (numbers(5, 6), numbers(5, 6, seed=1))),
        (lambda x: kernels._Rotate.apply(x, cos, sin), (numbers(5, 2, 6),)),
        (_two_projections, (numbers(5, 6), numbers(2, 6, seed=4), numbers(4, 2, seed=5), numbers(3, 6, seed=6))),
    ]
    for function, inputs in checked:
        assert torch.autograd.gradcheck(function, inputs)


def _two_projections(x, a, b, other_a):
    first, second = numbers(4, 6, seed=7).detach(), numbers(7, 6, seed=8).detach()
    bias, other_b = numbers(4, seed=9).detach(), numbers(7, 3, seed=10).detach()
    one = Projection(lambda y: F.linear(y, first, bias), first, bias, a, b, 1.7)
    two = Projection(lambda y: F.linear(y, second), second, None, other_a, other_b, 0.4)
    return tuple(project(x, [one, two]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_norm_and_its_gradient_are_those_of_the_formula(dtype):
    x = numbers(7, 12).detach().to(dtype).requires_grad_()
    weight, upstream = numbers(12, seed=1).detach().to(dtype), numbers(7, 12, seed=2).detach()
    wide = x.detach().double().requires_grad_()
    expected = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-5) * weight.double()
    found = rms_norm(x, weight, 1e-5)
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 2e-2}[dtype]
    torch.testing.assert_close(found.double(), expected, rtol=tolerance, atol=tolerance)
    (gradient,) = torch.autograd.grad((found * upstream.to(dtype)).sum(), x)
    (by_formula,) = torch.autograd.grad((expected * upstream).sum(), wide)
    torch.testing.assert_close(gradient.double(), by_formula, rtol=tolerance, atol=2 * tolerance)


def test_without_gradient_the_same_numbers_come_out():
    x, gate, up = numbers(5, 6).detach().float(), numbers(5, 6, seed=1).float(), numbers(5, 6, seed=2).float()
    heads, cos, sin = numbers(5, 2, 6, seed=3).float(), torch.rand(5, 1, 3), torch.rand(5, 1, 3)
    learned = [rms_norm(x.requires_grad_(), torch.ones(6), 1e-5), swiglu(gate, up), rotate(heads, cos, sin)]
    with torch.no_grad():
        plain = [rms_norm(x, torch.ones(6), 1e-5), swiglu(gate, up), rotate(heads, cos, sin)]
    assert all(torch.equal(a, b) for a, b in zip(learned, plain, strict=True))


def test_in_bfloat16_the_gradient_of_a_confident_token_is_not_lost_to_rounding():
    """p is near 1 for the target: (one-hot - p) is small, and must not be a difference of two rounded numbers."""
    weight = numbers(40, 16, seed=1).detach().bfloat16()
    states = (weight[3] * 1.1).float()[None].bfloat16().requires_grad_()
    wide = states.detach().double().requires_grad_()
    logp = (wide @ weight.double().t()).log_softmax(-1)[0, 3]
    assert logp.exp() > 0.9
    (expected,) = torch.autograd.grad(logp, wide)
    (found,) = torch.autograd.grad(token_scores(states, weight, torch.tensor([3]), 1.0, 8)[0].sum(), states)
    assert (found.double() - expected).norm() < 0.05 * expected.norm()


@pytest.mark.parametrize("rows", [1, 4, 100])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_token_scores_are_those_of_the_softmax_with_its_gradient(temperature, rows):
    states, weight = numbers(9, 5).float().detach().requires_grad_(), numbers(11, 5, seed=1).float().detach()
    targets, upstream = torch.arange(9) % 11, numbers(9, seed=2).float().detach()
    logp = (states @ weight.t() / temperature).log_softmax(-1)
    expected = logp.gather(-1, targets[:, None]).squeeze(-1)
    found, entropies = token_scores(states, weight, targets, temperature, rows)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(entropies, -(logp.exp() * logp).sum(-1), rtol=1e-5, atol=1e-5)
    (fast,) = torch.autograd.grad((found * upstream).sum(), states)
    (slow,) = torch.autograd.grad((expected * upstream).sum(), states)
    torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-5)
