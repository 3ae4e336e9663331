"""Prepacked layers against the plain ones."""

import pytest
import torch
from torch import nn

from polychrome.engine.prepacked import prepacked
from polychrome.models.policy import adapter_tensors, merged


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(48, 96), nn.SiLU(), nn.Linear(96, 40, bias=False)).requires_grad_(False)


@pytest.mark.parametrize("shape", [(1, 48), (7, 48), (64, 48), (2, 3, 48)])
def test_inside_the_products_are_those_of_the_plain_layers_up_to_rounding(model, shape):
    x = torch.randn(shape)
    expected = model(x)
    with torch.inference_mode(), prepacked(model):
        torch.testing.assert_close(model(x), expected, rtol=1e-5, atol=1e-5)
        assert "forward" in model[0].__dict__
    assert torch.equal(model(x), expected)


def test_outside_nothing_is_left_but_the_blocks_of_layers_that_do_not_change(model):
    with prepacked(model, changing={model[0]}):
        pass
    assert [layer.__dict__.get("_packed") is not None for layer in (model[0], model[2])] == [False, True]
    assert all("forward" not in layer.__dict__ for layer in model)
    assert set(model.state_dict()) == {"0.weight", "0.bias", "2.weight"}


def test_after_an_exception_the_plain_layers_answer(model):
    with pytest.raises(RuntimeError, match="inside"), prepacked(model):
        raise RuntimeError("inside")
    assert all("forward" not in layer.__dict__ for layer in model)


@pytest.mark.parametrize("in_place", [True, False])
def test_weights_that_were_replaced_or_written_to_are_packed_anew(model, in_place):
    x = torch.randn(3, 48)
    with torch.inference_mode(), prepacked(model):
        before = model(x)
    if in_place:
        model[2].weight.mul_(2)
    else:
        model[2].weight.data = model[2].weight.data * 2
    with torch.inference_mode(), prepacked(model):
        torch.testing.assert_close(model(x), 2 * before, rtol=1e-5, atol=1e-5)


def test_layers_that_are_not_float32_on_a_cpu_stay_as_they_are(model):
    with prepacked(model.to(torch.bfloat16)):
        assert all("forward" not in layer.__dict__ for layer in model)


def test_a_policy_that_has_learned_is_merged_and_packed_with_what_it_learned(policy):
    ids = torch.tensor([[5, 6, 7, 8]])
    for _ in range(3):
        with torch.no_grad():
            for tensor in adapter_tensors(policy).values():
                tensor.add_(0.1)
            expected = policy(input_ids=ids).logits
        with torch.inference_mode(), merged(policy) as bare:
            torch.testing.assert_close(bare(input_ids=ids).logits, expected, rtol=1e-3, atol=1e-4)
