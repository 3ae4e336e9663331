"""Passes over the activations of many tokens by compiled code, each reading and writing them once.

Written as several of PyTorch's operators, each pass goes through memory several times; that is what a step of training
spends beside its matrix products. What is computed, and its gradient, is told in :mod:`polychrome.engine.kernels`,
which asks :func:`usable` first.
"""

from __future__ import annotations

from ctypes import c_double, c_int, c_int64, c_void_p
from functools import cache
from typing import Any

import torch

from polychrome.engine.native.library import opened

ARGUMENTS = {  # activations.c
    "rms_norm": (c_void_p, c_void_p, c_double, c_void_p, c_void_p, c_int64, c_int64, c_int),
    "rms_norm_backward": (*(c_void_p,) * 5, c_int64, c_int64, c_int),
    "swiglu": (*(c_void_p,) * 3, c_int64, c_int),
    "swiglu_backward": (*(c_void_p,) * 5, c_int64, c_int),
    "rotate": (*(c_void_p,) * 4, *(c_int64,) * 3, c_int, c_int),
    "score": (c_void_p, c_void_p, c_double, c_void_p, c_void_p, c_int64, c_int64, c_int, c_int),
}


def usable(*tensors: torch.Tensor) -> bool:
    """Whether these can be given to compiled code: float32 on a CPU."""
    return opened() is not None and all(t.dtype == torch.float32 and t.device.type == "cpu" for t in tensors)


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Normed ``x`` (..., n), and 1 over each row's root mean square (..., 1)."""
    x = x.contiguous()
    y, inverse = torch.empty_like(x), x.new_empty(*x.shape[:-1], 1)
    _call("rms_norm", x, weight, eps, y, inverse, inverse.numel(), x.shape[-1])
    return y, inverse


def rms_norm_backward(grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, inverse: torch.Tensor) -> torch.Tensor:
    """The gradient in ``x``."""
    grad, x = grad.contiguous(), x.contiguous()
    of_x = torch.empty_like(x)
    _call("rms_norm_backward", grad, x, weight, inverse, of_x, inverse.numel(), x.shape[-1])
    return of_x


def swiglu(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up."""
    gate, up = gate.contiguous(), up.contiguous()
    y = torch.empty_like(gate)
    _call("swiglu", gate, up, y, gate.numel())
    return y


def swiglu_backward(grad: torch.Tensor, gate: torch.Tensor, up: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradients in ``gate`` and ``up``."""
    grad, gate, up = grad.contiguous(), gate.contiguous(), up.contiguous()
    of_gate, of_up = torch.empty_like(gate), torch.empty_like(up)
    _call("swiglu_backward", grad, gate, up, of_gate, of_up, gate.numel())
    return of_gate, of_up


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, sign: int) -> torch.Tensor:
    """``x`` (T, heads, d) turned by angles (T, 1, d / 2), or turned back."""
    x = x.contiguous()
    y = torch.empty_like(x)
    _call("rotate", x, cos.contiguous(), sin.contiguous(), y, *x.shape, sign)
    return y


def score(
    logits: torch.Tensor, targets: torch.Tensor, temperature: float, *, learning: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of ``targets`` (m,) and entropies (m,) under softmax(``logits`` / ``temperature``), (m, V).

    ``learning`` overwrites ``logits`` with one-hot targets minus probabilities.
    """
    logps, entropies = logits.new_empty(len(logits)), logits.new_empty(len(logits))
    _call("score", logits, targets.contiguous(), temperature, logps, entropies, *logits.shape, int(learning))
    return logps, entropies


def _call(name: str, *arguments: Any) -> None:
    given = [a.data_ptr() if isinstance(a, torch.Tensor) else a for a in arguments]
    _function(opened(), name)(*given, torch.get_num_threads())


@cache
def _function(library: Any, name: str) -> Any:
    function = getattr(library, name)
    function.argtypes, function.restype = ARGUMENTS[name], None
    return function
