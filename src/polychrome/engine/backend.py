"""The arithmetic of a decoder layer on flat tokens (T, features), written so that little is stored and nothing twice.

Each operation equals what transformers and PEFT compute, up to rounding, and has a backward pass by hand: base weights
are frozen, so none has a gradient, and no intermediate is kept that one elementwise pass can make again.

A backend is chosen once a process (:mod:`polychrome.engine.compute`) and handed to whatever computes. :class:`Backend`
is PyTorch's operators, for any device and dtype. :class:`~polychrome.engine.native.compiled.Compiled` is held against
it: it overrides the underscored methods, and leaves to these what compiled code does not take.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import Function

from polychrome.engine import sampling


@dataclass(frozen=True, slots=True)
class Projection:
    """A frozen linear map with a LoRA adapter on it or none: y = x W^T + bias + scale (dropout(x) A^T) B^T."""

    linear: Any  # the frozen part, a module of so many out_features, whatever holds its weights
    weight: Tensor | None  # (out, in), None where the frozen part is not a plain matrix (4 bits)
    bias: Tensor | None
    a: Tensor | None = None  # (rank, in)
    b: Tensor | None = None  # (out, rank)
    scale: float = 1.0
    dropout: float = 0.0


class Backend:
    """PyTorch's operators."""

    name = "torch"

    def project(
        self, x: Tensor, projections: Sequence[Projection], known: Sequence[Tensor] | None = None
    ) -> list[Tensor]:
        """Every projection of the same ``x`` (T, in): a list of (T, out).

        ``known`` are these, where they were computed before at the same weights; then only gradients are.
        """
        learning = torch.is_grad_enabled() and (x.requires_grad or any(p.a is not None for p in projections))
        if not learning:
            return self._products(x, projections)[0] if known is None else list(known)
        if any(p.weight is None or (p.a is not None and p.dropout) for p in projections):
            return [self._with_dropout(x, p) for p in projections]

        def forward(x: Tensor, *tensors: Tensor) -> tuple[Any, Any]:
            outputs, low = self._products(x, projections) if known is None else (known, self._low(x, projections))
            return tuple(outputs), (x, low, *tensors)

        def backward(*given: Tensor) -> Any:
            grads, (x, low) = given[: len(projections)], given[len(projections) :][:2]
            return self._gradients(grads, projections, x, low, with_x=learns)

        learns = x.requires_grad
        adapters = [tensor for p in projections for tensor in (p.a, p.b) if tensor is not None]
        return list(_ByHand.apply(forward, backward, x, *adapters))

    def _with_dropout(self, x: Tensor, p: Projection) -> Tensor:
        """By autograd: noise on the adapter's input, or a frozen part that is no plain matrix."""
        y = p.linear(x) if p.weight is None else self.project(x, [replace(p, a=None, b=None)])[0]
        if p.a is None or p.b is None:
            return y
        low = F.linear(F.dropout(x, p.dropout).to(p.a.dtype), p.a)
        return (y + F.linear(low, p.b) * p.scale).to(y.dtype)

    def _gradients(
        self, grads: Sequence[Tensor], projections: Sequence[Projection], x: Tensor, low: Tensor | None, *, with_x: bool
    ) -> tuple[Tensor | None, ...]:
        """From those of the outputs: the gradient in ``x``, where asked for, and in A and B of every adapter."""
        of_x, of_low = self._gradients_within(grads, projections, low, with_x=with_x)
        if low is None or of_low is None:
            return (of_x,)
        ranks = _ranks(projections)
        of_a = (of_low.t() @ x.to(of_low.dtype)).split(ranks)
        adapted = [(p, grad) for p, grad in zip(projections, grads, strict=True) if p.a is not None]
        of_b = [
            (grad.to(p.b.dtype).t() @ own).mul_(p.scale)
            for (p, grad), own in zip(adapted, low.split(ranks, dim=1), strict=True)
        ]
        return of_x, *chain(*zip(of_a, of_b, strict=True))

    def _products(self, x: Tensor, projections: Sequence[Projection]) -> tuple[list[Tensor], Tensor | None]:
        """Every projection of ``x``, and x A^T of all adapters side by side (T, sum of ranks)."""
        low, outputs = self._low(x, projections), []
        lows = iter(() if low is None else low.split(_ranks(projections), dim=1))
        for p in projections:
            outputs.append(p.linear(x))
            if p.a is not None:
                _add_product(outputs[-1], next(lows), p.b.t(), p.scale)
        return outputs, low

    def _low(self, x: Tensor, projections: Sequence[Projection]) -> Tensor | None:
        """x A^T of all adapters side by side, None where there is none."""
        downs = [p.a for p in projections if p.a is not None]
        # One product for all adapters: alone each is too narrow to be fast.
        return x.to(downs[0].dtype) @ torch.cat(downs).t() if downs else None

    def _gradients_within(
        self, grads: Sequence[Tensor], projections: Sequence[Projection], low: Tensor | None, *, with_x: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        """The gradients in x, where asked for, and in ``low``, x A^T of all adapters side by side."""
        of_low = None if low is None else torch.empty_like(low)
        lows = iter(() if of_low is None else of_low.split(_ranks(projections), dim=1))
        for p, grad in zip(projections, grads, strict=True):
            if p.a is not None:
                torch.mm(grad.to(p.b.dtype), p.b * p.scale, out=next(lows))
        if not with_x:
            return None, of_low
        of_x = grads[0] @ projections[0].weight
        for p, grad in zip(projections[1:], grads[1:], strict=True):
            of_x.addmm_(grad, p.weight)
        if of_low is not None:
            _add_product(of_x, of_low, torch.cat([p.a for p in projections if p.a is not None]), 1.0)
        return of_x, of_low

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """x / sqrt(mean(x^2) + eps) * weight of the last dimension (Zhang and Sennrich 2019, arXiv 1910.07467)."""

        def forward(x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
            y, inverse = self._norm(x, weight, eps)
            return y, (x, weight, inverse)

        return by_hand(forward, lambda *given: (self._norm_gradient(*given),), x)

    def _norm(self, x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        """The norm, and 1 over the root."""
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        inverse = norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        if x.dtype == torch.float32:
            return (x * inverse).mul_(weight), inverse
        return (x.float() * inverse).to(x.dtype) * weight, inverse  # rounded where transformers rounds

    def _norm_gradient(self, grad: Tensor, x: Tensor, weight: Tensor, inverse: Tensor) -> Tensor:
        wide, scaled = x.float(), grad.float() * weight.float()
        along = torch.linalg.vecdot(scaled, wide)[..., None] * inverse.pow(3) / x.shape[-1]
        return scaled.mul_(inverse).addcmul_(wide, along, value=-1).to(x.dtype)

    def swiglu(self, gate: Tensor, up: Tensor) -> Tensor:
        """silu(gate) * up (Shazeer 2020, arXiv 2002.05202, eq. 6)."""
        return by_hand(lambda *given: (self._swiglu(*given), given), self._swiglu_gradients, gate, up)

    def _swiglu(self, gate: Tensor, up: Tensor) -> Tensor:
        return F.silu(gate).mul_(up)

    def _swiglu_gradients(self, grad: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ops.aten.silu_backward(grad * up, gate), F.silu(gate).mul_(grad)

    def rotate(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Rotary position embedding in half-split layout (Su et al. 2021, arXiv 2104.09864, eq. 34).

        Args: ``x`` (T, heads, d); ``cos`` and ``sin`` (T, 1, d / 2).
        """
        return by_hand(
            lambda x: (self._rotate(x, cos, sin, 1), (cos, sin)),
            lambda grad, cos, sin: (self._rotate(grad, cos, sin, -1),),
            x,
        )

    def _rotate(self, x: Tensor, cos: Tensor, sin: Tensor, sign: int) -> Tensor:
        first, second = x.chunk(2, dim=-1)
        turned = torch.empty_like(x)
        one, two = turned.chunk(2, dim=-1)
        torch.mul(first, cos, out=one).addcmul_(second, sin, value=-sign)
        torch.mul(second, cos, out=two).addcmul_(first, sin, value=sign)
        return turned

    def token_scores(
        self, states: Tensor, weight: Tensor, targets: Tensor, temperature: float, rows: int, with_entropy: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Log-probability of each target, differentiable, and entropy in nats, detached: both (M,) float32.

        Entropies that are not asked for may be NaN; where they come at little cost they are given.

        Args: ``states`` (M, hidden); ``weight`` (V, hidden) of the head, frozen; ``targets`` (M,). Logits of only
        ``rows`` states exist at one time, also in the backward pass: the gradient of log softmax(s W^T / t)_y in s is
        (W_y - sum_v p_v W_v) / t, made while the logits are at hand and kept instead of them.
        """
        if torch.is_grad_enabled() and states.requires_grad:
            return _TokenScores.apply(self, states, weight, targets, temperature, rows)
        return self._scores(states, weight, targets, temperature, rows, with_entropy=with_entropy, learning=False)[:2]

    def _scores(
        self, states: Tensor, weight: Tensor, targets: Tensor, temperature: float, rows: int, **wanted: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Log-probabilities, entropies and, where ``learning``, the gradients of the former in ``states``."""
        logps = torch.empty(len(states), dtype=torch.float32, device=states.device)
        entropies = torch.full_like(logps, torch.nan)
        directions = torch.empty_like(states) if wanted["learning"] else None
        for start in range(0, len(states), rows):
            span = slice(start, start + rows)
            part = self._part_of_scores(states[span], weight, targets[span], temperature, **wanted)
            for whole, own in zip((logps, entropies, directions), part, strict=True):
                if own is not None:
                    whole[span] = own
        return logps, entropies, directions

    def _part_of_scores(
        self, states: Tensor, weight: Tensor, targets: Tensor, temperature: float, with_entropy: bool, learning: bool
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        if states.dtype == torch.float32:  # fewer numbers to divide than logits
            logp = F.linear(states / temperature, weight).log_softmax(-1)
        else:
            logp = (F.linear(states, weight).float() / temperature).log_softmax(-1)
        own = logp.gather(-1, targets[:, None])
        if not (with_entropy or learning):
            return own.squeeze(-1), None, None
        p = logp.exp()
        entropies = -torch.linalg.vecdot(p, logp)
        if not learning:
            return own.squeeze(-1), entropies, None
        # One-hot minus p before the product: after it, in a coarse dtype, a confident token's cancels to noise.
        p.neg_().scatter_add_(1, targets[:, None], torch.ones_like(own))
        return own.squeeze(-1), entropies, (p.to(weight.dtype) @ weight).div_(temperature)

    def draw(self, logits: Tensor, uniforms: Tensor, settings: sampling.RowSettings) -> tuple[Tensor, Tensor]:
        """A token a row and its log-probability: see :func:`polychrome.engine.sampling.draw`."""
        return sampling.draw(logits, uniforms, settings)

    def attention(self, pack: Any, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """What :class:`~polychrome.engine.attention.PackedAttention` ``pack`` is asked."""
        return pack.of_rectangles(q, k, v, scale)

    def activation_dtype(self, dtype: torch.dtype, weights: Sequence[Tensor | None]) -> torch.dtype:
        """That of activations in a model of ``dtype`` whose ``weights`` are multiplied; None is no plain matrix."""
        return dtype

    def decodes(self, stack: Any) -> bool:
        """Whether :meth:`decoder` computes ``stack``."""
        return False

    def decoder(self, stack: Any, rows: int, slab: Any, recording: Any = None) -> Any:
        """What decodes at most ``rows`` rows over ``slab`` faster than ``stack``. ValueError where nothing does."""
        raise ValueError(f"{self.name} does not decode this model but by its stack")


def by_hand(forward: Callable[..., tuple[Tensor, Any]], backward: Callable[..., Any], *inputs: Tensor) -> Tensor:
    """y of (y, kept) = ``forward(*inputs)``, whose gradients in the inputs are ``backward(grad, *kept)``."""
    if torch.is_grad_enabled() and any(x.requires_grad for x in inputs):
        return _ByHand.apply(forward, backward, *inputs)
    return forward(*inputs)[0]


class _ByHand(Function):
    @staticmethod
    def forward(ctx: Any, forward: Callable[..., Any], backward: Callable[..., Any], *inputs: Tensor) -> Any:
        y, kept = forward(*inputs)
        ctx.save_for_backward(*kept)
        ctx.by_hand = backward
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return None, None, *ctx.by_hand(*grads, *ctx.saved_tensors)


class _TokenScores(Function):
    @staticmethod
    def forward(ctx: Any, backend: Backend, states: Tensor, weight: Tensor, targets, temperature, rows) -> Any:
        logps, entropies, directions = backend._scores(
            states, weight, targets, temperature, rows, with_entropy=True, learning=True
        )
        ctx.save_for_backward(directions)
        ctx.mark_non_differentiable(entropies)
        return logps, entropies

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Any) -> Any:
        (directions,) = ctx.saved_tensors
        return None, grad.to(directions.dtype)[:, None] * directions, None, None, None, None


def _ranks(projections: Sequence[Projection]) -> list[int]:
    return [len(p.a) for p in projections if p.a is not None]


def _add_product(y: Tensor, left: Tensor, right: Tensor, scale: float) -> None:
    """y += scale * left @ right in place; adapters may be finer than the base (float32 over bfloat16)."""
    if y.dtype == left.dtype:
        y.addmm_(left, right, alpha=scale)
    else:
        y.add_(left @ right, alpha=scale)
