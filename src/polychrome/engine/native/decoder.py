"""Decoding by compiled code: one token of every row through all layers in one call.

It computes what :class:`~polychrome.engine.stack.Stack` computes over a
:class:`~polychrome.engine.slab.Slab`, on a CPU. The weights it reads lie in the order in which they are multiplied;
those of the policy are never touched. In float32, base and adapter are merged. Over bfloat16 that would round the
update away: there the adapter stays apart, as in training, and is multiplied with what its own half has made.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import torch
from torch import nn

from polychrome.engine.kernels import Projection
from polychrome.engine.native import products
from polychrome.engine.native.library import opened
from polychrome.engine.native.products import Map, address, whole
from polychrome.engine.stack import TRUNK, Stack, bare, stack_of

ROWS_OF_BLOCK = 8  # decoder.c:EIGHT


class _Layer(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("norm_attention", "norm_mlp", "norm_q", "norm_k")),
        *((name, Map) for name in ("q", "k", "v", "o", "gate", "up", "down")),
        ("downs", ctypes.c_void_p * 4),
        ("low", ctypes.c_int64 * 4),
        *((name, ctypes.c_void_p) for name in ("keys", "values")),
    ]


class _Shape(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in ("layers", "hidden", "middle", "heads", "key_heads", "d", "columns")),
        ("low", ctypes.c_int64),
        *((name, ctypes.c_double) for name in ("eps", "eps_heads", "scale")),
        ("trunk_layer", ctypes.c_int64), ("trunk", ctypes.c_void_p),
    ]  # fmt: skip


NAMES = (("q", "k", "v"), ("o",), ("gate", "up"), ("down",))  # of a layer's projections, by part


def can_decode(policy: Any, stack: Stack | None = None) -> bool:
    """Whether :class:`Decoder` computes ``policy``: the stack's families, with plain matrices on a CPU.

    All of them are float32, or all of the frozen ones bfloat16. ``stack`` is the policy's, where there is one already.
    """
    stack = stack or stack_of(policy)
    if opened() is None or stack is None:
        return False
    head = bare(policy).get_output_embeddings()
    if type(head) is not nn.Linear or stack.dtype != torch.float32 or not all(layer.by_hand for layer in stack.layers):
        return False
    projections = [p for layer in stack.layers for part in layer.parts for p in part]
    frozen = [head.weight, *(p.weight for p in projections)]
    adapters = [t for p in projections for t in (p.a, p.b) if t is not None]
    return (
        all(t.is_contiguous() and t.device.type == "cpu" for t in (*frozen, *adapters))
        and all(t.dtype == torch.float32 for t in adapters)
        and (products.usable(*frozen) or all(t.dtype == torch.float32 for t in frozen))
        and all(p.bias is None or p.bias.dtype == p.weight.dtype for p in projections)
    )


class Decoder:
    """Steps of at most ``rows`` rows over ``slab``, by the policy as it is when this, or its ``stack``, is made."""

    def __init__(self, policy: Any, rows: int, slab: Any, recording: Any = None, stack: Stack | None = None):
        library = opened()
        if library is None:
            raise ValueError("no compiled kernels: models.native.library.choose")
        self.library, self.slab, self.recording = library, slab, recording
        self.threads = torch.get_num_threads()
        self.stack = stack or Stack(policy)
        self.head = bare(policy).get_output_embeddings()
        self.coarse = self.head.weight.dtype == torch.bfloat16
        self.kept: list[torch.Tensor] = []  # what the structures point at
        first = self.stack.layers[0]
        widths, d = first.widths, first.dimension
        (q, k, _), (hidden,), (middle, _), _ = widths
        eps, eps_heads = (norms[0][1] if norms else 0.0 for norms in (first.norms, first.head_norms))
        self.shape = _Shape(
            len(self.stack.layers), hidden, middle, q // d, k // d, d, slab.columns, 0, eps, eps_heads,
            first.scale, self.stack.trunk_depth,
        )  # fmt: skip
        self.outputs = [[torch.empty(rows, width) for width in part] for part in widths]  # where nothing is recorded
        self.layers = (_Layer * len(self.stack.layers))(*(self._layer(layer) for layer in self.stack.layers))
        head = Projection(self.head, self.head.weight, self.head.bias)
        self.head_map = self._coarse_map(head, None) if self.coarse else self._merged_map(head, None)
        widest = max(hidden, q, middle)
        if self.coarse:
            self.blocks = torch.empty(whole(rows) * whole(widest), dtype=torch.bfloat16)
            self.lows = torch.empty(self.threads * whole(rows) * self.shape.low, dtype=torch.bfloat16)
        else:
            self.blocks = torch.empty(-(-rows // ROWS_OF_BLOCK) * ROWS_OF_BLOCK * widest)
            self.lows = None
        self.scratch = torch.empty(self.threads * (d + slab.columns))
        self.slots: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None  # see _recorded()

    def _layer(self, layer: Any) -> _Layer:
        made = _Layer(*(weight.data_ptr() for weight, _ in layer.norms))
        if layer.head_norms:
            made.norm_q, made.norm_k = (weight.data_ptr() for weight, _ in layer.head_norms)
        for i, (names, part, outputs) in enumerate(zip(NAMES, layer.parts, self.outputs, strict=True)):
            for name, projection, output in zip(names, part, outputs, strict=True):
                if self.coarse:
                    setattr(made, name, self._coarse_map(projection, output, made.low[i]))
                    made.low[i] += 0 if projection.a is None else whole(len(projection.a))
                else:
                    setattr(made, name, self._merged_map(projection, output))
            adapters = [p.a for p in part if p.a is not None]
            if self.coarse and adapters:
                made.downs[i] = self._keep(torch.cat([products.adapter_panels(a) for a in adapters]))
                self.shape.low = max(self.shape.low, made.low[i])
        return made

    def _coarse_map(self, p: Projection, output: torch.Tensor | None, low: int = 0) -> Map:
        """The frozen panels of W, which others use too, and those of scale B, whose columns of low begin at ``low``."""
        made = Map(self._keep(products.panels_of([p])), None, len(p.weight), address(output))
        if p.bias is not None:
            made.bias = self._keep(p.bias.float())
        if p.a is not None:
            made.up, made.low, made.rank = self._keep(products.adapter_panels(p.b, p.scale)), low, len(p.a)
        return made

    def _merged_map(self, p: Projection, output: torch.Tensor | None) -> Map:
        """The panels of W + scale B A, in memory of their own."""
        n, k = p.linear.weight.shape
        width = self.library.width()
        panels = torch.empty(-(-n // width) * width * k)
        rank = 0 if p.a is None else len(p.a)
        self.library.pack(
            *map(address, (p.weight, p.b, p.a)), ctypes.c_int64(rank), ctypes.c_double(p.scale), ctypes.c_int64(n),
            ctypes.c_int64(k), address(panels), self.threads,
        )  # fmt: skip
        return Map(self._keep(panels), address(p.bias), n, address(output))

    def _keep(self, tensor: torch.Tensor) -> int:
        self.kept.append(tensor)
        return tensor.data_ptr()

    def step(self, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Last states (n, hidden) after ``tokens`` (n,) at ``positions`` (n,), which the slab takes in."""
        self._point()
        x = self.stack.embed(tokens).float()
        cos, sin = (part[0].chunk(2, dim=-1)[0].contiguous() for part in self.stack.rotary(x, positions[None]))
        states = torch.empty_like(x)
        weight, eps = self.stack.norm
        rows = (self.slab.starts, self.slab.leaders, self.slab.admitted)
        self.library.step(
            int(self.coarse), ctypes.byref(self.shape), self.layers, address(weight), ctypes.c_double(eps),
            *map(address, (x, cos, sin, *rows)), ctypes.c_int64(self.slab.used), ctypes.c_int64(len(tokens)),
            *map(address, (states, self.blocks, self.scratch, self.lows)), self.threads,
        )  # fmt: skip
        return states

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """(n, V) of ``states`` (n, hidden)."""
        states, out = states.contiguous(), torch.empty(len(states), self.head_map.n)
        self.head_map.out = address(out)
        self.library.multiply(
            int(self.coarse), address(states), ctypes.c_int64(len(states)), ctypes.c_int64(states.shape[1]),
            ctypes.byref(self.head_map), address(self.blocks), self.threads,
        )  # fmt: skip
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
            (i * ctypes.sizeof(_Layer) + getattr(_Layer, name).offset + Map.out.offset, kept)
            for i in range(len(self.layers))
            for part, names in enumerate(NAMES)
            if self.recording is not None and (i, part) in self.recording.outputs
            for name, kept in zip(names, self.recording.outputs[i, part], strict=True)
        ]
        rows = [(place // 8, kept.data_ptr(), kept.stride(0) * kept.element_size()) for place, kept in found]
        places, bases, strides = np.array(rows, dtype=np.int64).reshape(-1, 3).T
        return places, bases, strides
