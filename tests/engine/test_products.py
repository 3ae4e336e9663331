"""Products in bfloat16 against float64 of the same rounded numbers: outputs, gradients, log-probabilities, states."""

import copy
from types import SimpleNamespace

import pytest
import torch

from polychrome.engine.backend import Backend, Projection
from polychrome.engine.stack import Stack
from polychrome.models.policy import adapter_tensors

from .families import FAMILIES, causal, coarse, opened
from .numeric import numbers, rounded, sizes


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


def assert_near(found, expected, tolerance=1e-3):
    """By the whole's size: where a number lies between two of bfloat16, its copy may be rounded to either."""
    assert found.shape == expected.shape
    assert found.isfinite().all()
    assert (found.double() - expected).norm() <= tolerance * expected.norm() + 1e-30


def assert_projects(backend, rows, inputs, outputs, rank):
    """Outputs and every gradient, by the definition on rounded numbers."""
    maps, x = projections(inputs, outputs, rank), numbers(rows, inputs, seed=5).requires_grad_()
    grads = [numbers(rows, n, seed=6 + i) for i, n in enumerate(outputs)]
    ys = backend.project(x, maps)
    of_x, *of_adapters = torch.autograd.grad(ys, [x, *(t for p in maps for t in (p.a, p.b) if rank)], grads)
    expected_of_x = torch.zeros(rows, inputs, dtype=torch.float64)
    for i, (p, y, grad) in enumerate(zip(maps, ys, grads, strict=True)):
        expected = rounded(x) @ p.weight.double().t() + p.bias.double()
        expected_of_x += rounded(grad) @ p.weight.double()
        if rank:
            low, scaled = rounded(x) @ rounded(p.a).t(), rounded(p.scale * p.b)
            expected += rounded(low.float()) @ scaled.t()
            of_low = rounded(grad) @ scaled
            expected_of_x += rounded(of_low.float()) @ rounded(p.a)
            assert_near(of_adapters[2 * i], of_low.t() @ x.detach().double())
            assert_near(of_adapters[2 * i + 1], p.scale * grad.double().t() @ low)
        assert_near(y.detach(), expected)
    assert_near(of_x, expected_of_x)


SHAPES = [  # rows, inputs, outputs of each, rank
    (32, 64, (32, 96), 32),  # whole blocks
    (16, 32, (32,), 16),  # half a block
    (33, 64, (64, 32), 16),  # a row more
    (1100, 70, (33, 35), 5),
    (29, 64, (40, 30), 17),  # a rank of more than a tile
    (7, 33, (40, 1, 65), 0),  # frozen
]


@pytest.mark.parametrize("threads", [2, 3])
def test_projections_and_their_gradients_are_those_of_rounded_numbers_whatever_the_sizes(tiled, threads):
    torch.set_num_threads(threads)
    for shape in SHAPES:
        assert_projects(tiled, *shape)
    for seed, (rows, inputs, parts, rank) in enumerate(sizes(15, range(1, 50), range(1, 100), [1, 2, 3], range(50))):
        outputs = tuple(n for (n,) in sizes(parts, range(1, 80), seed=seed)[2:])
        assert_projects(tiled, rows, inputs, outputs, rank)


def test_the_same_bits_come_out_of_any_number_of_threads_and_outputs_that_are_known_still_teach(tiled):
    maps, x = projections(70, (33, 35), 5), numbers(1100, 70, seed=5).requires_grad_()
    tensors, grads = [x, *(t for p in maps for t in (p.a, p.b))], [numbers(1100, n, seed=n) for n in (33, 35)]
    with torch.no_grad():
        plain = tiled.project(x, maps)
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        ys = tiled.project(x, maps)
        assert all(torch.equal(a, b) for a, b in zip(ys, plain, strict=True))
        taken = tiled.project(x, maps, [y.detach() for y in ys])
        one, two = ([*outputs, *torch.autograd.grad(outputs, tensors, grads)] for outputs in (ys, taken))
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_an_adapter_that_an_optimiser_wrote_to_uncounted_is_read_again(tiled):
    (p,) = projections(64, (32,), 4)
    x = numbers(9, 64, seed=5)
    with torch.no_grad():
        before = tiled.project(x, [p])[0]
    p.b.grad = torch.ones_like(p.b)
    version = p.b._version
    torch.optim.AdamW([p.b], lr=1.0, fused=True).step()
    assert p.b._version == version  # why panels of what is trained are never kept
    with torch.no_grad():
        assert (tiled.project(x, [p])[0] - before).norm() > 0.1 * before.norm()


def test_panels_of_frozen_weights_are_made_once_and_again_after_they_were_written_to(tiled):
    (p,) = projections(64, (32,), 0, bias=False)
    first = tiled.panels_of([p.weight])
    assert tiled.panels_of([p.weight]) is first
    p.weight.mul_(2)
    with torch.no_grad():
        assert_near(tiled.project(numbers(9, 64), [p])[0], rounded(numbers(9, 64)) @ p.weight.double().t(), 1e-4)


@torch.no_grad()
@pytest.mark.parametrize("column", [0, 5, 39])
def test_what_is_not_a_number_stays_so_and_in_its_own_row(tiled, column):
    maps, x = projections(40, (33,), 0), numbers(20, 40)
    x[7, column] = torch.nan
    assert tiled.project(x, maps)[0].isnan().all(1).tolist() == [row == 7 for row in range(20)]


def test_with_dropout_on_the_adapter_the_frozen_part_is_multiplied_by_tiles(tiled):
    (p,) = projections(64, (32,), 4)
    noisy = Projection(p.linear, p.weight, p.bias, p.a, p.b, p.scale, dropout=0.5)
    x = numbers(2000, 64, seed=5)
    y = tiled.project(x, [noisy])[0].detach()
    frozen = rounded(x) @ p.weight.double().t() + p.bias.double()
    whole = frozen + p.scale * (x.double() @ p.a.detach().double().t()) @ p.b.detach().double().t()
    assert (y.double() - whole).norm() > 0.1 * whole.norm()
    assert ((y.double() - whole).mean(0).abs() < 0.1 * whole.std(0)).all()  # the noise has mean zero


# --- log-probabilities ------------------------------------------------------------------------------------------------


def assert_scores(backend, states, weight, targets, temperature=1.0, tolerance=1e-5, floor=1e-6):
    """Log-probabilities, entropies and the first's gradient of states rounded, the same bits without gradient."""
    states, targets = states.requires_grad_(), torch.as_tensor(targets)
    logps, entropies = backend.token_scores(states, weight, targets, temperature, 256)
    wide = rounded(states).requires_grad_()
    table = (wide @ weight.double().t() / temperature).log_softmax(-1)
    expected = table.gather(-1, targets[:, None]).squeeze(-1)
    torch.testing.assert_close(logps.double(), expected, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(entropies.double(), -(table.exp() * table).sum(-1), rtol=tolerance, atol=1e-4)
    with torch.no_grad():
        plain = backend.token_scores(states, weight, targets, temperature, 256)
    assert all(torch.equal(one, two) for one, two in zip(plain, (logps, entropies), strict=True))
    (found,), (gradient,) = torch.autograd.grad(logps.sum(), states), torch.autograd.grad(expected.sum(), wide)
    assert ((found.double() - gradient).norm(dim=-1) <= 5e-3 * gradient.norm(dim=-1) + floor).all()
    return expected


@pytest.mark.parametrize("threads", [1, 3])
def test_scores_and_their_gradients_are_those_of_rounded_states_whatever_the_sizes(tiled, threads):
    torch.set_num_threads(threads)
    given = [(33, 32, 512, 1.0), *sizes(6, range(1, 600), range(1, 70), range(2, 1100), [1.0, 0.7])]
    for rows, hidden, vocabulary, temperature in given:
        targets = torch.randint(vocabulary, (rows,), generator=torch.Generator().manual_seed(3))
        weight = numbers(vocabulary, hidden, seed=1).bfloat16()
        assert_scores(tiled, numbers(rows, hidden, seed=2), weight, targets, temperature)


def test_the_gradient_of_a_confident_token_is_not_lost_to_rounding(tiled):
    """p of the target is near one: one minus p must not be a difference of two rounded numbers."""
    weight = numbers(40, 16, seed=1).bfloat16()
    expected = assert_scores(tiled, (3 * weight[3]).float()[None], weight, [3], floor=0)
    assert 1 - expected.exp() < 1e-6


def test_logits_that_grow_along_the_vocabulary_and_huge_ones_are_scored(tiled):
    """The gradient is a difference of weights of 300, times probabilities rounded to 2^-9."""
    weight = torch.linspace(-300, 300, 1200)[:, None].bfloat16()
    assert_scores(tiled, torch.tensor([[1.0], [-1.0], [30.0]]), weight, [1199, 0, 600], tolerance=1e-4, floor=0.6)


# --- the stack, and how weights are laid out --------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_states_and_gradients_are_those_of_the_same_weights_in_float32(tiled, family):
    """Nearer than bfloat16 throughout would be: activations are not rounded, only what is multiplied."""
    model, ids = coarse(opened(FAMILIES[family])), torch.arange(3, 40)
    fine = copy.deepcopy(model).float()

    def states_of(model, backend):
        return Stack(model, backend)(ids, torch.arange(len(ids)), causal)[0]

    found, expected, rough = (states_of(*each) for each in ((model, tiled), (fine, tiled), (model, Backend())))
    assert (found.dtype, rough.dtype) == (torch.float32, torch.bfloat16)
    assert (found - expected).norm() < min(0.04 * expected.norm(), (rough - expected).norm())
    upstream = numbers(*found.shape, seed=4)
    grads = [
        torch.autograd.grad((states * upstream).sum(), list(adapter_tensors(each).values()))
        for each, states in ((model, found), (fine, expected))
    ]
    for one, two in zip(*grads, strict=True):
        assert one.dtype == torch.float32
        assert (one - two).norm() < 0.1 * two.norm()


@pytest.mark.parametrize("across", [False, True])
def test_panels_hold_every_weight_once_and_zeros_behind(tiled, across):
    for n, k in sizes(6, range(1, 70), range(1, 70)):
        weight = numbers(n, k) if not across else numbers(k, n)
        panels = tiled.pack((weight, 2.0), across=across)
        blocks = panels.view(-(-n // 32), -(-k // 32), 2, 16, 16, 2)  # panel, block, tile, pair, output, of the pair
        laid = blocks.permute(0, 2, 4, 1, 3, 5).reshape(-(-n // 32) * 32, -(-k // 32) * 32)
        expected = torch.zeros_like(laid)
        expected[:n, :k] = (2.0 * (weight.t() if across else weight)).bfloat16()
        assert torch.equal(laid, expected)


def test_numbers_are_rounded_as_pytorch_rounds_them(tiled):
    """Ties, large ones, infinities, and what is no number; below float32's normal range they may become zero."""
    x = torch.cat([numbers(1000), torch.tensor([1 + 2**-8, 1 + 3 * 2**-8, 3.3e38, torch.inf, -torch.inf, torch.nan])])
    found = tiled.pack((x[:, None], 1.0)).view(-1, 2, 16, 16, 2)[:, :, 0, :, 0].flatten()[: len(x)]
    torch.testing.assert_close(found, x.bfloat16(), rtol=0, atol=0, equal_nan=True)
