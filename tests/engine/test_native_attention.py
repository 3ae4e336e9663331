"""Compiled attention of packs against masked softmax in float64: outputs and gradients of queries, keys and values."""

import pytest
import torch

from polychrome.engine.attention import PackedAttention
from polychrome.engine.native import attention as native
from polychrome.engine.packing import Group, pack, pack_prompts
from tests.compilers import on_pytorch
from tests.engine.naive import SHARING, random_groups, sharing_groups


@pytest.fixture(autouse=True)
def used(compiled, monkeypatch):
    """The compiled functions that have been called, by name."""
    names, call = [], native._call
    monkeypatch.setattr(native, "_call", lambda name, *arguments: (names.append(name), call(name, *arguments))[1])
    return names


def tokens(count, first=2):
    return [first + i for i in range(count)]


# Prompts longer than the 32 queries that are taken at a time, completions longer than twice as many, and of one token.
LONG = [Group(tokens(70), [tokens(101), [5], tokens(65)]), Group([*tokens(40), 1, 1, 1], [tokens(32), tokens(34)])]
PACKS = {
    "long": pack(LONG),
    "nothing in common": pack([Group(group.prompt[i:], group.completions) for i, group in enumerate(LONG)]),
    "whole prompts in common": pack([Group(tokens(33), group.completions) for group in LONG]),
    "one token": pack([Group([5], [[6]])]),
    "completions of one token": pack([Group([5, 6, 7], [[8], [9]]), Group([4], [[3]])]),
    "many": pack(random_groups([3, 1, 6, 2, 4, 5])),
    "prompts alone": pack_prompts([tokens(31), tokens(32), tokens(33), tokens(1)]),
    **{f"{name}, short": pack(sharing_groups(prompts)) for name, (prompts, _) in SHARING.items()},
}


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def given(packed, heads, key_heads, d):
    """Queries, keys, values, and the gradient of what comes out."""
    count = len(packed.input_ids)
    shapes = [(count, heads, d), (count, key_heads, d), (count, key_heads, d), (count, heads * d)]
    return [numbers(*shape, seed=i) for i, shape in enumerate(shapes)]


def scattered(x):
    """The same numbers, none beside the next."""
    return x[..., None].repeat_interleave(3, -1)[..., 1]


def with_gradients(attend, q, k, v, grad):
    inputs = [x.detach().requires_grad_() for x in (q, k, v)]
    out = attend(*inputs)
    return [out.detach(), *torch.autograd.grad(out, inputs, grad)]


def by_compiled_code(packed, inputs, scale):
    attention = PackedAttention(packed, torch.float32)
    return with_gradients(lambda q, k, v: attention(0, q, k, v, scale), *inputs)


def by_pytorch(packed, inputs, scale):
    with on_pytorch():
        return by_compiled_code(packed, inputs, scale)


def by_definition(packed, inputs, scale):
    """Every query with every key it may see, one dense matrix, in float64."""

    def attend(q, k, v):
        share = q.shape[1] // k.shape[1]
        k, v = (x.repeat_interleave(share, 1) for x in (k, v))
        scores = torch.einsum("qhd,khd->hqk", q, k) * scale
        weights = scores.masked_fill(~packed.mask()[0], -torch.inf).softmax(-1)
        return torch.einsum("hqk,khd->qhd", weights, v).flatten(1)

    return with_gradients(attend, *(x.double() for x in inputs))


def error(found, expected):
    """Of each result, by its norm."""
    return [float((a - b).norm() / b.norm()) for a, b in zip(found, expected, strict=True) if b.norm() > 0]


def assert_near(found, expected, tolerance=1e-5):
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert one.isfinite().all()
        assert (one - other).norm() <= tolerance * other.norm() + 1e-6


@pytest.mark.parametrize("together", [1, 2, 3])
@pytest.mark.parametrize("d", [7, 8, 20, 64, 128])
def test_outputs_and_gradients_are_those_of_the_definition_whatever_the_heads(used, d, together):
    inputs = given(PACKS["long"], 2 * together, 2, d)
    found, expected = (each(PACKS["long"], inputs, d**-0.5) for each in (by_compiled_code, by_definition))
    assert used == ["attention", "attention_backward"]
    assert_near(found, expected)


@pytest.mark.parametrize("key_heads", [1, 3])
@pytest.mark.parametrize("name", PACKS)
def test_outputs_and_gradients_are_those_of_the_definition_whatever_the_pack(name, key_heads):
    inputs = given(PACKS[name], 2 * key_heads, key_heads, 20)
    assert_near(*(each(PACKS[name], inputs, 0.3) for each in (by_compiled_code, by_definition)))


def test_every_token_is_right_not_only_their_sum():
    inputs = given(PACKS["long"], 4, 2, 20)
    results = (each(PACKS["long"], inputs, 0.3) for each in (by_compiled_code, by_definition))
    for found, expected in zip(*results, strict=True):
        off = (found - expected).flatten(1).norm(dim=1)
        assert (off <= 1e-5 * expected.flatten(1).norm(dim=1).clamp(min=1e-1)).all()


def test_inputs_and_gradients_need_not_lie_in_order():
    inputs = given(PACKS["long"], 4, 2, 20)
    plain = by_compiled_code(PACKS["long"], inputs, 0.3)
    for one, other in zip(plain, by_compiled_code(PACKS["long"], [scattered(x) for x in inputs], 0.3), strict=True):
        assert torch.equal(one, other)
    summed = [*inputs[:3], torch.ones(()).expand_as(inputs[3])]  # as a sum's backward pass gives it
    assert_near(*(each(PACKS["long"], summed, 0.3) for each in (by_compiled_code, by_definition)))


def test_without_gradient_the_same_bits_come_out():
    q, k, v, grad = given(PACKS["long"], 4, 2, 20)
    attention = PackedAttention(PACKS["long"], torch.float32)
    assert torch.equal(attention(0, q, k, v, 0.3), by_compiled_code(PACKS["long"], [q, k, v, grad], 0.3)[0])


@pytest.mark.parametrize("name", ["long", "one token", "many"])
def test_threads_share_the_work_up_to_rounding_and_repeat_themselves_bit_for_bit(name):
    """More threads too than there are spans and heads."""
    inputs = given(PACKS[name], 2, 1, 20)
    alone = by_compiled_code(PACKS[name], inputs, 0.3)
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        found = by_compiled_code(PACKS[name], inputs, 0.3)
        assert_near(found, alone, 1e-6)
        for _ in range(3):
            again = by_compiled_code(PACKS[name], inputs, 0.3)
            assert all(torch.equal(one, other) for one, other in zip(again, found, strict=True))


@pytest.mark.parametrize("scale", [10.0, 1e3])
def test_scores_so_large_that_one_key_takes_all_are_as_near_the_truth_as_pytorchs(scale):
    """Of a score of 1e4 float32 keeps three decimals: no kernel is nearer."""
    inputs = given(PACKS["long"], 4, 2, 20)
    found, plain, expected = (
        each(PACKS["long"], inputs, scale) for each in (by_compiled_code, by_pytorch, by_definition)
    )
    assert all(one.isfinite().all() for one in found)
    for own, other in zip(error(found, expected), error(plain, expected), strict=True):
        assert own <= 3 * other + 1e-6


def test_a_sum_over_many_keys_keeps_its_precision():
    packed = pack([Group(tokens(1500), [tokens(70)])])
    inputs = given(packed, 1, 1, 8)
    assert_near(*(each(packed, inputs, 0.01) for each in (by_compiled_code, by_definition)), tolerance=2e-6)


def test_the_rectangles_of_pytorch_say_the_same():
    inputs = given(PACKS["long"], 6, 2, 20)
    assert_near(by_compiled_code(PACKS["long"], inputs, 0.3), by_pytorch(PACKS["long"], inputs, 0.3))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_dtypes_are_left_to_pytorch(used, dtype):
    q, k, v, _ = (x.to(dtype) for x in given(PACKS["many"], 4, 2, 8))
    PackedAttention(PACKS["many"], dtype)(0, q, k, v, 0.3)
    assert used == []
