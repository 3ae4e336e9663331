"""Products of activations with frozen weights and their adapters in bfloat16, summed in float32, by compiled code.

What a processor with AMX does several times as fast as float32. Activations stay in float32: only what is multiplied is
rounded, as a coarse copy of it is made, and so are adapters, whose own weights stay in float32. Weights are laid out
once, for products forward and for those backward; they may not be written to in place, unless PyTorch counts it.
"""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import POINTER, Structure, c_double, c_int, c_int64, c_void_p
from typing import Any

import torch

from polychrome.engine.native.library import opened

SIDE = 32  # tiles.h
CHUNK = 256  # products.c


class Map(Structure):
    """A linear map and what an adapter adds to it (tiles.h:map)."""

    _fields_ = [
        ("panels", c_void_p), ("bias", c_void_p), ("n", c_int64), ("out", c_void_p),
        ("up", c_void_p), ("low", c_int64), ("rank", c_int64),
    ]  # fmt: skip


class _Source(Structure):
    _fields_ = [("x", c_void_p), ("k", c_int64)]


class _Down(Structure):
    _fields_ = [
        ("panels", c_void_p), ("first", c_int64), ("k", c_int64), ("rank", c_int64), ("low", c_int64),
        ("out", c_void_p), ("ld", c_int64),
    ]  # fmt: skip


def usable(*weights: torch.Tensor) -> bool:
    """Whether these are weights that compiled code multiplies: bfloat16 on a CPU."""
    library = opened()
    return (
        library is not None
        and all(w.dtype == torch.bfloat16 and w.device.type == "cpu" for w in weights)
        and library.tiles() > 0
    )


def whole(n: int) -> int:
    """``n`` filled up to whole blocks."""
    return -(-n // SIDE) * SIDE


def pack(*parts: tuple[torch.Tensor, float], across: bool = False) -> torch.Tensor:
    """Panels of scale * weight of every part (n, k), float32 or bfloat16, with the inputs of one behind the other's.

    ``across``: of the transposed ones.
    """
    parts = tuple((weight.t() if across else weight, scale) for weight, scale in parts)
    n, blocks = len(parts[0][0]), sum(whole(weight.shape[1]) for weight, _ in parts) // SIDE
    panels = torch.empty(whole(n) * blocks * SIDE, dtype=torch.bfloat16)
    first = 0
    for weight, scale in parts:
        coarse, k = weight.dtype == torch.bfloat16, weight.shape[1]
        opened().pack_tiles(
            c_void_p(weight.data_ptr()), int(coarse), *map(c_int64, weight.stride()), c_double(scale), c_int64(n),
            c_int64(k), c_void_p(panels.data_ptr()), c_int64(blocks), c_int64(first), torch.get_num_threads(),
        )  # fmt: skip
        first += whole(k) // SIDE
    return panels


def panels_of(projections: Sequence[Any], *, across: bool = False) -> torch.Tensor:
    """Panels of the frozen weights of ``projections``, kept with the first of them."""
    weights = [p.weight for p in projections]
    return _kept(weights[0], weights, across)


def _kept(owner: torch.Tensor, weights: Sequence[torch.Tensor], across: bool, scale: float = 1.0) -> torch.Tensor:
    """Panels of ``weights``, kept with ``owner`` while none of them is written to or has its place in memory taken."""
    key = scale, [(weight.data_ptr(), weight._version, weight.shape) for weight in weights]
    name = "_panels_across" if across else "_panels"
    kept = owner.__dict__.get(name)
    if kept is None or kept[0] != key:
        # While the weights themselves are kept, no other takes their address.
        data = [weight.detach() for weight in weights]
        kept = key, pack(*((weight, scale) for weight in data), across=across), data
        setattr(owner, name, kept)
    return kept[1]


def adapter_panels(weight: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
    """Panels of scale * ``weight`` of an adapter. Kept where it is frozen: optimisers write without a count."""
    return pack((weight.detach(), scale)) if weight.requires_grad else _kept(weight, [weight], False, scale)


def project(x: torch.Tensor, projections: Sequence[Any]) -> tuple[list[torch.Tensor], torch.Tensor | None]:
    """Every projection of ``x`` (T, in), and x A^T of all adapters side by side (T, sum of ranks), all float32."""
    outputs = [x.new_empty(len(x), len(p.weight)) for p in projections]
    adapted = [p for p in projections if p.a is not None]
    low = x.new_empty(len(x), sum(len(p.a) for p in adapted)) if adapted else None
    call = _Call([x])
    column = 0
    for p, output in zip(projections, outputs, strict=True):
        up, place, rank = None, 0, 0
        if p.a is not None:
            rank = len(p.a)
            place = call.down(adapter_panels(p.a), 0, whole(x.shape[1]), rank, low, column)
            up = adapter_panels(p.b, p.scale)
            column += rank
        call.map(panels_of([p]), p.bias, output, up, place, rank)
    call.run()
    return outputs, low


def low(x: torch.Tensor, projections: Sequence[Any]) -> torch.Tensor | None:
    """x A^T of all adapters side by side (T, sum of ranks), None where there is none."""
    adapted = [p.a for p in projections if p.a is not None]
    if not adapted:
        return None
    found, call, column = x.new_empty(len(x), sum(map(len, adapted))), _Call([x]), 0
    for a in adapted:
        call.down(adapter_panels(a), 0, whole(x.shape[1]), len(a), found, column)
        column += len(a)
    call.run()
    return found


def gradients(
    grads: Sequence[torch.Tensor], projections: Sequence[Any], *, with_x: bool
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """From those of the outputs: the gradients in x (T, in), where asked for, and in x A^T of all (T, ranks)."""
    adapted = [p for p in projections if p.a is not None]
    of_low = grads[0].new_empty(len(grads[0]), sum(len(p.a) for p in adapted)) if adapted else None
    call = _Call(grads)
    column = first = rank = 0
    for p, grad in zip(projections, grads, strict=True):
        k = whole(grad.shape[1])
        if p.a is not None:
            rank = call.down(pack((p.b.detach(), p.scale), across=True), first, k, len(p.a), of_low, column) + len(p.a)
            column += len(p.a)
        first += k
    of_x = None
    if with_x:
        of_x = grads[0].new_empty(len(grads[0]), projections[0].weight.shape[1])
        up = pack(*((p.a.detach(), 1.0) for p in adapted), across=True) if adapted else None
        call.map(panels_of(projections, across=True), None, of_x, up, 0, rank)
    call.run()
    return of_x, of_low


def head_panels(weight: torch.Tensor, *, across: bool = False) -> torch.Tensor:
    """Panels of the head's ``weight`` (V, hidden), kept with it."""
    return _kept(weight, [weight], across)


def scores(
    states: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, temperature: float, *, learning: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Log-probabilities of ``targets`` (M,) and entropies (M,) under softmax(states W^T / t); with ``learning`` also
    the gradients of the former in ``states`` (M, hidden). No more logits exist than a few rows have.
    """
    states, targets, rows = states.contiguous(), targets.contiguous(), weight.detach().contiguous()
    logps, entropies = states.new_empty(len(states)), states.new_empty(len(states))
    directions = torch.empty_like(states) if learning else None
    threads, hidden = torch.get_num_threads(), c_int64(states.shape[1])
    library = opened()
    library.scores_memory.restype = c_int64
    memory = torch.empty(threads * library.scores_memory(hidden))
    across = head_panels(weight, across=True) if learning else None
    library.scores(
        *map(address, (states, rows, head_panels(weight), across, targets)), c_double(temperature),
        *map(address, (logps, entropies, directions)), c_int64(len(states)), hidden, c_int64(len(weight)),
        address(memory), threads,
    )  # fmt: skip
    return logps, entropies, directions


def address(tensor: torch.Tensor | None) -> c_void_p:
    """Where its numbers begin; NULL of none."""
    return c_void_p(None if tensor is None else tensor.data_ptr())


class _Call:
    """What one call of products.c is given."""

    def __init__(self, sources: Sequence[torch.Tensor]):
        self.sources = [x.contiguous() for x in sources]
        self.downs: list[_Down] = []
        self.maps: list[Map] = []
        self.kept: list[Any] = []  # what the structures point at
        self.low = 0  # columns

    def down(self, panels: torch.Tensor, first: int, k: int, rank: int, low: torch.Tensor | None, column: int) -> int:
        """Columns of low made of ``k`` columns of the sources from ``first`` on: where they begin.

        They are also written to ``low`` from ``column`` on.
        """
        place, out = self.low, None if low is None else low.data_ptr() + column * low.element_size()
        self.downs.append(_Down(panels.data_ptr(), first, k, rank, place, out, 0 if low is None else low.shape[1]))
        self.kept += [panels, low]
        self.low += whole(rank)
        return place

    def map(
        self, panels: torch.Tensor, bias: torch.Tensor | None, out: torch.Tensor, up: Any, place: int, rank: int
    ) -> None:
        """One more product of all sources, side by side, to be written to ``out``."""
        bias = None if bias is None else bias.float()
        addresses = [None if t is None else t.data_ptr() for t in (bias, up)]
        self.maps.append(Map(panels.data_ptr(), addresses[0], out.shape[1], out.data_ptr(), addresses[1], place, rank))
        self.kept += [panels, bias, up]

    def run(self) -> None:
        """Compute."""
        threads = torch.get_num_threads()
        width = sum(whole(x.shape[1]) for x in self.sources) + self.low
        scratch = torch.empty(threads * CHUNK * width, dtype=torch.bfloat16)
        sources = (_Source * len(self.sources))(*(_Source(x.data_ptr(), x.shape[1]) for x in self.sources))
        downs, maps = (_Down * len(self.downs))(*self.downs), (Map * len(self.maps))(*self.maps)
        function = opened().products
        function.argtypes = ARGUMENTS
        function(
            sources, len(sources), downs, len(downs), maps, len(maps), len(self.sources[0]), width,
            c_void_p(scratch.data_ptr()), threads,
        )  # fmt: skip


ARGUMENTS = (
    POINTER(_Source), c_int, POINTER(_Down), c_int, POINTER(Map), c_int, c_int64, c_int64, c_void_p, c_int
)  # fmt: skip
