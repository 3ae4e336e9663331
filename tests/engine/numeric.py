"""Numbers, layouts and sizes for kernels, and how near results have to be."""

import random

import torch


def numbers(*shape, seed=0, scale=1.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def scattered(x):
    """The same numbers, none beside the next."""
    return x[..., None].repeat_interleave(3, -1)[..., 1]


def sizes(count, *choices, seed=0):
    """``count`` random combinations: of each choice, a range or a list, one; the least and the greatest come first."""
    generator = random.Random(seed)
    ends = [tuple(choice[0] for choice in choices), tuple(choice[-1] for choice in choices)]
    return ends + [tuple(generator.choice(choice) for choice in choices) for _ in range(count)]


def assert_near(found, expected, tolerance=1e-5, floor=1e-30):
    """Row by row by their norms; and finite."""
    assert found.shape == expected.shape
    assert found.isfinite().all()
    error = (found.double() - expected).norm(dim=-1)
    assert (error <= tolerance * expected.norm(dim=-1) + floor).all()


def rounded(x):
    """To bfloat16, in float64."""
    return x.detach().bfloat16().double()
