"""Decoding by compiled code: one token of every row through all layers in one call.

It computes what :class:`~polychrome.models.stack.Stack` computes over a
:class:`~polychrome.rollouts.slab.Slab`, in float32 on a CPU. The weights it reads are its own: base and adapter merged,
in the order in which they are multiplied. Those of the policy are never touched.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import nn

from polychrome.models.kernels import Projection
from polychrome.models.native.library import opened
from polychrome.models.stack import TRUNK, Stack, bare, has_stack

ROWS_OF_BLOCK = 8  # decoder.c:EIGHT


class _Map(ctypes.Structure):
    _fields_ = [
        ("panels", ctypes.c_void_p), ("bias", ctypes.c_void_p), ("n", ctypes.c_int64), ("out", ctypes.c_void_p)
    ]  # fmt: skip


class _Layer(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("norm_attention", "norm_mlp", "norm_q", "norm_k")),
        *((name, _Map) for name in ("q", "k", "v", "o", "gate", "up", "down")),
        *((name, ctypes.c_void_p) for name in ("keys", "values")),
    ]


class _Shape(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in ("layers", "hidden", "middle", "heads", "key_heads", "d", "columns")),
        *((name, ctypes.c_double) for name in ("eps", "eps_heads", "scale")),
        ("trunk_layer", ctypes.c_int64), ("trunk", ctypes.c_void_p),
    ]  # fmt: skip


NAMES = (("q", "k", "v"), ("o",), ("gate", "up"), ("down",))  # of a layer's projections, by part


def can_decode(policy: Any) -> bool:
    """Whether :class:`Decoder` computes ``policy``: the stack's families with float32 matrices on a CPU."""
    if opened() is None or not has_stack(policy):
        return False
    head = bare(policy).get_output_embeddings()
    return (
        type(head) is nn.Linear
        and head.weight.dtype == torch.float32
        and head.weight.device.type == "cpu"
        and head.weight.is_contiguous()
        and all(layer.by_hand and _plain(layer) for layer in Stack(policy).layers)
    )


def _plain(layer: Any) -> bool:
    tensors = [t for part in layer.parts for p in part for t in (p.weight, p.bias, p.a, p.b) if t is not None]
    return all(tensor.dtype == torch.float32 and tensor.is_contiguous() for tensor in tensors)


class Decoder:
    """Steps of at most ``rows`` rows over ``slab``, by the policy as it is when this is made."""

    def __init__(self, policy: Any, rows: int, slab: Any, recording: Any = None):
        library = opened()
        if library is None:
            raise ValueError("no compiled kernels: models.native.library.choose")
        self.library, self.slab, self.recording = library, slab, recording
        self.threads = torch.get_num_threads()
        self.stack = Stack(policy)
        self.head = bare(policy).get_output_embeddings()
        self.kept: list[torch.Tensor] = []  # what the structures point at
        first = self.stack.layers[0]
        widths, d = first.widths, first.dimension
        (q, k, _), (hidden,), (middle, _), _ = widths
        eps, eps_heads = (norms[0][1] if norms else 0.0 for norms in (first.norms, first.head_norms))
        self.shape = _Shape(
            len(self.stack.layers), hidden, middle, q // d, k // d, d, slab.columns, eps, eps_heads,
            first.scale, self.stack.trunk_depth,
        )  # fmt: skip
        self.outputs = [[torch.empty(rows, width) for width in part] for part in widths]  # where nothing is recorded
        self.layers = (_Layer * len(self.stack.layers))(*(self._layer(layer) for layer in self.stack.layers))
        self.head_map = self._map(Projection(self.head, self.head.weight, self.head.bias), None)
        blocks = -(-rows // ROWS_OF_BLOCK) * ROWS_OF_BLOCK
        self.blocks = torch.empty(blocks * max(hidden, q, middle))
        self.scratch = torch.empty(self.threads * (d + slab.columns))

    def _layer(self, layer: Any) -> _Layer:
        made = _Layer(*(weight.data_ptr() for weight, _ in layer.norms))
        if layer.head_norms:
            made.norm_q, made.norm_k = (weight.data_ptr() for weight, _ in layer.head_norms)
        for names, part, outputs in zip(NAMES, layer.parts, self.outputs, strict=True):
            for name, projection, output in zip(names, part, outputs, strict=True):
                setattr(made, name, self._map(projection, output))
        return made

    def _map(self, p: Projection, output: torch.Tensor | None) -> _Map:
        """The panels of W + scale B A, in memory of their own."""
        n, k = p.linear.weight.shape
        width = self.library.width()
        panels = torch.empty(-(-n // width) * width * k)
        rank = 0 if p.a is None else len(p.a)
        self.library.pack(
            *map(_address, (p.weight, p.b, p.a)), ctypes.c_int64(rank), ctypes.c_double(p.scale), ctypes.c_int64(n),
            ctypes.c_int64(k), _address(panels), self.threads,
        )  # fmt: skip
        self.kept.append(panels)
        return _Map(_address(panels), _address(p.bias), n, _address(output))

    def step(self, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Last states (n, hidden) after ``tokens`` (n,) at ``positions`` (n,), which the slab takes in."""
        self._point()
        x = self.stack.embed(tokens)
        cos, sin = (part[0].chunk(2, dim=-1)[0].contiguous() for part in self.stack.rotary(x, positions[None]))
        states = torch.empty_like(x)
        weight = self.stack.norm.weight
        self.library.step(
            ctypes.byref(self.shape), self.layers, _address(weight), ctypes.c_double(self.stack.norm.variance_epsilon),
            _address(x), _address(cos), _address(sin), _address(self.slab.starts), ctypes.c_int64(self.slab.used),
            ctypes.c_int64(len(tokens)), _address(states), _address(self.blocks), _address(self.scratch), self.threads,
        )  # fmt: skip
        return states

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """(n, V) of ``states`` (n, hidden)."""
        states, out = states.contiguous(), torch.empty(len(states), self.head_map.n)
        self.head_map.out = _address(out)
        self.library.multiply(
            _address(states), ctypes.c_int64(len(states)), ctypes.c_int64(states.shape[1]),
            ctypes.byref(self.head_map), _address(self.blocks), self.threads,
        )  # fmt: skip
        return out

    def _point(self) -> None:
        """Point at the slab's blocks, which are made at the first prefill, and at the recording's next slots."""
        for i, (layer, block) in enumerate(zip(self.layers, self.slab.layers, strict=True)):
            layer.keys, layer.values = block.keys.data_ptr(), block.values.data_ptr()
            if self.recording is None or (i, 0) not in self.recording.outputs:
                continue
            for part, names in enumerate(NAMES):
                for name, kept in zip(names, self.recording.outputs[i, part], strict=True):
                    getattr(layer, name).out = kept[self.recording.now].data_ptr()
        if self.recording is not None and (TRUNK, 0) in self.recording.outputs:
            self.shape.trunk = self.recording.outputs[TRUNK, 0][0][self.recording.now].data_ptr()


def _address(tensor: torch.Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


