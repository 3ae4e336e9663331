"""Steps by compiled code beside the stack's, in float32 and over bfloat16; and what is left to PyTorch's operators."""

import copy

import pytest
import torch
from torch import nn
from transformers import GemmaConfig, LlamaConfig, MistralConfig, Qwen3Config

from polychrome.engine.attention import SlabAttention
from polychrome.engine.backend import Backend
from polychrome.engine.slab import Slab
from polychrome.engine.stack import FAMILIES as KNOWN
from polychrome.engine.stack import Stack, has_stack

from .families import FAMILIES, SIZES, TARGETS, coarse, opened
from .numeric import assert_near, numbers, rounded, sizes

CPU = torch.device("cpu")


def filled(model, lengths, groups=None, columns=80, spare=2):
    """A slab whose rows hold ``lengths`` random tokens, the same in a group, and something else before."""
    config = model.config
    d = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    groups = list(range(len(lengths))) if groups is None else groups
    slab = Slab(config.num_hidden_layers, len(lengths) + spare, columns, CPU)
    slab.admit(torch.tensor(lengths), torch.tensor(groups))
    for i, block in enumerate(slab.layers):
        shape = (max(groups) + 1, config.num_key_value_heads, slab.used, d)
        block.place(*(numbers(*shape, seed=2 * i + j)[groups] for j in range(2)))
    return slab


def drawn(count, step):
    return torch.randint(SIZES["vocab_size"], (count,), generator=torch.Generator().manual_seed(step))


@torch.no_grad()
def assert_decodes(backend, model, lengths, steps=3):
    """In float32 as on PyTorch's operators: states, logits, what the slab then holds. Over bfloat16 as its own stack:
    to float32's rounding, sampler and trainer multiply the same rounded numbers in the same order.
    """
    slab = filled(model, lengths)
    other = copy.deepcopy(slab)
    stack, head = Stack(model, backend), model.get_output_embeddings().weight
    fine = head.dtype == torch.float32
    oracle, tolerance = (Stack(model, Backend()), 1e-5) if fine else (stack, 1e-2)
    assert backend.decodes(stack)
    decoder = backend.decoder(stack, slab.rows, slab)
    for step in range(steps):
        tokens, positions = drawn(len(slab), step), slab.lengths
        for each in (slab, other):
            each.advance()
        found = decoder.step(tokens, positions)
        expected, _ = oracle(tokens, positions, SlabAttention(other, torch.float32))
        assert_near(found, expected, tolerance)
        assert (found - expected).norm() <= (1e-5 if fine else 2e-3) * expected.norm()
        states = found.double() if fine else rounded(found)
        assert_near(decoder.logits(found), states @ head.double().t(), 1e-5)
        for one, two in zip(slab.layers, other.layers, strict=True):
            held = (slice(len(slab)), slice(None), slice(slab.used))
            assert_near(one.keys[held].flatten(1), two.keys[held].flatten(1), tolerance)
            assert_near(one.values[held].flatten(1), two.values[held].flatten(1), tolerance)
        gone = torch.arange(len(slab)) == step  # the next is of one row less
        if len(slab) > 1:
            slab.drop(gone)
            other.drop(gone)


def test_every_family_of_the_stack_is_tried():
    assert {config.model_type for config in FAMILIES.values()} == set(KNOWN)


def family(name, adapters):
    return opened(FAMILIES[name], adapted=adapters != "none", layers=[2] if adapters == "last" else None)


PAIRS = [(name, adapters) for i, name in enumerate(FAMILIES) for adapters in ("all", ("last", "none")[i % 2])]


def lengths(rows):
    """Of 1 to 40 tokens: each row starts at a column of its own."""
    return [(7 * i) % 40 + 1 for i in range(rows)]


@pytest.mark.parametrize("rows", [1, 2, 5, 8, 9, 16, 17, 33])
def test_a_step_is_that_of_the_stack_family_by_family_however_many_rows_there_are(tiled, rows):
    for name, adapters in PAIRS:
        model = family(name, adapters)
        assert_decodes(tiled, model, lengths(rows), steps=2)
        assert_decodes(tiled, coarse(model), lengths(rows), steps=2)


def test_a_step_is_that_of_the_stack_whatever_the_sizes(compiled):
    """Hidden, middle, queries a key, key heads, half a head's size, vocabulary; tied or not, normed or not."""
    given = sizes(10, range(5, 70), range(1, 100), [1, 2, 3], [1, 2, 3], range(1, 45), range(41, 150))
    for i, (hidden, middle, share, keys, half, vocabulary) in enumerate(given):
        shape = {
            "hidden_size": hidden, "intermediate_size": middle, "num_attention_heads": share * keys,
            "num_key_value_heads": keys, "head_dim": 2 * half, "tie_word_embeddings": i % 2 == 0,
        }  # fmt: skip
        kind = Qwen3Config if i % 3 else MistralConfig
        assert_decodes(
            compiled, opened(kind(**SIZES | shape | {"vocab_size": 97 + vocabulary}, sliding_window=None)), [3, 17, 1]
        )


@pytest.mark.parametrize("rows", [3, 4, 5, 9, 14, 15, 29, 33])
@torch.no_grad()
def test_over_bfloat16_every_row_of_a_step_has_the_bits_it_has_alone(tiled, rows):
    stack = Stack(coarse(opened(FAMILIES["qwen3"])), tiled)
    found = []
    for count in (1, rows):
        slab = filled(opened(FAMILIES["qwen3"]), [9] * count, groups=[0] * count)
        slab.advance()
        found.append(tiled.decoder(stack, slab.rows, slab).step(torch.full((count,), 5), slab.lengths - 1))
    assert torch.equal(found[0].expand(rows, -1), found[1])


WIDE_HEADS = LlamaConfig(**SIZES | {"head_dim": 64})


@torch.no_grad()
@pytest.mark.parametrize("frozen", [lambda model: model, coarse], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("config", [FAMILIES["llama"], FAMILIES["qwen3"], WIDE_HEADS])
def test_a_group_reads_its_prompt_where_its_leader_has_it(tiled, config, frozen):
    """The bits of rows that each read their own prompt; what others than leaders hold of it is not read."""
    groups, model = [0] * 6 + [1] * 4 + [2], frozen(opened(config))
    slabs = [filled(model, [(37, 20, 5)[group] for group in groups], groups, spare=0) for _ in range(2)]
    slabs[1].groups = torch.arange(len(groups))
    slabs[1]._lead()
    decoders = [tiled.decoder(Stack(model, tiled), slab.rows, slab) for slab in slabs]
    for number in range(4):
        tokens = torch.arange(3, 3 + len(slabs[0]))
        for slab in slabs:
            slab.advance()
        if number == 3:
            for row in (slabs[0].leaders != torch.arange(len(tokens))).nonzero().flatten().tolist():
                first, held = int(slabs[0].starts[row]), int(slabs[0].admitted[row]) // 16 * 16  # whole vectors
                for block in slabs[0].layers:
                    block.keys[row, :, first : first + held] = block.values[row, :, first : first + held] = torch.nan
        one, two = (decoder.step(tokens, slab.lengths - 1) for decoder, slab in zip(decoders, slabs, strict=True))
        assert torch.equal(one, two)
        assert not one.isnan().any()
        gone = torch.arange(len(tokens)) == number  # leaders too
        for slab in slabs if number < 3 else []:
            slab.drop(gone)
    assert len(slabs[0].leaders.unique()) < len(slabs[0])


def stepped(backend, model, slab):
    decoder = backend.decoder(Stack(model, backend), slab.rows, slab)
    return decoder, decoder.step(torch.arange(3, 3 + len(slab)), slab.lengths - 1)


@torch.no_grad()
def test_a_step_has_the_same_bits_with_any_number_of_threads_and_the_adapters_as_they_were(compiled):
    """The decoder reads nothing of the policy but norms, biases and embeddings after it was made."""
    found, model = [], opened(FAMILIES["qwen3"])
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        slab = filled(model, [9, 1, 37])
        slab.advance()
        decoder, states = stepped(compiled, model, slab)
        found.append(decoder.logits(states))
    assert all(torch.equal(one, found[0]) for one in found)
    with model.disable_adapter():
        assert torch.equal(decoder.step(torch.tensor([3, 4, 5]), slab.lengths - 1), states)
        _, other = stepped(compiled, model, slab)
    assert (other - states).norm() > 0.01 * states.norm()


@torch.no_grad()
def test_states_that_do_not_lie_in_order_have_the_same_logits(compiled):
    model = opened(FAMILIES["llama"])
    slab = filled(model, [1])
    states = numbers(SIZES["hidden_size"], 2).t()
    assert_near(compiled.decoder(Stack(model, compiled), 2, slab).logits(states), model.get_output_embeddings()(states))


# --- what it does not decode -----------------------------------------------------------------------------------------


def other_arithmetic(layer):
    layer.__class__ = type("OtherLinear", (nn.Linear,), {})


def rows_apart(layer):
    layer.weight.data = layer.weight.data.t().contiguous().t()


CHANGES = {
    "coarse in part": lambda model: model.get_decoder().layers[2].mlp.up_proj.to(torch.bfloat16),
    "coarse head": lambda model: model.lm_head.to(torch.bfloat16),
    "other head": lambda model: other_arithmetic(model.lm_head),
    "other layer": lambda model: other_arithmetic(model.get_decoder().layers[1].mlp.down_proj),
    "rows apart": lambda model: rows_apart(model.get_decoder().layers[0].self_attn.q_proj),
    "head's rows apart": lambda model: rows_apart(model.lm_head),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_matrices_that_are_not_plain_or_not_of_one_dtype_are_left_to_pytorch(compiled, change):
    model = opened(FAMILIES["llama"], adapted=False)
    assert compiled.decodes(Stack(model, compiled))
    change(model)
    assert not compiled.decodes(Stack(model, compiled))


def test_adapted_heads_other_architectures_and_pytorchs_backend_are_left_to_pytorch(compiled):
    assert not compiled.decodes(Stack(opened(FAMILIES["llama"], targets=[*TARGETS, "lm_head"]), compiled))
    assert not has_stack(opened(GemmaConfig(**SIZES), adapted=False))
    model, backend = opened(FAMILIES["llama"]), Backend()
    assert not backend.decodes(Stack(model, backend))
    with pytest.raises(ValueError, match="torch does not decode"):
        backend.decoder(Stack(model, backend), 1, filled(model, [1]))
