"""What holds on either device, on tiny models in float32: `scripts/gpu_check.sh` runs these on a GPU."""

import copy
from importlib.util import find_spec

import pytest
import torch

from polychrome.engine.packing import Group, pack
from polychrome.engine.sampler import Request, sample
from polychrome.engine.sampling import SamplingSettings
from polychrome.engine.scoring import CompletionScorer
from polychrome.models.policy import adapter_tensors, merged
from polychrome.objectives.grpo import grpo_terms

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

GROUPS = [Group([5, 6, 7, 8], [[9, 10, 1], [11, 1]]), Group([5, 6, 12], [[13, 14, 15, 1], [9, 1]])]


@pytest.fixture
def both(policy):
    """The same policy on either device."""
    cpu = copy.deepcopy(policy).to("cpu")
    return cpu, policy.to("cuda")


def grpo_gradients(policy) -> tuple[torch.Tensor, float, list[torch.Tensor]]:
    packed = pack(GROUPS).to(policy.device)
    logps, _, _ = CompletionScorer(policy)(packed, 0.9)
    mask = packed.completion_mask.to(logps)
    advantages = torch.tensor([1.0, -1.0, 0.5, -0.5], device=logps.device)
    terms = grpo_terms(
        logps, logps.detach() - 0.1, logps.detach() + 0.05, advantages, mask, loss_type="dapo", epsilon=0.2,
        epsilon_high=0.2, max_completion_length=4, sequences=4.0, tokens=float(mask.sum()),
    )  # fmt: skip
    loss = terms.policy + 0.1 * terms.kl
    loss.backward()
    return logps.detach().cpu(), float(loss), [tensor.grad.cpu() for tensor in adapter_tensors(policy).values()]


def test_log_probabilities_loss_and_gradients_are_those_of_the_cpu(both):
    (logps, loss, grads), (on_gpu, gpu_loss, gpu_grads) = map(grpo_gradients, both)
    torch.testing.assert_close(on_gpu, logps, atol=1e-4, rtol=1e-4)
    assert gpu_loss == pytest.approx(loss, rel=1e-4, abs=1e-5)
    for ours, theirs in zip(gpu_grads, grads, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)


def drawn(policy) -> list[list[int]]:
    settings = SamplingSettings(temperature=0.9, max_new_tokens=12, top_p=0.95)
    requests = [Request([5, 6, 7, 8 + i], 4, ("cuda", i), settings, stop_ids=(1,)) for i in range(3)]
    return [c.tokens for group in sample(policy, requests, pad_id=1) for c in group]


def test_almost_every_sample_is_that_of_the_cpu(both):
    """One stream of numbers on both; a token may differ where a number falls on the edge between two."""
    cpu, gpu = map(drawn, both)
    assert sum(a == b for a, b in zip(cpu, gpu, strict=True)) >= len(cpu) - 1


def test_merging_puts_every_weight_back_bit_for_bit(both):
    _, policy = both
    before = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    with merged(policy) as base:
        assert next(base.parameters()).is_cuda
    assert all(torch.equal(tensor, before[name]) for name, tensor in policy.state_dict().items())


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="needs bitsandbytes")
def test_a_base_in_four_bits_is_scored_sampled_and_trained(tiny_base):
    from polychrome.models.policy import add_adapter, open_base
    from tests.tiny import LORA

    policy = add_adapter(open_base(tiny_base, torch.float32, load_in_4bit=True), LORA, seed=3)
    logps, _, grads = grpo_gradients(policy)
    assert torch.isfinite(logps).all()
    assert any(grad.abs().sum() > 0 for grad in grads)
    assert all(drawn(policy))
