"""Linear layers whose weights are laid out ahead for small batches: what decoding on a CPU spends its time on.

A matrix product of few rows costs MKL, PyTorch's default, about as much for walking through the weights as for the
arithmetic. oneDNN takes weights in blocks that were arranged once, and reads them straight through.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

ROWS = 16  # the batch that the blocks are arranged for; larger ones gain too little to pay for arranging them


@contextmanager
def prepacked(model: nn.Module, changing: Set[nn.Module] = frozenset()) -> Iterator[None]:
    """Inside, float32 linear layers of ``model`` on a CPU multiply with prepacked weights; no gradient flows.

    The blocks of a layer are kept for the next time, at the price of a second copy of its weights, except those in
    ``changing``, whose weights will not be the same then. Elsewhere, and where PyTorch has no oneDNN, nothing changes.
    """
    layers = [layer for layer in model.modules() if _eligible(layer)]
    try:
        for layer in layers:
            if not _packed_is_of(layer):
                layer._packed = _pack(layer)
            layer.forward = partial(_multiply, layer)
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)
            if layer in changing:
                layer.__dict__.pop("_packed", None)


def _eligible(layer: nn.Module) -> bool:
    return (
        type(layer) is nn.Linear
        and layer.weight.dtype == torch.float32
        and layer.weight.device.type == "cpu"
        and torch.backends.mkldnn.is_available()
    )


def _pack(layer: Any) -> tuple[torch.Tensor, int, torch.Tensor]:
    """(the weights, how often they were written to, their blocks). While they are held no other takes their address."""
    weight = layer.weight
    return weight.data, weight._version, torch.ops.mkldnn._reorder_linear_weight(weight.data, ROWS)


def _packed_is_of(layer: Any) -> bool:
    """Whether the kept blocks are those of the weights as they are now."""
    kept, weight = getattr(layer, "_packed", None), layer.weight
    return kept is not None and kept[0].data_ptr() == weight.data_ptr() and kept[1] == weight._version


def _multiply(layer: Any, x: torch.Tensor) -> torch.Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, layer._packed[2], layer.bias, "none", [], "")
