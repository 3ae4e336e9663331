"""The trunk: the frozen layers below the first adapter, whose output policy and reference have in common.

With adapters in the upper layers only, whoever scores the same tokens under both need not compute the trunk twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn


def trunk_of(model: Any) -> list[nn.Module]:
    """Decoder layers of ``model`` (PEFT's or bare) below the first that carries an adapter; none without adapters."""
    from peft.tuners.lora import LoraLayer

    layers = list(_bare(model).get_decoder().layers)
    adapted = [any(isinstance(module, LoraLayer) for module in layer.modules()) for layer in layers]
    return layers[: adapted.index(True)] if True in adapted else []


@contextmanager
def recorded(model: Any) -> Iterator[list[torch.Tensor]]:
    """Inside, every forward pass of ``model`` appends its trunk's output (B, L, hidden) to what is yielded.

    Nothing is appended where there is no trunk.
    """
    outputs: list[torch.Tensor] = []
    trunk = trunk_of(model)
    handles = [layer.register_forward_hook(lambda *call: outputs.append(call[-1])) for layer in trunk[-1:]]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def replayed(model: Any, output: torch.Tensor | None) -> Iterator[None]:
    """Inside, the trunk of ``model`` gives ``output``, recorded for the same input, and computes nothing.

    With None it computes.
    """
    trunk = [] if output is None else trunk_of(model)
    try:
        for layer in trunk:
            layer.forward = partial(_give, output)
        yield
    finally:
        for layer in trunk:
            del layer.forward


def _give(output: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    return output


def _bare(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model
