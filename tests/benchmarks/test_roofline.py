"""The roofline against numbers worked out by hand, and its weight counts against a real model's."""

from types import SimpleNamespace

import pytest
import torch

from benchmarks import roofline
from benchmarks.roofline import Rates, Shape
from polychrome.models.policy import open_base

CONFIG = SimpleNamespace(
    hidden_size=4, head_dim=2, num_attention_heads=2, num_key_value_heads=1, intermediate_size=8,
    num_hidden_layers=3, vocab_size=10,
)  # fmt: skip


@pytest.mark.parametrize("head_dim", [2, None])
def test_weights_are_counted_from_the_configuration(head_dim):
    """A layer: q, o 4x4, k, v 4x2, gate, up, down 4x8 = 144; rank 1: 8 + 8 + 6 + 6 + 12 + 12 + 12 = 64."""
    config = SimpleNamespace(**vars(CONFIG) | {"head_dim": head_dim})  # None: its share of the hidden size
    assert Shape.of(config, rank=1) == Shape(body=3 * 144, head=10 * 4, lora=3 * 64)


def test_weights_are_those_of_the_real_model(tiny_base):
    model = open_base(tiny_base, torch.float32)
    linear = [module for module in model.get_decoder().layers.modules() if isinstance(module, torch.nn.Linear)]
    shape = Shape.of(model.config, rank=2)
    assert shape.body == sum(module.weight.numel() for module in linear)
    assert shape.head == model.get_output_embeddings().weight.numel()
    assert shape.lora == sum(2 * (module.in_features + module.out_features) for module in linear)


SLOW, FORWARD, TRAINING = Rates(1000.0, 1e12), 18.24, 33.6
SHARED = 4 * 0.864  # a forward pass of the body over 4 tokens, at SLOW
PARTS = {
    "arithmetic": (SLOW, 0, (10.528, 7.552, FORWARD, TRAINING)),
    "4 tokens shared": (SLOW, 4, (10.528 - SHARED, 7.552, FORWARD - SHARED, TRAINING - SHARED - 4 * 4 * 0.192)),
    "memory": (Rates(1000.0, 100.0), 0, (18.88, 37.76, FORWARD, TRAINING)),
    "memory, bfloat16": (Rates(1000.0, 50.0, weight=2), 0, (18.88, 37.76, FORWARD, TRAINING)),
}


@pytest.mark.parametrize(("rates", "shared", "expected"), PARTS.values(), ids=PARTS)
def test_a_step_takes_what_arithmetic_or_memory_bounds_it_by(rates, shared, expected):
    """Prompts of 5 and 7 tokens, 2 completions of 3 tokens each, at 1,000 FLOP/s; body 432, head 40, lora 192.

    prefill (12 x 864 + 2 x 80) / 1000; decoding 2 steps of 4 x 944 / 1000; N = 5 + 4 + 7 + 4 = 20 and M = 12, so a
    forward pass is 20 x 864 + 12 x 80 = 18,240 FLOPs; training is as much backward and 20 x 4 x 192 = 15,360. What all
    prompts begin with is paid once. By memory: 472 weights at 25 per second, for prefill and for each decoding step.
    """
    parts = roofline.grpo_step(Shape.of(CONFIG, rank=1), rates, [5, 7], group=2, tokens=3, shared=shared)
    assert (parts.prefill, parts.decoding, parts.reference, parts.training) == pytest.approx(expected)
    assert parts.total == pytest.approx(sum(expected))


def test_the_prompt_is_paid_once_a_group():
    """From 2 to 4 completions, the work that is added has no prompt in it: the same for prompts of any length."""

    def added(prompt: int) -> float:
        shape = Shape.of(CONFIG, rank=1)
        small, large = (roofline.grpo_step(shape, SLOW, [prompt], group, 3).total for group in (2, 4))
        return large - small

    assert added(5) == pytest.approx(added(500))


def test_measured_rates_are_positive_and_the_better_of_two_is_kept():
    rates = roofline.measure(shapes=[(16, 16, 16)], elements=1024, times=2)
    assert min(rates.flops, rates.bandwidth) > 0
    assert Rates(1.0, 5.0).best(Rates(2.0, 3.0)) == Rates(2.0, 5.0)
