"""The backend of compiled code: what it takes, and how it is asked; the rest is left to PyTorch's operators.

Written as several of PyTorch's operators, a pass over the activations of many tokens goes through memory several times;
that is what a step of training spends beside its matrix products. Here each reads and writes them once. Attention needs
no rectangles, so neither padding nor keys gathered again. What is computed, and its gradient, stands in
:mod:`polychrome.engine.backend`.
"""

from ctypes import Structure, byref, c_double
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from polychrome.engine.backend import by_hand
from polychrome.engine.native.decoder import Decoder
from polychrome.engine.native.products import CoarseProducts, fields
from polychrome.engine.sampling import RowSettings


def _fine(*tensors: Tensor) -> bool:
    """What passes over activations take: float32 on a CPU."""
    return all(t.dtype == torch.float32 and t.is_cpu for t in tensors)


class Compiled(CoarseProducts):
    """Compiled code where it takes what it is given, else PyTorch's operators."""

    name = "compiled"

    def decodes(self, stack: Any) -> bool:
        """Whether all weights are plain matrices on a CPU, float32 or, but for the adapters', bfloat16."""
        projections = [p for layer in stack.layers for part in layer.parts for p in part]
        adapters = [tensor for p in projections for tensor in (p.a, p.b) if tensor is not None]
        return (
            stack.dtype == torch.float32
            and all(w is not None for w in stack.weights)
            and (self.coarse(*stack.weights) or _fine(*stack.weights))
            and _fine(*adapters)
            and all(tensor.is_contiguous() for tensor in (*stack.weights, *adapters))
            and all(p.bias is None or p.bias.dtype == p.weight.dtype for p in projections)
        )

    def decoder(self, stack: Any, rows: int, slab: Any, recording: Any = None) -> Decoder:
        """The decoder of ``stack`` as it is now."""
        return Decoder(self, stack, rows, slab, recording)

    def _norm(self, x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        if not _fine(x, weight):
            return super()._norm(x, weight, eps)
        y, inverse = x.new_empty(x.shape), x.new_empty(*x.shape[:-1], 1)
        self.call("rms_norm", x, weight, eps, y, inverse, inverse.numel(), x.shape[-1])
        return y, inverse

    def _norm_gradient(self, grad: Tensor, x: Tensor, weight: Tensor, inverse: Tensor) -> Tensor:
        if not _fine(grad, x, weight):
            return super()._norm_gradient(grad, x, weight, inverse)
        of_x = x.new_empty(x.shape)
        self.call("rms_norm_backward", grad, x, weight, inverse, of_x, inverse.numel(), x.shape[-1])
        return of_x

    def _swiglu(self, gate: Tensor, up: Tensor) -> Tensor:
        if not _fine(gate, up):
            return super()._swiglu(gate, up)
        y = gate.new_empty(gate.shape)
        self.call("swiglu", gate, up, y, gate.numel())
        return y

    def _swiglu_gradients(self, grad: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
        if not _fine(grad, gate, up):
            return super()._swiglu_gradients(grad, gate, up)
        of_gate, of_up = gate.new_empty(gate.shape), up.new_empty(up.shape)
        self.call("swiglu_backward", grad, gate, up, of_gate, of_up, gate.numel())
        return of_gate, of_up

    def _rotate(self, x: Tensor, cos: Tensor, sin: Tensor, sign: int) -> Tensor:
        if not _fine(x, cos, sin):
            return super()._rotate(x, cos, sin, sign)
        y = x.new_empty(x.shape)
        self.call("rotate", x, cos, sin, y, *x.shape, sign)
        return y

    def _part_of_scores(
        self, states: Tensor, weight: Tensor, targets: Tensor, temperature: float, with_entropy: bool, learning: bool
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        if not _fine(states, weight):
            return super()._part_of_scores(states, weight, targets, temperature, with_entropy, learning)
        logits = F.linear(states, weight)
        logps, entropies = logits.new_empty(len(logits)), logits.new_empty(len(logits))
        # With learning the logits become one-hot targets minus probabilities.
        self.call("score", logits, targets, temperature, logps, entropies, *logits.shape, int(learning))
        return logps, entropies, (logits @ weight).div_(temperature) if learning else None

    def draw(self, logits: Tensor, uniforms: Tensor, settings: RowSettings) -> tuple[Tensor, Tensor]:
        """In one pass over the logits; only the most probable tokens are sorted."""
        if not _fine(logits):
            return super().draw(logits, uniforms, settings)
        rows, n = logits.shape
        tokens, logps = torch.empty(rows, dtype=torch.long), torch.empty(rows)
        scratch = torch.empty(torch.get_num_threads() * 3 * n)
        rules = settings.temperature, settings.top_p, settings.top_k, settings.min_p
        self.call("draw", logits, uniforms.double(), *rules, tokens, logps, rows, n, scratch)
        return tokens, logps

    def attention(self, pack: Any, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """By spans of tokens: see :class:`~polychrome.engine.packing.Packed`."""
        if not _fine(q, k, v):
            return super().attention(pack, q, k, v, scale)
        (count, heads, d), key_heads, starts = q.shape, k.shape[1], pack.packed.span_starts
        lists = [x.data_ptr() for x in (pack.packed.span_tokens, starts, pack.packed.span_queries)]
        spans = _Spans(*lists, len(starts) - 1, pack.longest_span, count, heads, key_heads, d, scale)
        spans.packed = pack.packed  # alive as long as it is pointed at
        floats = self.library.attention_memory(byref(spans))

        def scratch() -> Tensor:
            return torch.empty(torch.get_num_threads() * floats)

        def forward(*given: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
            inputs = [x.contiguous() for x in given]
            out, log_mass = q.new_empty(count, heads * d), q.new_empty(count, heads)
            self.call("attention", byref(spans), *inputs, out, log_mass, scratch())
            return out, (*inputs, out, log_mass)

        def backward(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, *kept: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            of_q = torch.empty_like(q)
            # Every thread adds up its own; the first is given the sum.
            of_k, of_v = (x.new_empty(torch.get_num_threads(), *x.shape) for x in (k, v))
            self.call("attention_backward", byref(spans), grad, q, k, v, *kept, of_q, of_k, of_v, scratch())
            return of_q, of_k[0], of_v[0]

        return by_hand(forward, backward, q, k, v)


class _Spans(Structure):
    """attention.c:packed."""

    _fields_ = [*fields("*tokens *starts *queries spans longest total heads key_heads d"), ("scale", c_double)]
