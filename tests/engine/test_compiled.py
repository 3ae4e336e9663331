"""Compiled passes and attention against the formulas in float64: forward, gradient, odd sizes, extreme values."""

import pytest
import torch
import torch.nn.functional as F

from polychrome.engine.attention import PackedAttention
from polychrome.engine.backend import Backend
from polychrome.engine.packing import Group, pack

from .naive import PACKS, tokens
from .numeric import assert_near, numbers, scattered, sizes


@pytest.fixture(autouse=True)
def used(compiled, monkeypatch):
    """The compiled functions that have been called, by name."""
    names, call = [], compiled.call
    monkeypatch.setattr(compiled, "call", lambda name, *arguments: (names.append(name), call(name, *arguments))[1])
    return names


def both(function, formula, inputs, grad):
    """(results, expected) of ``function`` in float32 and ``formula`` in float64: output and gradient of each input."""
    answers = []
    for each, given, upstream in (
        (function, [x.detach().requires_grad_() for x in inputs], grad),
        (formula, [x.detach().double().requires_grad_() for x in inputs], grad.double()),
    ):
        y = each(*given)
        answers.append([y.detach(), *torch.autograd.grad(y, given, upstream)])
    return answers


def assert_both_near(found, expected, tolerance=1e-5):
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.float32
        assert_near(one, other, tolerance)


def assert_used(backend, used, *names):
    """Compiled functions by a compiled backend, none by PyTorch's."""
    assert set(used) == (set(names) if backend.name == "compiled" else set())


def norm_of(weight, eps):
    return lambda x: x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight.double()


either_layout = pytest.mark.parametrize("laid", [torch.Tensor.contiguous, scattered])


@either_layout
def test_the_norm_and_its_gradient_are_those_of_the_formula_whatever_the_sizes(backend, used, laid):
    for shape in sizes(25, range(1, 5), range(1, 60), range(1, 300)):
        x, grad, weight = numbers(*shape), numbers(*shape, seed=2), numbers(shape[-1], seed=1)
        inputs = [laid(x)], laid(grad)
        found, expected = both(lambda x, w=weight: backend.rms_norm(x, w, 1e-5), norm_of(weight, 1e-5), *inputs)
        assert_near(found[0], expected[0])
        # Along x the gradient cancels: the row's whole length is what it is rounded against.
        bound = 1e-6 * (grad * weight).norm(dim=-1) / x.square().mean(-1).sqrt()
        assert ((found[1] - expected[1]).norm(dim=-1) <= bound).all()
    assert_used(backend, used, "rms_norm", "rms_norm_backward")


def test_rows_of_nothing_of_huge_numbers_and_long_ones_have_their_norm(compiled):
    weight, grad = numbers(37, seed=1), numbers(3, 37, seed=2)
    for scale in (0.0, 1e-6, 1e4, 1e12):
        x = numbers(3, 37, scale=scale)
        assert_both_near(*both(lambda x: compiled.rms_norm(x, weight, 1e-6), norm_of(weight, 1e-6), [x], grad))
    x, weight = 1 + numbers(2, 50_001, scale=1e-3), torch.ones(50_001)
    assert_near(compiled.rms_norm(x, weight, 1e-6), norm_of(weight, 1e-6)(x.double()), 1e-6)


def gated(gate, up):
    return F.silu(gate) * up


@either_layout
def test_the_activation_and_its_gradients_are_those_of_the_formula_whatever_the_sizes(backend, used, laid):
    torch.set_num_threads(3)
    for shape in sizes(25, range(1, 40), range(1, 130)):
        inputs = [laid(numbers(*shape, scale=3.0)), laid(numbers(*shape, seed=1))]
        assert_both_near(*both(backend.swiglu, gated, inputs, laid(numbers(*shape, seed=2))))
    assert_used(backend, used, "swiglu", "swiglu_backward")


@pytest.mark.parametrize("length", [1, 16])  # a rest, a vector
def test_every_gate_from_shut_to_open_is_exact_to_its_own_size(compiled, length):
    gates = [-1e4, -100.0, -88.0, -87.0, -60.0, -5.0, -1e-30, 0.0, 1e-30, 5.0, 60.0, 87.0, 88.0, 100.0, 1e4]
    gate = torch.tensor(gates)[:, None].expand(-1, length)
    up, grad = (torch.full_like(gate, value) for value in (3.0, -2.0))
    for one, other in zip(*both(compiled.swiglu, gated, [gate, up], grad), strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-33)


@either_layout
def test_heads_are_turned_and_their_gradients_turned_back_whatever_the_sizes(backend, used, laid):
    for rows, heads, half in sizes(20, range(1, 9), range(1, 5), range(1, 67)):
        angles = numbers(rows, 1, half, seed=1, scale=100.0).double()
        cos, sin = angles.cos(), angles.sin()

        def turned(x, cos=cos, sin=sin):
            a, b = x.chunk(2, -1)
            return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

        def rotated(x, cos=cos, sin=sin):
            return backend.rotate(x, laid(cos.float()), laid(sin.float()))

        x, grad = numbers(rows, heads, 2 * half), numbers(rows, heads, 2 * half, seed=2)
        assert_both_near(*both(rotated, turned, [laid(x)], laid(grad)))
    assert_used(backend, used, "rotate")


# --- scores ----------------------------------------------------------------------------------------------------------


def scores_of(logits, targets, temperature):
    """By the definition: log-probabilities, entropies, and the first's derivative in logits / temperature."""
    logp = (logits.double() / temperature).log_softmax(-1)
    p = logp.exp()
    one_hot = F.one_hot(targets, logits.shape[1])
    return logp.gather(-1, targets[:, None]).squeeze(-1), -(p * logp).sum(-1), one_hot - p


def assert_scored(compiled, logits, targets, temperature, **tolerances):
    """The same by compiled code, which leaves logits alone without learning."""
    results = []
    for learning in (False, True):
        own, logps, entropies = logits.clone(), torch.empty(len(logits)), torch.empty(len(logits))
        compiled.call("score", own, targets, temperature, logps, entropies, *logits.shape, int(learning))
        results.append((logps, entropies, own))
    assert all(torch.equal(one, other) for one, other in zip(*[result[:2] for result in results], strict=True))
    assert torch.equal(results[0][2], logits)
    for one, other in zip(results[1], scores_of(logits, targets, temperature), strict=True):
        assert one.isfinite().all()
        torch.testing.assert_close(one.double(), other, **tolerances)


@pytest.mark.parametrize("threads", [1, 3])
def test_scores_entropies_and_derivatives_are_those_of_the_softmax_whatever_the_sizes(compiled, threads):
    torch.set_num_threads(threads)
    for *shape, temperature in sizes(20, range(1, 9), range(1, 300), [1.0, 0.3, 1.7]):
        targets = torch.arange(shape[0]) * 5 % shape[1]
        assert_scored(compiled, numbers(*shape, scale=2.0), targets, temperature, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("laid", "rows", "temperature"), [(torch.Tensor.contiguous, 4, 1.0), (scattered, 100, 0.6)])
def test_states_have_scores_entropies_and_the_gradient_of_their_scores(backend, used, laid, temperature, rows):
    weight, targets = numbers(35, 13, seed=1), torch.arange(9) * 4 % 35

    def scored(states):
        logps, entropies = backend.token_scores(states, laid(weight), laid(targets), temperature, rows)
        expected = scores_of(states.detach() @ weight.t(), targets, temperature)[1]
        torch.testing.assert_close(entropies.double(), expected, rtol=1e-5, atol=1e-5)
        return logps

    def plainly(states):
        return scores_of(states @ weight.double().t(), targets, temperature)[0]

    assert_both_near(*both(scored, plainly, [laid(numbers(9, 13))], laid(numbers(9, seed=2))))
    assert_used(backend, used, "score")


@pytest.mark.parametrize("top", [30.0, 1e4])
def test_a_very_confident_token_and_the_others_beside_it(compiled, top):
    """Logits of +-1e4 too: everything finite, and right to float32's rounding of a probability."""
    logits = numbers(1, 37) - top
    logits[0, 20] = top
    for target in (0, 3, 20, 36):
        assert_scored(compiled, logits, torch.tensor([target]), 1.0, rtol=1e-6, atol=1e-7)


def test_a_vocabulary_of_50_000_keeps_its_precision(compiled):
    """Behind one token of 0, each of the others is next to nothing, and together they are not."""
    for rest in (0.0, -12.0, -20.0):
        logits = numbers(3, 50_000, scale=1e-3) + rest
        logits[:, 7] = 0.0
        assert_scored(compiled, logits, torch.tensor([7, 0, 49_999]), 1.0, rtol=1e-6, atol=1e-7)


# --- attention -------------------------------------------------------------------------------------------------------


def given(packed, heads, key_heads, d):
    """Queries, keys, values, and the gradient of what comes out."""
    count = len(packed.input_ids)
    shapes = [(count, heads, d), (count, key_heads, d), (count, key_heads, d), (count, heads * d)]
    return [numbers(*shape, seed=i) for i, shape in enumerate(shapes)]


def with_gradients(attend, q, k, v, grad):
    inputs = [x.detach().requires_grad_() for x in (q, k, v)]
    out = attend(*inputs)
    return [out.detach(), *torch.autograd.grad(out, inputs, grad)]


def attended(backend, packed, inputs, scale=0.3):
    attention = PackedAttention(packed, torch.float32, backend)
    return with_gradients(lambda q, k, v: attention(0, q, k, v, scale), *inputs)


def by_definition(packed, inputs, scale=0.3):
    """Every query with every key it may see, one dense matrix, in float64."""

    def attend(q, k, v):
        k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
        scores = torch.einsum("qhd,khd->hqk", q, k) * scale
        weights = scores.masked_fill(~packed.mask()[0], -torch.inf).softmax(-1)
        return torch.einsum("hqk,khd->qhd", weights, v).flatten(1)

    return with_gradients(attend, *(x.double() for x in inputs))


def assert_attended(found, expected, tolerance=1e-5):
    for one, other in zip(found, expected, strict=True):
        assert_near(one.flatten(), other.flatten(), tolerance, 3e-6)


@pytest.mark.parametrize("name", PACKS)
def test_outputs_and_gradients_are_those_of_the_definition_and_of_rectangles_whatever_the_pack(compiled, used, name):
    inputs = given(PACKS[name], 6, 3, 20)
    found, expected = attended(compiled, PACKS[name], inputs), by_definition(PACKS[name], inputs)
    assert used == ["attention", "attention_backward"]
    assert_attended(found, expected)
    assert_attended(attended(Backend(), PACKS[name], inputs), expected)
    for one, other in zip(found, expected, strict=True):  # every token is right, not only their sum
        off = (one - other).flatten(1).norm(dim=1)
        assert (off <= 1e-5 * other.flatten(1).norm(dim=1).clamp(min=0.5)).all()


def test_outputs_and_gradients_are_those_of_the_definition_whatever_the_heads(compiled):
    for key_heads, together, d in sizes(8, [1, 2, 3], [1, 2, 3], [7, 8, 20, 64, 65, 128]):
        inputs = given(PACKS["long"], key_heads * together, key_heads, d)
        expected = by_definition(PACKS["long"], inputs, d**-0.5)
        assert_attended(attended(compiled, PACKS["long"], inputs, d**-0.5), expected)


def test_inputs_and_gradients_need_not_lie_in_order_and_without_gradient_the_same_bits_come_out(compiled):
    packed, inputs = PACKS["long"], given(PACKS["long"], 4, 2, 20)
    plain = attended(compiled, packed, inputs)
    for one, other in zip(plain, attended(compiled, packed, [scattered(x) for x in inputs]), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(PackedAttention(packed, torch.float32, compiled)(0, *inputs[:3], 0.3), plain[0])
    summed = [*inputs[:3], torch.ones(()).expand_as(inputs[3])]  # as a sum's backward pass gives it
    assert_attended(attended(compiled, packed, summed), by_definition(packed, summed))


@pytest.mark.parametrize("name", ["long", "nothing but a token and its completion", "many"])
def test_threads_share_the_work_up_to_rounding_and_repeat_themselves_bit_for_bit(compiled, name):
    """More threads too than there are spans and heads."""
    inputs = given(PACKS[name], 2, 1, 20)
    alone = attended(compiled, PACKS[name], inputs)
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        first, *others = (attended(compiled, PACKS[name], inputs) for _ in range(4))
        assert_attended(first, alone, 1e-6)
        assert all(torch.equal(one, two) for again in others for one, two in zip(again, first, strict=True))


@pytest.mark.parametrize("scale", [10.0, 1e3])
def test_scores_so_large_that_one_key_takes_all_are_as_near_the_truth_as_pytorchs(compiled, scale):
    """Of a score of 1e4 float32 keeps three decimals: no kernel is nearer."""
    packed, inputs = PACKS["long"], given(PACKS["long"], 4, 2, 20)
    results = attended(compiled, packed, inputs, scale), attended(Backend(), packed, inputs, scale)
    for own, plain, truth in zip(*results, by_definition(packed, inputs, scale), strict=True):
        assert own.isfinite().all()
        assert (own - truth).norm() <= 3 * (plain - truth).norm() + 1e-6 * truth.norm()


def test_a_sum_over_many_keys_keeps_its_precision(compiled):
    packed = pack([Group(tokens(1500), [tokens(70)])])
    inputs = given(packed, 1, 1, 8)
    assert_attended(attended(compiled, packed, inputs, 0.01), by_definition(packed, inputs, 0.01), 2e-6)


# --- what it leaves --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_dtypes_are_left_to_pytorch(compiled, used, dtype):
    x = numbers(3, 6).to(dtype).requires_grad_()
    turned = compiled.rotate(x[:, None], *numbers(2, 3, 1, 3).to(dtype))
    compiled.swiglu(turned[:, 0], x).sum().backward()
    compiled.token_scores(x, numbers(9, 6).to(dtype), torch.tensor([1, 2, 3]), 1.0, 8)
    q, k, v, _ = (each.to(dtype) for each in given(PACKS["many"], 4, 2, 8))
    PackedAttention(PACKS["many"], dtype, compiled)(0, q, k, v, 0.3)
    assert used == []
