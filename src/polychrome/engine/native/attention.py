"""Attention of packed tokens by compiled code: without rectangles, so without padding or keys gathered again."""

from __future__ import annotations

from ctypes import POINTER, Structure, byref, c_double, c_int, c_int64, c_void_p
from functools import cache
from typing import Any

import torch
from torch.autograd.function import Function

from polychrome.engine.native.library import opened


class _Spans(Structure):
    _fields_ = [
        *((name, c_void_p) for name in ("tokens", "starts", "queries")),
        *((name, c_int64) for name in ("spans", "longest", "total", "heads", "key_heads", "d")),
        ("scale", c_double),
    ]


def attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, spans: tuple[torch.Tensor, ...], scale: float
) -> torch.Tensor:
    """Causal attention within spans of tokens: (T, heads, d), (T, key heads, d) twice -> (T, heads * d).

    ``spans`` are the tokens of all, one after another; where each starts, and the end (spans + 1,); and how many of
    each, its last, are queries (spans,). Every token is a query in exactly one span.
    """
    q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
    if torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad):
        return _Attention.apply(q, k, v, spans, scale)
    return _forward(q, k, v, spans, scale)[0]


def _forward(q: Any, k: Any, v: Any, spans: tuple[torch.Tensor, ...], scale: float) -> Any:
    out, log_mass = q.new_empty(len(q), q.shape[1] * q.shape[2]), q.new_empty(q.shape[:2])
    _call("attention", _packed(q, k, spans, scale), q, k, v, out, log_mass)
    return out, log_mass


class _Attention(Function):
    @staticmethod
    def forward(ctx: Any, q: Any, k: Any, v: Any, spans: tuple[torch.Tensor, ...], scale: float) -> Any:
        out, log_mass = _forward(q, k, v, spans, scale)
        ctx.save_for_backward(q, k, v, out, log_mass, *spans)
        ctx.scale = scale
        return out

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        q, k, v, out, log_mass, *spans = ctx.saved_tensors
        of_q = torch.empty_like(q)
        # Every thread adds up its own; the first is given the sum.
        of_k, of_v = (x.new_empty(torch.get_num_threads(), *x.shape) for x in (k, v))
        packed = _packed(q, k, spans, ctx.scale)
        _call("attention_backward", packed, grad.contiguous(), q, k, v, out, log_mass, of_q, of_k, of_v)
        return of_q, of_k[0], of_v[0], None, None


def _packed(q: torch.Tensor, k: torch.Tensor, spans: Any, scale: float) -> _Spans:
    _, starts, queries = spans
    longest = int(starts.diff().max())
    return _Spans(
        *(x.data_ptr() for x in spans), len(queries), longest, len(q), q.shape[1], k.shape[1], q.shape[2], scale
    )


def _call(name: str, packed: _Spans, *tensors: torch.Tensor) -> None:
    library, threads = opened(), torch.get_num_threads()
    floats = _function(library, "attention_memory", 0, c_int64)(byref(packed))
    scratch = torch.empty(threads * floats)
    function = _function(library, name, len(tensors), None)
    function(byref(packed), *(x.data_ptr() for x in (*tensors, scratch)), threads)


@cache
def _function(library: Any, name: str, tensors: int, result: Any) -> Any:
    function = getattr(library, name)
    function.argtypes = [POINTER(_Spans), *(c_void_p,) * (tensors + 1), c_int] if tensors else [POINTER(_Spans)]
    function.restype = result
    return function
