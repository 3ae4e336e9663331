"""Products in bfloat16 against float64 of the same rounded numbers: outputs, gradients, log-probabilities, decoding."""

import copy
from types import SimpleNamespace

import pytest
import torch
from transformers import LlamaConfig

from polychrome.engine.attention import SlabAttention
from polychrome.engine.kernels import Projection, project, token_scores
from polychrome.engine.native import library, products
from polychrome.engine.native.decoder import Decoder, can_decode
from polychrome.engine.stack import Stack
from polychrome.models.policy import adapter_tensors
from tests.compilers import on_pytorch

from .families import FAMILIES, SIZES, opened
from .test_native import assert_reads_prompts_of_leaders, filled


@pytest.fixture(autouse=True, params=["built_kernels", "widening_kernels"], ids=["as the processor can", "widened"])
def _compiled(request, monkeypatch):
    """All of this twice: by what multiplies bfloat16 on this processor, and as if nothing did."""
    monkeypatch.setattr(library, "_opened", request.getfixturevalue(request.param))


SHAPES = {  # rows, inputs, outputs of each, rank
    "one of each": (1, 1, (1,), 1),
    "odd": (7, 33, (40, 1, 65), 3),
    "whole blocks": (32, 64, (32, 96), 32),
    "half a block": (16, 32, (32,), 16),
    "a row more": (33, 64, (64, 32), 16),
    "a long rank": (20, 40, (50,), 37),
    "many rows": (1100, 70, (33, 35), 5),
    "a rank of more than a tile": (29, 64, (40, 30), 17),
    "a long odd rank": (15, 33, (32, 32), 47),
}


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rounded(x):
    return x.bfloat16().double()


def projections(inputs, outputs, rank, bias=True):
    made = []
    for i, n in enumerate(outputs):
        weight = numbers(n, inputs, seed=10 * i).bfloat16()
        made.append(
            Projection(
                SimpleNamespace(out_features=n), weight, numbers(n, seed=10 * i + 1).bfloat16() if bias else None,
                numbers(rank, inputs, seed=10 * i + 2).requires_grad_() if rank else None,
                numbers(n, rank, seed=10 * i + 3).requires_grad_() if rank else None, 1.5,
            )
        )  # fmt: skip
    return made


def assert_near(found, expected, tolerance=1e-4):
    """By the whole's size: where a number lies between two of bfloat16, its copy may be rounded to either."""
    assert found.shape == expected.shape
    assert found.isfinite().all()
    assert (found.double() - expected).norm() <= tolerance * expected.norm() + 1e-30


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("rank", ["adapted", "frozen"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_projections_and_their_gradients_are_those_of_rounded_numbers(shape, rank, threads):
    rows, inputs, outputs, own = shape
    torch.set_num_threads(threads)
    maps = projections(inputs, outputs, own if rank == "adapted" else 0)
    x = numbers(rows, inputs, seed=5).requires_grad_()
    grads = [numbers(rows, n, seed=6 + i) for i, n in enumerate(outputs)]
    ys = project(x, maps)
    for p, y in zip(maps, ys, strict=True):
        expected = rounded(x.detach()) @ p.weight.double().t() + p.bias.double()
        if p.a is not None:
            low = rounded((rounded(x.detach()) @ rounded(p.a.detach()).t()).float())
            expected += low @ rounded(p.scale * p.b.detach()).t()
        assert_near(y.detach(), expected, 1e-3)
    tensors = [t for p in maps for t in (p.a, p.b) if t is not None]
    of_x, *of_adapters = torch.autograd.grad(ys, [x, *tensors], grads)
    lows = [rounded(g) @ rounded(p.scale * p.b.detach()) if p.a is not None else None
            for g, p in zip(grads, maps, strict=True)]  # fmt: skip
    expected = sum(rounded(g) @ p.weight.double() for g, p in zip(grads, maps, strict=True))
    expected = expected + sum(
        rounded(low.float()) @ rounded(p.a.detach()) for low, p in zip(lows, maps, strict=True) if low is not None
    )
    assert_near(of_x, expected, 1e-3)
    for i, (p, grad, low) in enumerate(zip(maps, grads, lows, strict=True)):
        if low is not None:
            assert_near(of_adapters[2 * i], low.t() @ x.detach().double(), 1e-3)
            of_b = p.scale * grad.double().t() @ (rounded(x.detach()) @ rounded(p.a.detach()).t())
            assert_near(of_adapters[2 * i + 1], of_b, 1e-3)


def test_the_same_bits_come_out_of_any_number_of_threads():
    maps, x = projections(70, (33, 35), 5), numbers(1100, 70, seed=5)
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        with torch.no_grad():
            found.append(torch.cat(project(x, maps), dim=1))
    assert all(torch.equal(one, found[0]) for one in found)


def test_outputs_that_are_known_are_taken_and_still_teach_the_adapters():
    maps, x = projections(64, (32, 40), 4), numbers(9, 64, seed=5).requires_grad_()
    ys = project(x, maps)
    taken = project(x, maps, [y.detach() for y in ys])
    assert all(torch.equal(y, z) for y, z in zip(ys, taken, strict=True))
    tensors = [x, *(t for p in maps for t in (p.a, p.b))]
    grads = [numbers(9, 32, seed=6), numbers(9, 40, seed=7)]
    for one, two in zip(
        torch.autograd.grad(ys, tensors, grads), torch.autograd.grad(taken, tensors, grads), strict=True
    ):
        assert torch.equal(one, two)


def test_an_adapter_that_an_optimiser_wrote_to_uncounted_is_read_anew():
    (p,) = projections(64, (32,), 4)
    x = numbers(9, 64, seed=5)
    with torch.no_grad():
        before = project(x, [p])[0]
        p.b.data = p.b.data.clone()
    p.b.grad = torch.ones_like(p.b)
    version = p.b._version
    torch.optim.AdamW([p.b], lr=1.0, fused=True).step()
    assert p.b._version == version  # why panels of what is trained are never kept
    with torch.no_grad():
        assert (project(x, [p])[0] - before).norm() > 0.1 * before.norm()


def test_panels_of_frozen_weights_are_made_once_and_again_after_they_were_written_to():
    (p,) = projections(64, (32,), 0, bias=False)
    first = products.panels_of([p])
    assert products.panels_of([p]) is first
    p.weight.mul_(2)
    with torch.no_grad():
        assert_near(project(numbers(9, 64), [p])[0], rounded(numbers(9, 64)) @ p.weight.double().t())


@pytest.mark.parametrize("column", [0, 5, 39])
def test_what_is_not_a_number_stays_so_and_in_its_own_row(column):
    (p,) = projections(40, (33,), 0)
    x = numbers(20, 40)
    x[7, column] = torch.nan
    with torch.no_grad():
        (y,) = project(x, [p])
    assert y.isnan().all(1).tolist() == [row == 7 for row in range(20)]


def test_with_dropout_on_the_adapter_the_frozen_part_is_multiplied_by_tiles():
    (p,) = projections(64, (32,), 4)
    noisy = Projection(p.linear, p.weight, p.bias, p.a, p.b, p.scale, dropout=0.5)
    x = numbers(2000, 64, seed=5)
    y = project(x, [noisy])[0].detach()
    frozen = rounded(x) @ p.weight.double().t() + p.bias.double()
    whole = frozen + p.scale * (x.double() @ p.a.detach().double().t()) @ p.b.detach().double().t()
    assert (y.double() - whole).norm() > 0.1 * whole.norm()
    assert ((y.double() - whole).mean(0).abs() < 0.1 * whole.std(0)).all()  # the noise has mean zero


# --- log-probabilities ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("rows", "hidden", "vocabulary"), [(1, 5, 3), (33, 32, 512), (70, 40, 1100), (600, 33, 700)])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_scores_and_their_gradients_are_those_of_rounded_states(rows, hidden, vocabulary, temperature, threads):
    torch.set_num_threads(threads)
    weight = numbers(vocabulary, hidden, seed=1).bfloat16()
    states = numbers(rows, hidden, seed=2).requires_grad_()
    targets = torch.randint(vocabulary, (rows,), generator=torch.Generator().manual_seed(3))
    logps, entropies = token_scores(states, weight, targets, temperature, 256)
    wide = rounded(states.detach()).requires_grad_()
    table = (wide @ weight.double().t() / temperature).log_softmax(-1)
    expected = table.gather(-1, targets[:, None]).squeeze(-1)
    torch.testing.assert_close(logps.double(), expected, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(entropies.double(), -(table.exp() * table).sum(-1), rtol=1e-5, atol=1e-4)
    with torch.no_grad():
        plain, other = token_scores(states, weight, targets, temperature, 256)
    assert torch.equal(plain, logps)
    assert torch.equal(other, entropies)
    (found,) = torch.autograd.grad(logps.sum(), states)
    (gradient,) = torch.autograd.grad(expected.sum(), wide)
    assert ((found.double() - gradient).norm(dim=-1) <= 5e-3 * gradient.norm(dim=-1) + 1e-6).all()


def test_the_gradient_of_a_confident_token_is_not_lost_to_rounding():
    """p of the target is near one: one minus p must not be a difference of two rounded numbers."""
    weight = numbers(40, 16, seed=1).bfloat16()
    states = (3 * weight[3]).float()[None].requires_grad_()
    logps, _ = token_scores(states, weight, torch.tensor([3]), 1.0, 8)
    wide = rounded(states.detach()).requires_grad_()
    expected = (wide @ weight.double().t()).log_softmax(-1)[0, 3]
    assert 1 - expected.exp() < 1e-6
    (found,), (gradient,) = torch.autograd.grad(logps.sum(), states), torch.autograd.grad(expected, wide)
    assert (found.double() - gradient).norm() < 0.01 * gradient.norm()


def test_logits_that_grow_along_the_vocabulary_and_huge_ones_are_scored():
    weight = torch.linspace(-300, 300, 1200)[:, None].bfloat16()
    states, targets = torch.tensor([[1.0], [-1.0], [30.0]]), torch.tensor([1199, 0, 600])
    logps, entropies = token_scores(states, weight, targets, 1.0, 8)
    table = (states.double() @ weight.double().t()).log_softmax(-1)
    torch.testing.assert_close(logps.double(), table.gather(-1, targets[:, None]).squeeze(-1), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(entropies.double(), -(table.exp() * table).sum(-1), rtol=1e-4, atol=1e-4)


# --- the stack and decoding -------------------------------------------------------------------------------------------


def coarse(model):
    """``model`` with bfloat16 where it is frozen, as open_base opens it."""
    for name, tensor in model.named_parameters():
        if "lora_" not in name:
            tensor.data = tensor.data.bfloat16()
    return model


@pytest.mark.parametrize("adapted", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_states_are_those_of_the_same_weights_in_float32(family, adapted):
    """Nearer than bfloat16 throughout would be: activations are not rounded, only what is multiplied."""
    model = coarse(opened(FAMILIES[family], adapted=adapted))
    fine = copy.deepcopy(model).float()
    ids = torch.arange(3, 40)
    with torch.no_grad():
        found, expected = (one(ids) for one in (states_of(model), states_of(fine)))
        with on_pytorch():
            rough = states_of(model)(ids)
    assert found.dtype == torch.float32
    assert rough.dtype == torch.bfloat16
    assert (found - expected).norm() < 0.04 * expected.norm()
    assert (found - expected).norm() < (rough - expected).norm()


def states_of(model):
    def attend(i, q, k, v, scale):
        q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=True)
        return out[0].transpose(0, 1).flatten(1)

    return lambda ids: Stack(model)(ids, torch.arange(len(ids)), attend)[0]


def test_gradients_of_the_adapters_are_near_those_in_float32():
    model = coarse(opened(FAMILIES["llama"]))
    fine = copy.deepcopy(model).float()
    grads = []
    for each in (model, fine):
        states = states_of(each)(torch.arange(3, 40))
        upstream = numbers(*states.shape, seed=4)
        grads.append(torch.autograd.grad((states * upstream).sum(), list(adapter_tensors(each).values())))
    for one, two in zip(*grads, strict=True):
        assert one.dtype == torch.float32
        assert (one - two).norm() < 0.1 * two.norm()


@pytest.mark.parametrize("rows", [1, 5, 16, 17, 33])
@pytest.mark.parametrize("adapters", ["all", "last", "none"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_is_that_of_the_stack(family, adapters, rows):
    """To float32's rounding: sampler and trainer multiply the same rounded numbers in the same order."""
    model = coarse(opened(FAMILIES[family], adapted=adapters != "none", layers=[2] if adapters == "last" else None))
    assert can_decode(model)
    slab = filled(model, [(7 * i) % 40 + 1 for i in range(rows)])
    other = copy.deepcopy(slab)
    head = model.get_output_embeddings().weight
    with torch.inference_mode():
        decoder = Decoder(model, slab.rows, slab)
        for step in range(2):
            tokens = torch.randint(SIZES["vocab_size"], (rows,), generator=torch.Generator().manual_seed(step))
            positions = slab.lengths
            for each in (slab, other):
                each.advance()
            found = decoder.step(tokens, positions)
            expected, _ = Stack(model)(tokens, positions, SlabAttention(other, torch.float32))
            assert_near(found, expected.double(), 2e-3)
            assert_near(decoder.logits(found), rounded(found) @ head.double().t(), 1e-6)


@pytest.mark.parametrize("rows", [3, 4, 5, 9, 14, 15, 29, 33])
def test_every_row_of_a_step_has_the_bits_it_has_alone(rows):
    model = coarse(opened(FAMILIES["qwen3"]))
    with torch.inference_mode():
        alone, together = filled(model, [9]), filled(model, [9] * rows)
        for one, many in zip(alone.layers, together.layers, strict=True):
            many.keys[:rows], many.values[:rows] = one.keys[:1], one.values[:1]
        found = []
        for slab in (alone, together):
            slab.advance()
            found.append(Decoder(model, slab.rows, slab).step(torch.full((len(slab),), 5), slab.lengths - 1))
    assert torch.equal(found[0].expand(rows, -1), found[1])


def test_a_group_reads_its_prompt_where_its_leader_has_it():
    for config in (FAMILIES["llama"], LlamaConfig(**SIZES | {"head_dim": 64})):
        assert_reads_prompts_of_leaders(coarse(opened(config)))


# --- packing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "k"), [(1, 1), (33, 70), (64, 32), (5, 31)])
def test_panels_hold_every_weight_once_and_zeros_behind(n, k):
    for across in (False, True):
        weight = numbers(n, k) if not across else numbers(k, n)
        panels = products.pack((weight, 2.0), across=across)
        blocks = panels.view(-(-n // 32), -(-k // 32), 2, 16, 16, 2)  # panel, block, tile, pair, output, of the pair
        laid = blocks.permute(0, 2, 4, 1, 3, 5).reshape(-(-n // 32) * 32, -(-k // 32) * 32)
        expected = torch.zeros_like(laid)
        expected[:n, :k] = (2.0 * (weight.t() if across else weight)).bfloat16()
        assert torch.equal(laid, expected)


def test_numbers_are_rounded_as_pytorch_rounds_them():
    """Ties, large ones, infinities, and what is no number; below float32's normal range they may become zero."""
    x = torch.cat([numbers(1000), torch.tensor([1 + 2**-8, 1 + 3 * 2**-8, 3.3e38, torch.inf, -torch.inf, torch.nan])])
    found = products.pack((x[:, None], 1.0)).view(-1, 2, 16, 16, 2)[:, :, 0, :, 0].flatten()[: len(x)]
    torch.testing.assert_close(found, x.bfloat16(), rtol=0, atol=0, equal_nan=True)


def test_the_machine_says_what_multiplies():
    assert library.opened().tiles() in (1, 2)
    assert products.usable(torch.zeros(1, dtype=torch.bfloat16))
    assert not products.usable(torch.zeros(1))
