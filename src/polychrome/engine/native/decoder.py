"""Decoding by compiled code: one token of every row through all layers in one call.

It computes what :class:`~polychrome.engine.stack.Stack` computes over a
:class:`~polychrome.engine.slab.Slab`, on a CPU. The weights it reads lie in the order in which they are multiplied;
those of the policy are never touched. In float32, base and adapter are merged. Over bfloat16 that would round the
update away: there the adapter stays apart, as in training, and is multiplied with what its own half has made.
"""

from ctypes import Structure, byref, c_double, c_int64, c_void_p, sizeof
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polychrome.engine.backend import Projection
from polychrome.engine.native.products import CoarseProducts, Map, address, fields, whole
from polychrome.engine.stack import TRUNK, Stack

ROWS_OF_BLOCK = 8  # decoder.c:EIGHT


class _Layer(Structure):
    """decoder.c:layer."""

    _fields_ = [
        *fields("*norm_attention *norm_mlp *norm_q *norm_k"),
        *((name, Map) for name in ("q", "k", "v", "o", "gate", "up", "down")),
        ("downs", c_void_p * 4),
        ("low", c_int64 * 4),
        *fields("*keys *values"),
    ]


class _Shape(Structure):
    """decoder.c:shape."""

    _fields_ = [
        *fields("layers hidden middle heads key_heads d columns low"),
        *((name, c_double) for name in ("eps", "eps_heads", "scale")),
        *fields("trunk_layer *trunk"),
    ]


NAMES = (("q", "k", "v"), ("o",), ("gate", "up"), ("down",))  # of a layer's projections, by part


class Decoder:
    """Steps of at most ``rows`` rows over ``slab``, by the policy as it was when its ``stack`` was made."""

    def __init__(self, backend: CoarseProducts, stack: Stack, rows: int, slab: Any, recording: Any = None):
        self.backend, self.call = backend, backend.call
        self.stack, self.slab, self.recording = stack, slab, recording
        self.coarse = stack.head.weight.dtype == torch.bfloat16
        self.kept: list[Tensor] = []  # what the structures point at
        first, threads = stack.layers[0], torch.get_num_threads()
        d, (q, k, _), (hidden,), (middle, _), _ = first.dimension, *first.widths
        eps, eps_heads = (norms[0][1] if norms else 0.0 for norms in (first.norms, first.head_norms))
        self.shape = _Shape(
            len(stack.layers), hidden, middle, q // d, k // d, d, slab.columns, 0, eps, eps_heads,
            first.scale, stack.trunk_depth,
        )  # fmt: skip
        self.outputs = [[torch.empty(rows, width) for width in part] for part in first.widths]  # of what is not kept
        self.layers = (_Layer * len(stack.layers))(*map(self._layer, stack.layers))
        self.head = self._map(Projection(stack.head, stack.head.weight, stack.head.bias), None)
        widest = max(hidden, q, middle)
        if self.coarse:
            self.blocks = torch.empty(whole(rows) * whole(widest), dtype=torch.bfloat16)
            self.lows = torch.empty(threads * whole(rows) * self.shape.low, dtype=torch.bfloat16)
        else:
            self.blocks = torch.empty(-(-rows // ROWS_OF_BLOCK) * ROWS_OF_BLOCK * widest)
            self.lows = None
        self.scratch = torch.empty(threads * (d + slab.columns))
        self.slots: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None  # see _recorded()

    def _layer(self, layer: Any) -> _Layer:
        made = _Layer(*(weight.data_ptr() for weight, _ in (*layer.norms, *layer.head_norms)))
        for i, (names, part, outputs) in enumerate(zip(NAMES, layer.parts, self.outputs, strict=True)):
            for name, p, output in zip(names, part, outputs, strict=True):
                setattr(made, name, self._map(p, output, made.low[i]))
                made.low[i] += 0 if p.a is None or not self.coarse else whole(len(p.a))
            adapters = [p.a for p in part if p.a is not None]
            if self.coarse and adapters:
                made.downs[i] = self._keep(torch.cat([self.backend.adapter_panels(a) for a in adapters]))
                self.shape.low = max(self.shape.low, made.low[i])
        return made

    def _map(self, p: Projection, output: Tensor | None, low: int = 0) -> Map:
        """Over bfloat16 the frozen panels of W, which others use too, and those of scale B, whose columns of low begin
        at ``low``; else the panels of W + scale B A, in memory of their own.
        """
        (n, k), rank = p.weight.shape, 0 if p.a is None else len(p.a)
        if not self.coarse:
            width = self.backend.library.width()
            panels = torch.empty(-(-n // width) * width * k)
            self.call("pack", p.weight, p.b, p.a, rank, p.scale, n, k, panels)
            return Map(self._keep(panels), address(p.bias), n, address(output))
        bias = None if p.bias is None else self._keep(p.bias.float())
        made = Map(self._keep(self.backend.panels_of([p.weight])), bias, n, address(output))
        if p.a is not None:
            made.up, made.low, made.rank = self._keep(self.backend.adapter_panels(p.b, p.scale)), low, rank
        return made

    def _keep(self, tensor: Tensor) -> int:
        self.kept.append(tensor)
        return tensor.data_ptr()

    def step(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """States (n, hidden) after ``tokens`` (n,) at ``positions`` (n,), for which the slab has opened a column."""
        self._point()
        x = self.stack.embed(tokens).float()
        cos, sin = (part[0].chunk(2, dim=-1)[0] for part in self.stack.rotary(x, positions[None]))
        states = torch.empty_like(x)
        rows = self.slab.starts, self.slab.leaders, self.slab.admitted
        self.call(
            "step", int(self.coarse), byref(self.shape), self.layers, *self.stack.norm, x, cos, sin, *rows,
            self.slab.used, len(tokens), states, self.blocks, self.scratch, self.lows,
        )  # fmt: skip
        return states

    def logits(self, states: Tensor) -> Tensor:
        """(n, V) of ``states`` (n, hidden)."""
        out = torch.empty(len(states), self.head.n)
        self.head.out = out.data_ptr()
        self.call("multiply", int(self.coarse), states, *states.shape, byref(self.head), self.blocks)
        return out

    def _point(self) -> None:
        """Point at the slab's blocks, which are made at the first prefill, and at the recording's next slots."""
        if self.slots is None:
            for layer, block in zip(self.layers, self.slab.layers, strict=True):
                layer.keys, layer.values = block.keys.data_ptr(), block.values.data_ptr()
            self.slots = self._recorded()
        if self.recording is None:
            return
        places, bases, strides = self.slots
        first = self.recording.now.start
        np.frombuffer(self.layers, np.int64)[places] = bases + first * strides
        if (TRUNK, 0) in self.recording.outputs:
            self.shape.trunk = self.recording.outputs[TRUNK, 0][0][first:].data_ptr()

    def _recorded(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of every output that is recorded: which word of the layers points at it, its first slot, bytes of a slot."""
        found = [
            (i * sizeof(_Layer) + getattr(_Layer, name).offset + Map.out.offset, kept)
            for i in range(len(self.layers))
            for part, names in enumerate(NAMES)
            if self.recording is not None and (i, part) in self.recording.outputs
            for name, kept in zip(names, self.recording.outputs[i, part], strict=True)
        ]
        rows = [(place // 8, kept.data_ptr(), kept.stride(0) * kept.element_size()) for place, kept in found]
        places, bases, strides = np.array(rows, dtype=np.int64).reshape(-1, 3).T
        return places, bases, strides
