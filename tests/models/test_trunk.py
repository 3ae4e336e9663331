"""The trunk computed once for policy and reference: the same bits, the same gradients, and less work."""

from types import SimpleNamespace

import pytest
import torch

from polychrome.models.policy import (
    adapter_tensors,
    add_adapter,
    open_adapter,
    open_base,
    reference_active,
    save_adapter,
)
from polychrome.models.trunk import recorded, replayed, trunk_of
from polychrome.rollouts.packing import Group, pack
from polychrome.rollouts.scoring import CompletionScorer
from tests.tiny import LORA

PACKED = pack([Group([5, 6, 7], [[8, 9], [10]]), Group([11], [[12, 13, 14]])], 1)


@pytest.fixture
def upper(tiny_base, tmp_path):
    """A policy with its reference, adapted in the last layer only, moved away from where it started."""
    policy = add_adapter(open_base(tiny_base, torch.float32), SimpleNamespace(**vars(LORA) | {"layers": 1}), seed=1)
    save_adapter(policy, tmp_path / "start", {})
    both = open_adapter(open_base(tiny_base, torch.float32), tmp_path / "start", trainable=True, with_reference=True)
    with torch.no_grad():
        for tensor in adapter_tensors(both).values():
            tensor.add_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(2)))
    return both


def gradients(policy, logps):
    return torch.autograd.grad(logps.square().sum(), list(adapter_tensors(policy).values()))


def test_the_trunk_is_what_lies_below_the_first_adapter(upper, policy):
    layers = upper.get_base_model().get_decoder().layers
    assert trunk_of(upper) == list(layers[:-1])
    assert len(trunk_of(upper)) >= 1
    assert trunk_of(policy) == []  # adapted everywhere
    assert trunk_of(policy.unload()) == []


def test_the_policy_scores_and_learns_bit_for_bit_the_same_on_the_trunk_of_the_reference(upper):
    scorer = CompletionScorer(upper)
    logps, _ = scorer(PACKED, 0.7)
    expected = gradients(upper, logps)
    with torch.no_grad(), reference_active(upper), recorded(upper) as trunks:
        reference, _ = scorer(PACKED, 0.7)
    assert not torch.equal(reference, logps)
    again, _ = scorer(PACKED, 0.7, trunks[0])
    assert torch.equal(again, logps)
    assert all(torch.equal(a, b) for a, b in zip(gradients(upper, again), expected, strict=True))


def test_what_is_replayed_is_not_computed(upper):
    computed = []
    hooks = [layer.mlp.register_forward_hook(lambda *call: computed.append(call[0])) for layer in trunk_of(upper)]
    scorer = CompletionScorer(upper)
    with torch.no_grad(), recorded(upper) as trunks:
        scorer(PACKED)
    assert len(computed) == len(hooks) >= 1
    with torch.no_grad():
        first, _ = scorer(PACKED, trunk=trunks[0])
        assert len(computed) == len(hooks)
        other, _ = scorer(PACKED, trunk=trunks[0] + 1)
    assert not torch.equal(first, other)


def test_afterwards_and_after_an_exception_the_trunk_computes_again(upper):
    scorer = CompletionScorer(upper)
    with torch.no_grad():
        expected, _ = scorer(PACKED)
        with pytest.raises(RuntimeError, match="inside"), replayed(upper, torch.zeros(1)), recorded(upper) as trunks:
            raise RuntimeError("inside")
        assert torch.equal(scorer(PACKED)[0], expected)
    assert trunks == []


def test_without_a_trunk_nothing_is_recorded(policy):
    with torch.no_grad(), recorded(policy) as trunks:
        CompletionScorer(policy)(PACKED)
    assert trunks == []
