"""A policy that has moved away from its reference."""

import pytest
import torch

from polychrome.models.policy import adapter_tensors, open_adapter, open_base, save_adapter


@pytest.fixture
def two_adapters(policy, tiny_base, tmp_path):
    """(policy with reference, its adapter since changed; a policy that is the reference alone)."""
    save_adapter(policy, tmp_path / "adapter", {"arm": "start"})
    both = open_adapter(open_base(tiny_base, torch.float32), tmp_path / "adapter", trainable=True, with_reference=True)
    with torch.no_grad():
        for tensor in adapter_tensors(both).values():
            tensor.mul_(-2)
    return both, open_adapter(open_base(tiny_base, torch.float32), tmp_path / "adapter", trainable=False)
