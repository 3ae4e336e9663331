"""The roofline against numbers worked out by hand, and its weight counts against a real model's."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from benchmarks import roofline
from benchmarks.roofline import Parts, Rates, Shape
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
    layers = model.get_decoder().layers
    linear = [module for module in layers.modules() if isinstance(module, torch.nn.Linear)]
    shape = Shape.of(model.config, rank=2)
    assert shape.body == sum(module.weight.numel() for module in linear)
    assert shape.head == model.get_output_embeddings().weight.numel()
    assert shape.lora == sum(2 * (module.in_features + module.out_features) for module in linear)


def test_a_step_bound_by_arithmetic():
    """Prompts of 5 and 7 tokens, 2 completions of 3 tokens each, at 1,000 FLOP/s; body 432, head 40, lora 192.

    prefill (12 x 864 + 2 x 80) / 1000; decoding 2 steps of 4 x 944 / 1000; N = 5 + 4 + 7 + 4 = 20 and M = 12, so a
    forward pass is 20 x 864 + 12 x 80 = 18,240 FLOPs; training is as much backward and 20 x 4 x 192 = 15,360.
    """
    parts = roofline.grpo_step(Shape.of(CONFIG, rank=1), Rates(1000.0, 1e12), [5, 7], group=2, tokens=3)
    assert parts == Parts(prefill=10.528, decoding=7.552, reference=18.24, training=33.6)
    assert parts.total == pytest.approx(69.92)


@pytest.mark.parametrize("weight", [4, 2])
def test_a_step_bound_by_memory_reads_every_weight_in_the_dtype_it_has(weight):
    """472 weights at 100 bytes per second: 18.88 seconds of 4 bytes, for prefill and for each of 2 decoding steps."""
    rates = Rates(1000.0, 25.0 * weight, weight=weight)
    parts = roofline.grpo_step(Shape.of(CONFIG, rank=1), rates, [5, 7], group=2, tokens=3)
    assert parts.prefill == pytest.approx(18.88)
    assert parts.decoding == pytest.approx(37.76)
    assert (parts.reference, parts.training) == (18.24, 33.6)


def test_what_all_prompts_begin_with_is_paid_once():
    """As above, with 4 tokens that both prompts begin with: 4 tokens fewer, in prefill, reference and training."""
    shape, rates = Shape.of(CONFIG, rank=1), Rates(1000.0, 1e12)
    parts = roofline.grpo_step(shape, rates, [5, 7], group=2, tokens=3, shared=4)
    assert parts.prefill == pytest.approx(10.528 - 4 * 0.864)
    assert parts.decoding == pytest.approx(7.552)
    assert parts.reference == pytest.approx(18.24 - 4 * 0.864)
    assert parts.training == pytest.approx(33.6 - 4 * (0.864 + 4 * 0.192))


def test_the_prompt_is_paid_once_a_group():
    """From 2 to 4 completions, the work that is added has no prompt in it: the same for prompts of any length."""
    shape, rates = Shape.of(CONFIG, rank=1), Rates(1000.0, 1e12)

    def added(prompt: int) -> float:
        small, large = (roofline.grpo_step(shape, rates, [prompt], group, 3).total for group in (2, 4))
        return large - small

    assert added(5) == pytest.approx(added(500))


def test_measured_rates_are_positive_and_the_better_of_two_is_kept():
    rates = roofline.measure(shapes=[(16, 16, 16)], elements=1024, times=2)
    assert rates.flops > 0
    assert rates.bandwidth > 0
    assert Rates(1.0, 5.0).best(Rates(2.0, 3.0)) == Rates(2.0, 5.0)
