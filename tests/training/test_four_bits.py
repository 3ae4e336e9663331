"""A base in 4 bits, on a CPU: SFT and GRPO take their step near the one over float32 weights."""

import pytest
import torch

from polychrome.engine.packing import Group, pack
from polychrome.engine.sampler import Request, sample
from polychrome.engine.sampling import SamplingSettings
from polychrome.engine.scoring import CompletionScorer
from polychrome.models.policy import adapter_tensors, add_adapter, open_base
from tests.tiny import LORA

from .tiny import rewarded, train_arm

pytest.importorskip("bitsandbytes", reason="needs '.[quantized]'")
ARMS = ("baseline_warmstart", "grpo_from_baseline")
NEAR = 0.1  # of a loss and an entropy of about 6 nats; 4 bits round a weight by up to a seventh of its block's largest


def test_a_step_of_sft_and_one_of_grpo_are_near_those_over_float32(params_of, workspace):
    """GRPO draws replies of its own over either, so beside the loss what it compares is the policy's entropy."""
    changes = rewarded(workspace, "grpo_from_baseline")
    changes |= {f"arms.{arm}.{key}": value for arm in ARMS for key, value in (("batch_size", 12), ("epochs", 1))}
    found = {}
    for in_4bit in (False, True):
        params = params_of(changes | {"assets.load_in_4bit": in_4bit})
        done = [train_arm(params, arm) for arm in ARMS]
        assert [summary["steps"] for summary in done] == [1, 1]
        found[in_4bit] = [summary["last_step"] for summary in done]
    (sft, grpo), (sft_in_4bit, grpo_in_4bit) = found[False], found[True]
    assert 0 < abs(sft_in_4bit["loss"] - sft["loss"]) < NEAR
    assert 0 < abs(grpo_in_4bit["entropy"] - grpo["entropy"]) < NEAR
    assert 0 < abs(grpo_in_4bit["loss"] - grpo["loss"]) < NEAR
    assert min(grpo["grad_norm"], grpo_in_4bit["grad_norm"]) > 0.1
    assert grpo_in_4bit["sampler_gap_max"] < 1e-4  # sampled, and scored for the gradient, by the same weights
    assert sft_in_4bit["grad_norm"] == pytest.approx(sft["grad_norm"], rel=NEAR)


def test_a_pass_without_a_gradient_takes_none_from_the_next(tiny_base):
    """bitsandbytes would repack the weights for a processor with AVX512-BF16, whose product has no backward pass."""
    policy = add_adapter(open_base(tiny_base, torch.float32, load_in_4bit=True), LORA, seed=3)

    packed = pack([Group([3, 4, 5], [[6, 7, 1]])])

    def gradients() -> list[torch.Tensor]:
        CompletionScorer(policy)(packed)[0].sum().backward()
        tensors = adapter_tensors(policy).values()
        grads = [tensor.grad.clone() for tensor in tensors]
        policy.zero_grad()
        return grads

    before = gradients()
    sample(policy, [Request([3, 4, 5], 2, ("four bits",), SamplingSettings(1.0, 4))], pad_id=1)
    assert sum(float(grad.abs().sum()) for grad in before) > 0
    assert all(torch.equal(a, b) for a, b in zip(before, gradients(), strict=True))
