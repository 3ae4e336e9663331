"""Compiled passes over activations against the formulas in float64: forward, gradient, odd sizes, extreme values."""

import pytest
import torch
import torch.nn.functional as F

from polychrome.engine import kernels
from polychrome.engine.native import activations
from tests.compilers import on_pytorch

SIZES = [(1, 1), (1, 7), (3, 16), (5, 33), (257, 5), (4, 3, 20), (2, 1, 129)]


@pytest.fixture(autouse=True)
def used(compiled, monkeypatch):
    """The compiled functions that have been called, by name."""
    names, call = [], activations._call
    monkeypatch.setattr(activations, "_call", lambda name, *arguments: (names.append(name), call(name, *arguments))[1])
    return names


def numbers(*shape, seed=0, scale=1.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def scattered(x):
    """The same numbers, none beside the next."""
    return x[..., None].repeat_interleave(3, -1)[..., 1]


LAYOUTS = {"contiguous": torch.Tensor.contiguous, "scattered": scattered}


@pytest.fixture(params=LAYOUTS.values(), ids=LAYOUTS)
def laid(request):
    return request.param


def assert_near(found, expected, tolerance=1e-5):
    """Row by row by their norms; and finite."""
    assert found.shape == expected.shape
    assert found.dtype == torch.float32
    assert found.isfinite().all()
    error = (found.double() - expected).norm(dim=-1)
    assert (error <= tolerance * expected.norm(dim=-1) + 1e-30).all()


def both(function, formula, inputs, grad, laid=torch.Tensor.contiguous):
    """(results, expected) of ``function`` in float32 and ``formula`` in float64: output and gradient of each input."""
    answers = []
    for each, given, upstream in (
        (function, [laid(x).detach().requires_grad_() for x in inputs], laid(grad)),
        (formula, [x.double().requires_grad_() for x in inputs], grad.double()),
    ):
        y = each(*given)
        answers.append([y.detach(), *torch.autograd.grad(y, given, upstream)])
    return answers


# --- norm ------------------------------------------------------------------------------------------------------------


def norm_of(weight, eps):
    return lambda x: x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight.double()


@pytest.mark.parametrize("shape", SIZES)
def test_the_norm_and_its_gradient_are_those_of_the_formula(used, laid, shape):
    weight = numbers(shape[-1], seed=1)
    grad = numbers(*shape, seed=2)
    found, expected = both(
        lambda x: kernels.rms_norm(x, weight, 1e-5), norm_of(weight, 1e-5), [numbers(*shape)], grad, laid
    )
    assert used == ["rms_norm", "rms_norm_backward"]
    assert_near(found[0], expected[0])
    # Along x the gradient cancels: the row's whole length is what it is rounded against.
    bound = 1e-6 * (grad * weight).norm(dim=-1) / numbers(*shape).square().mean(-1).sqrt()
    assert ((found[1] - expected[1]).norm(dim=-1) <= bound).all()


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1e4, 1e12])
def test_rows_of_nothing_and_of_huge_numbers_have_their_norm(scale):
    x, weight, grad = numbers(3, 37, scale=scale), numbers(37, seed=1), numbers(3, 37, seed=2)
    found, expected = both(lambda x: kernels.rms_norm(x, weight, 1e-6), norm_of(weight, 1e-6), [x], grad)
    for one, other in zip(found, expected, strict=True):
        assert_near(one, other)


def test_a_long_row_keeps_its_precision():
    x = 1 + numbers(2, 50_001, scale=1e-3)
    assert_near(kernels.rms_norm(x, torch.ones(50_001), 1e-6), norm_of(torch.ones(50_001), 1e-6)(x.double()), 1e-6)


# --- activation ------------------------------------------------------------------------------------------------------


def gated(gate, up):
    return F.silu(gate) * up


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shape", SIZES)
def test_the_activation_and_its_gradients_are_those_of_the_formula(used, laid, shape, threads):
    torch.set_num_threads(threads)
    inputs = [numbers(*shape, scale=3.0), numbers(*shape, seed=1)]
    found, expected = both(kernels.swiglu, gated, inputs, numbers(*shape, seed=2), laid)
    assert used == ["swiglu", "swiglu_backward"]
    for one, other in zip(found, expected, strict=True):
        assert_near(one, other)


@pytest.mark.parametrize("length", [1, 16])  # a rest, a vector
def test_every_gate_from_shut_to_open_is_exact_to_its_own_size(length):
    gates = [-1e4, -100.0, -88.0, -87.0, -60.0, -5.0, -1e-30, 0.0, 1e-30, 5.0, 60.0, 87.0, 88.0, 100.0, 1e4]
    gate = torch.tensor(gates)[:, None].expand(-1, length)
    up, grad = (torch.full_like(gate, value) for value in (3.0, -2.0))
    for column in range(length):
        found, expected = both(kernels.swiglu, gated, [gate, up], grad)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one[:, column].double(), other[:, column], rtol=1e-5, atol=1e-33)


# --- rotation --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("d", [2, 6, 20, 64, 130])
def test_heads_are_turned_and_their_gradients_turned_back(used, laid, rows, heads, d):
    angles = numbers(rows, 1, d // 2, seed=1, scale=100.0).double()
    cos, sin = angles.cos(), angles.sin()

    def turned(x):
        a, b = x.chunk(2, -1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    def compiled(x):
        return kernels.rotate(x, laid(cos.float()), laid(sin.float()))

    x, grad = numbers(rows, heads, d), numbers(rows, heads, d, seed=2)
    found, expected = both(compiled, turned, [x], grad, laid)
    assert used == ["rotate", "rotate"]
    for one, other in zip(found, expected, strict=True):
        assert_near(one, other)


# --- scores ----------------------------------------------------------------------------------------------------------


def scores_of(logits, targets, temperature):
    """By the definition: log-probabilities, entropies, and the first's derivative in logits / temperature."""
    logp = (logits.double() / temperature).log_softmax(-1)
    p = logp.exp()
    one_hot = F.one_hot(targets, logits.shape[1])
    return logp.gather(-1, targets[:, None]).squeeze(-1), -(p * logp).sum(-1), one_hot - p


def compiled_scores(logits, targets, temperature):
    """The same, and that without learning logits are left alone."""
    before, own = logits.clone(), logits.clone()
    plain = activations.score(own, targets, temperature, learning=False)
    assert torch.equal(own, before)
    learned = activations.score(own, targets, temperature, learning=True)
    assert all(torch.equal(one, other) for one, other in zip(plain, learned, strict=True))
    return *learned, own


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("temperature", [1.0, 0.3, 1.7])
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (4, 16), (7, 33), (3, 258)])
def test_scores_entropies_and_derivatives_are_those_of_the_softmax(shape, temperature, threads):
    torch.set_num_threads(threads)
    logits, targets = numbers(*shape, scale=2.0), torch.arange(shape[0]) * 5 % shape[1]
    found, expected = (each(logits, targets, temperature) for each in (compiled_scores, scores_of))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rows", [1, 4, 100])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_states_have_the_gradient_of_their_scores(used, laid, temperature, rows):
    weight, targets = numbers(35, 13, seed=1), torch.arange(9) * 4 % 35

    def scored(states):
        return kernels.token_scores(states, laid(weight), laid(targets), temperature, rows)[0]

    def plainly(states):
        return scores_of(states @ weight.double().t(), targets, temperature)[0]

    found, expected = both(scored, plainly, [numbers(9, 13)], numbers(9, seed=2), laid)
    assert set(used) == {"score"}
    for one, other in zip(found, expected, strict=True):
        assert_near(one, other)


@pytest.mark.parametrize("target", [0, 3, 20, 36])
@pytest.mark.parametrize("top", [30.0, 1e4])
def test_a_very_confident_token_and_the_others_beside_it(top, target):
    """Logits of +-1e4 too: everything finite, and right to float32's rounding of a probability."""
    logits = numbers(1, 37) - top
    logits[0, 20] = top
    found, expected = (each(logits, torch.tensor([target]), 1.0) for each in (compiled_scores, scores_of))
    for one, other in zip(found, expected, strict=True):
        assert one.isfinite().all()
        torch.testing.assert_close(one.double(), other, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("rest", [0.0, -12.0, -20.0])
def test_a_vocabulary_of_50_000_keeps_its_precision(rest):
    """Behind one token of 0, each of the others is next to nothing, and together they are not."""
    logits = numbers(3, 50_000, scale=1e-3) + rest
    logits[:, 7] = 0.0
    targets = torch.tensor([7, 0, 49_999])
    found, expected = (each(logits, targets, 1.0) for each in (compiled_scores, scores_of))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-6, atol=1e-7)


# --- when it is used -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_dtypes_are_left_to_pytorch(used, dtype):
    x = numbers(3, 6).to(dtype).requires_grad_()
    turned = kernels.rotate(x[:, None], *numbers(2, 3, 1, 3).to(dtype))
    kernels.swiglu(turned[:, 0], x).sum().backward()
    assert used == []


def test_without_the_library_everything_is_left_to_pytorch(used):
    x = numbers(3, 6).requires_grad_()
    with on_pytorch():
        kernels.swiglu(kernels.rms_norm(x, torch.ones(6), 1e-5), x).sum().backward()
    assert used == []
