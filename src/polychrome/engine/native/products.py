"""Products of activations with frozen weights and their adapters in bfloat16, summed in float32, by compiled code.

What a processor with AMX does several times as fast as float32. Activations stay in float32: only what is multiplied is
rounded, as a coarse copy of it is made, and so are adapters, whose own weights stay in float32. Weights are laid out
once, for products forward and for those backward; they may not be written to in place, unless PyTorch counts it.
"""

from collections.abc import Sequence
from ctypes import Structure, c_int64, c_void_p
from typing import Any

import torch
from torch import Tensor

from polychrome.engine.backend import Backend, Projection
from polychrome.engine.native.library import Library

SIDE = 32  # tiles.h
CHUNK = 256  # products.c


def fields(text: str) -> list[tuple[str, type]]:
    """Of a structure: pointers are marked with a star, what else there is are int64."""
    return [(name.lstrip("*"), c_void_p if name.startswith("*") else c_int64) for name in text.split()]


class Map(Structure):
    """A linear map and what an adapter adds to it (tiles.h:map)."""

    _fields_ = fields("*panels *bias n *out *up low rank")


class _Source(Structure):
    _fields_ = fields("*x k")


class _Down(Structure):
    _fields_ = fields("*panels first k rank low *out ld")


def whole(n: int) -> int:
    """``n`` filled up to whole blocks."""
    return -(-n // SIDE) * SIDE


def address(tensor: Tensor | None) -> int | None:
    """Where its numbers begin; NULL of none."""
    return None if tensor is None else tensor.data_ptr()


class CoarseProducts(Backend):
    """Products in bfloat16 by compiled code, and the weights that were laid out for them."""

    def __init__(self, library: Library):
        self.library, self.call = library, library.call
        self.multiplies = library.tiles() > 0  # whether the system lets the processor multiply bfloat16

    def coarse(self, *weights: Tensor | None) -> bool:
        """What products take: plain matrices of bfloat16 on a CPU."""
        return self.multiplies and all(w is not None and w.dtype == torch.bfloat16 and w.is_cpu for w in weights)

    def _takes(self, x: Tensor, projections: Sequence[Projection]) -> bool:
        return x.dtype == torch.float32 and self.coarse(*(p.weight for p in projections))

    def activation_dtype(self, dtype: torch.dtype, weights: Sequence[Tensor | None]) -> torch.dtype:
        """float32 where only what is multiplied is coarser."""
        return torch.float32 if self.coarse(*weights) else dtype

    def _products(self, x: Tensor, projections: Sequence[Projection]) -> tuple[list[Tensor], Tensor | None]:
        if not self._takes(x, projections):
            return super()._products(x, projections)
        outputs = [x.new_empty(len(x), len(p.weight)) for p in projections]
        return outputs, self._multiply(x, projections, outputs)

    def _low(self, x: Tensor, projections: Sequence[Projection]) -> Tensor | None:
        takes = self._takes(x, projections)
        return self._multiply(x, projections, []) if takes else super()._low(x, projections)

    def _multiply(self, x: Tensor, projections: Sequence[Any], outputs: Sequence[Tensor]) -> Tensor | None:
        """Write ``outputs``, where there are; returns x A^T of all adapters side by side."""
        call = _Call([x], projections)
        for i, p in enumerate(projections):
            place, rank, up = 0, 0, None
            if p.a is not None:
                rank, place = len(p.a), call.down(self.adapter_panels(p.a), 0, whole(x.shape[1]), len(p.a))
            if outputs:
                up = None if p.a is None else self.adapter_panels(p.b, p.scale)
                call.map(self.panels_of([p.weight]), p.bias, outputs[i], up, place, rank)
        if call.downs or call.maps:
            call.run(self.call)
        return call.low

    def _gradients_within(
        self, grads: Sequence[Tensor], projections: Sequence[Any], low: Tensor | None, *, with_x: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        if not self._takes(grads[0], projections):
            return super()._gradients_within(grads, projections, low, with_x=with_x)
        call = _Call(grads, projections)
        first, rank, of_x = 0, 0, None
        for p, grad in zip(projections, grads, strict=True):
            k = whole(grad.shape[1])
            if p.a is not None:
                up = self.pack((p.b.detach(), p.scale), across=True)
                rank = call.down(up, first, k, len(p.a)) + len(p.a)
            first += k
        if with_x:
            of_x = grads[0].new_empty(len(grads[0]), projections[0].weight.shape[1])
            adapters = [(p.a.detach(), 1.0) for p in projections if p.a is not None]
            up = self.pack(*adapters, across=True) if adapters else None
            call.map(self.panels_of([p.weight for p in projections], across=True), None, of_x, up, 0, rank)
        call.run(self.call)
        return of_x, call.low

    def _scores(
        self, states: Tensor, weight: Tensor, targets: Tensor, temperature: float, rows: int, **wanted: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        if states.dtype != torch.float32 or not self.coarse(weight):
            return super()._scores(states, weight, targets, temperature, rows, **wanted)
        learning = wanted["learning"]  # entropies come with the log-probabilities
        logps, entropies = states.new_empty(len(states)), states.new_empty(len(states))
        directions = states.new_empty(states.shape) if learning else None
        memory = torch.empty(torch.get_num_threads() * self.library.scores_memory(states.shape[1]))
        across = self.panels_of([weight], across=True) if learning else None
        self.call(
            "scores", states, weight.detach(), self.panels_of([weight]), across, targets, temperature,
            logps, entropies, directions, *states.shape, len(weight), memory,
        )  # fmt: skip
        return logps, entropies, directions

    def pack(self, *parts: tuple[Tensor, float], across: bool = False) -> Tensor:
        """Panels of scale * weight of every part (n, k), float32 or bfloat16, the inputs of one behind the other's.

        ``across``: of the transposed ones.
        """
        parts = tuple((weight.t() if across else weight, scale) for weight, scale in parts)
        n, blocks = len(parts[0][0]), sum(whole(weight.shape[1]) for weight, _ in parts) // SIDE
        panels = torch.empty(whole(n) * blocks * SIDE, dtype=torch.bfloat16)
        first = 0
        for weight, scale in parts:
            source = weight.data_ptr(), int(weight.dtype == torch.bfloat16), *weight.stride()
            self.call("pack_tiles", *source, scale, *weight.shape, panels, blocks, first)
            first += whole(weight.shape[1]) // SIDE
        return panels

    def panels_of(self, weights: Sequence[Tensor], *, across: bool = False, scale: float = 1.0) -> Tensor:
        """Panels of ``weights``, kept with the first while none is written to or has its place in memory taken."""
        key = scale, [(weight.data_ptr(), weight._version, weight.shape) for weight in weights]
        owner, name = weights[0], "_panels_across" if across else "_panels"
        kept = owner.__dict__.get(name)
        if kept is None or kept[0] != key:
            data = [weight.detach() for weight in weights]  # while these are kept, no other takes their address
            kept = key, self.pack(*((weight, scale) for weight in data), across=across), data
            setattr(owner, name, kept)
        return kept[1]

    def adapter_panels(self, weight: Tensor, scale: float = 1.0) -> Tensor:
        """Panels of scale * ``weight`` of an adapter. Kept where it is frozen: optimisers write without a count."""
        return self.pack((weight.detach(), scale)) if weight.requires_grad else self.panels_of([weight], scale=scale)


class _Call:
    """What one call of products.c is given; ``low`` gets x A^T of all adapters of ``projections`` side by side."""

    def __init__(self, sources: Sequence[Tensor], projections: Sequence[Any]):
        self.sources = [x.contiguous() for x in sources]
        ranks = [len(p.a) for p in projections if p.a is not None]
        self.low = sources[0].new_empty(len(sources[0]), sum(ranks)) if ranks else None
        self.downs: list[_Down] = []
        self.maps: list[Map] = []
        self.kept: list[Any] = []  # what the structures point at
        self.columns = self.coarse_columns = 0  # of low that there are; in coarse, each adapter's begin a block

    def down(self, panels: Tensor, first: int, k: int, rank: int) -> int:
        """Columns of low made of ``k`` columns of the sources from ``first`` on: where the coarse ones begin."""
        place, out = self.coarse_columns, self.low.data_ptr() + self.columns * self.low.element_size()
        self.downs.append(_Down(panels.data_ptr(), first, k, rank, place, out, self.low.shape[1]))
        self.kept.append(panels)
        self.columns, self.coarse_columns = self.columns + rank, place + whole(rank)
        return place

    def map(self, panels: Tensor, bias: Tensor | None, out: Tensor, up: Tensor | None, place: int, rank: int) -> None:
        """One more product of all sources, side by side, to be written to ``out``."""
        bias = None if bias is None else bias.float()
        self.maps.append(Map(address(panels), address(bias), out.shape[1], address(out), address(up), place, rank))
        self.kept += [panels, bias, up]

    def run(self, call: Any) -> None:
        """Compute."""
        width = sum(whole(x.shape[1]) for x in self.sources) + self.coarse_columns
        scratch = torch.empty(torch.get_num_threads() * CHUNK * width, dtype=torch.bfloat16)
        sources = [_Source(x.data_ptr(), x.shape[1]) for x in self.sources]
        lists = ((_Source, sources), (_Down, self.downs), (Map, self.maps))
        given = [x for kind, of in lists for x in ((kind * len(of))(*of), len(of))]
        call("products", *given, len(self.sources[0]), width, scratch)
