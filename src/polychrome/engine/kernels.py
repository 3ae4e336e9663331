"""The arithmetic of a decoder layer on flat tokens (T, features), written so that little is stored and nothing twice.

Each function equals what transformers and PEFT compute, up to rounding, and has a backward pass by hand: base weights
are frozen, so none has a gradient, and no intermediate is kept that one elementwise pass can make again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import Function, FunctionCtx

from polychrome.engine.native import activations, products


@dataclass(frozen=True, slots=True)
class Projection:
    """A frozen linear map with a LoRA adapter on it or none: y = x W^T + bias + scale (dropout(x) A^T) B^T."""

    linear: Any  # the frozen part, a module of so many out_features, whatever holds its weights
    weight: torch.Tensor | None  # (out, in), None where the frozen part is not a plain matrix (4 bits, prepacked)
    bias: torch.Tensor | None
    a: torch.Tensor | None = None  # (rank, in)
    b: torch.Tensor | None = None  # (out, rank)
    scale: float = 1.0
    dropout: float = 0.0

    @property
    def by_hand(self) -> bool:
        """Whether :class:`_Projections` knows its backward pass."""
        return self.weight is not None and not (self.a is not None and self.dropout)


def project(
    x: torch.Tensor, projections: Sequence[Projection], known: Sequence[torch.Tensor] | None = None
) -> list[torch.Tensor]:
    """Every projection of the same ``x`` (T, in): a list of (T, out).

    ``known`` are these, where they were computed before at the same weights; then only gradients are.
    """
    learning = torch.is_grad_enabled() and (x.requires_grad or any(p.a is not None for p in projections))
    if not learning:
        return _projected(x, projections)[0] if known is None else list(known)
    if not all(p.by_hand for p in projections):
        return [_adapted(_frozen(x, p), F.dropout(x, p.dropout), p) for p in projections]
    tensors = [tensor for p in projections for tensor in (p.weight, p.a, p.b)]
    return list(_Projections.apply(x, projections, known, *tensors))


def _by_tiles(x: torch.Tensor, projections: Sequence[Projection]) -> bool:
    """Whether compiled code multiplies in bfloat16 while activations stay in float32."""
    weights = [p.weight for p in projections if p.weight is not None]
    return x.dtype == torch.float32 and len(weights) == len(projections) and products.usable(*weights)


def _frozen(x: torch.Tensor, p: Projection) -> torch.Tensor:
    """y = x W^T + bias alone."""
    bare = replace(p, a=None, b=None)
    return project(x, [bare])[0] if _by_tiles(x, [bare]) else p.linear(x)


def _projected(
    x: torch.Tensor, projections: Sequence[Projection], known: Sequence[torch.Tensor] | None = None
) -> tuple[list[torch.Tensor], torch.Tensor | None]:
    """Every projection of ``x``, unless ``known``, and x A^T of all adapters side by side (T, sum of ranks)."""
    if _by_tiles(x, projections):
        return products.project(x, projections) if known is None else (list(known), products.low(x, projections))
    downs = [p.a for p in projections if p.a is not None]
    # One product for all adapters: alone each is too narrow to be fast.
    low = x.to(downs[0].dtype) @ torch.cat(downs).t() if downs else None
    if known is not None:
        return list(known), low
    outputs, column = [], 0
    for p in projections:
        y = p.linear(x)
        if p.a is not None and p.b is not None:
            _add_product(y, low[:, column : column + len(p.a)], p.b.t(), p.scale)
            column += len(p.a)
        outputs.append(y)
    return outputs, low


def _adapted(y: torch.Tensor, x: torch.Tensor, p: Projection) -> torch.Tensor:
    if p.a is None or p.b is None:
        return y
    return (y + F.linear(F.linear(x.to(p.a.dtype), p.a), p.b) * p.scale).to(y.dtype)


class _Projections(Function):
    """y_i = x W_i^T + b_i + s_i (x A_i^T) B_i^T for several i; gradients for x and every A_i, B_i."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, projections: Sequence[Projection], known: Any, *tensors: Any) -> Any:
        outputs, low = _projected(x, projections, known)
        ctx.save_for_backward(x, low, *tensors)
        ctx.projections = projections
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        x, low, *_ = ctx.saved_tensors
        of_x, of_low = _gradients(grads, ctx.projections, low, with_x=ctx.needs_input_grad[0])
        found: list[torch.Tensor | None] = []
        column = 0
        for p, grad in zip(ctx.projections, grads, strict=True):
            found += [None, None, None]
            if p.a is None:
                continue
            span = slice(column, column + len(p.a))
            column += len(p.a)
            found[-1] = (grad.to(p.b.dtype).t() @ low[:, span]).mul_(p.scale)
        if of_low is not None:
            of_a = iter((of_low.t() @ x.to(of_low.dtype)).split([len(p.a) for p in ctx.projections if p.a is not None]))
            for i, p in enumerate(ctx.projections):
                if p.a is not None:
                    found[3 * i + 1] = next(of_a)
        return of_x, None, None, *found


def _gradients(
    grads: Sequence[torch.Tensor], projections: Sequence[Projection], low: torch.Tensor | None, *, with_x: bool
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """The gradients in x, where asked for, and in x A^T of all adapters side by side."""
    if _by_tiles(grads[0], projections):
        return products.gradients(grads, projections, with_x=with_x)
    of_low = None if low is None else torch.empty_like(low)
    column = 0
    for p, grad in zip(projections, grads, strict=True):
        if p.a is not None:
            torch.mm(grad.to(p.b.dtype), p.b * p.scale, out=of_low[:, column : column + len(p.a)])
            column += len(p.a)
    return (_gradient_of_input(grads, projections, of_low) if with_x else None), of_low


def _gradient_of_input(
    grads: Sequence[torch.Tensor], projections: Sequence[Projection], of_low: torch.Tensor | None
) -> torch.Tensor:
    of_x = grads[0] @ projections[0].weight
    for p, grad in zip(projections[1:], grads[1:], strict=True):
        of_x.addmm_(grad, p.weight)
    if of_low is not None:
        _add_product(of_x, of_low, torch.cat([p.a for p in projections if p.a is not None]), 1.0)
    return of_x


def _add_product(y: torch.Tensor, left: torch.Tensor, right: torch.Tensor, scale: float) -> None:
    """y += scale * left @ right in place; adapters may be finer than the base (float32 over bfloat16)."""
    if y.dtype == left.dtype:
        y.addmm_(left, right, alpha=scale)
    else:
        y.add_(left @ right, alpha=scale)


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last dimension (Zhang and Sennrich 2019, arXiv 1910.07467, eq. 4)."""
    if torch.is_grad_enabled() and x.requires_grad:
        return _RmsNorm.apply(x, weight, eps)
    return _norm(x, weight, eps)[0]


def _norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The norm, and 1 over the root."""
    if activations.usable(x, weight):
        return activations.rms_norm(x, weight, eps)
    inverse = _inverse_rms(x, eps)
    return _normalised(x, weight, inverse), inverse


def _inverse_rms(x: torch.Tensor, eps: float) -> torch.Tensor:
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    return norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()


def _normalised(x: torch.Tensor, weight: torch.Tensor, inverse: torch.Tensor) -> torch.Tensor:
    if x.dtype == torch.float32:
        return (x * inverse).mul_(weight)
    return (x.float() * inverse).to(x.dtype) * weight  # rounded where transformers rounds


class _RmsNorm(Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        y, inverse = _norm(x, weight, eps)
        ctx.save_for_backward(x, weight, inverse)
        return y

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        x, weight, inverse = ctx.saved_tensors
        if activations.usable(grad, x, weight):
            return activations.rms_norm_backward(grad, x, weight, inverse), None, None
        wide = x.float()
        scaled = grad.float() * weight.float()
        along = torch.linalg.vecdot(scaled, wide)[..., None] * inverse.pow(3) / x.shape[-1]
        return scaled.mul_(inverse).addcmul_(wide, along, value=-1).to(x.dtype), None, None


def swiglu(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up (Shazeer 2020, arXiv 2002.05202, eq. 6)."""
    if torch.is_grad_enabled() and (gate.requires_grad or up.requires_grad):
        return _Swiglu.apply(gate, up)
    return _activated(gate, up)


def _activated(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    return activations.swiglu(gate, up) if activations.usable(gate, up) else F.silu(gate).mul_(up)


class _Swiglu(Function):
    @staticmethod
    def forward(ctx: FunctionCtx, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(gate, up)
        return _activated(gate, up)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        gate, up = ctx.saved_tensors
        if activations.usable(grad, gate, up):
            return activations.swiglu_backward(grad, gate, up)
        return torch.ops.aten.silu_backward(grad * up, gate), F.silu(gate).mul_(grad)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary position embedding in half-split layout (Su et al. 2021, arXiv 2104.09864, eq. 34).

    Args: ``x`` (T, heads, d); ``cos`` and ``sin`` (T, 1, d / 2).
    """
    if torch.is_grad_enabled() and x.requires_grad:
        return _Rotate.apply(x, cos, sin)
    return _rotated(x, cos, sin, 1)


def _rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, sign: int) -> torch.Tensor:
    if activations.usable(x, cos, sin):
        return activations.rotate(x, cos, sin, sign)
    first, second = x.chunk(2, dim=-1)
    turned = torch.empty_like(x)
    one, two = turned.chunk(2, dim=-1)
    torch.mul(first, cos, out=one).addcmul_(second, sin, value=-sign)
    torch.mul(second, cos, out=two).addcmul_(first, sin, value=sign)
    return turned


class _Rotate(Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(cos, sin)
        return _rotated(x, cos, sin, 1)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        cos, sin = ctx.saved_tensors
        return _rotated(grad, cos, sin, -1), None, None


def token_scores(
    states: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    temperature: float,
    rows: int,
    *,
    with_entropy: bool = True,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability of each target, differentiable, and entropy in nats, detached: both (M,) float32.

    Entropies that are not asked for may be NaN; where they come at little cost they are given.

    Args: ``states`` (M, hidden); ``weight`` (V, hidden) of the head, frozen; ``targets`` (M,). Logits of only ``rows``
    states exist at one time, also in the backward pass: the gradient of log p(y) = log softmax(s W^T / t)_y in s is
    (W_y - sum_v p_v W_v) / t, made while the logits are at hand and kept instead of them.
    """
    if torch.is_grad_enabled() and states.requires_grad:
        return _TokenScores.apply(states, weight, targets, temperature, rows)
    logps, entropies, _ = _scored(states, weight, targets, temperature, rows, with_entropy, learning=False)
    return logps, entropies


def _scored(
    states: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    temperature: float,
    rows: int,
    with_entropy: bool,
    *,
    learning: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    if states.dtype == torch.float32 and products.usable(weight):
        return products.scores(states, weight, targets, temperature, learning=learning)
    logps = torch.empty(len(states), dtype=torch.float32, device=states.device)
    entropies = torch.full_like(logps, torch.nan)
    directions = torch.empty_like(states) if learning else None
    for start in range(0, len(states), rows):
        span = slice(start, start + rows)
        if activations.usable(states, weight):
            part = F.linear(states[span], weight)
            logps[span], entropies[span] = activations.score(part, targets[span], temperature, learning=learning)
            if directions is not None:
                directions[span] = (part @ weight).div_(temperature)
            continue
        if states.dtype == torch.float32:  # fewer numbers to divide than logits
            logp = F.linear(states[span] / temperature, weight).log_softmax(-1)
        else:
            logp = (F.linear(states[span], weight).float() / temperature).log_softmax(-1)
        logps[span] = logp.gather(-1, targets[span, None]).squeeze(-1)
        if not (with_entropy or learning):
            continue
        p = logp.exp()
        entropies[span] = -torch.linalg.vecdot(p, logp)
        if directions is not None:
            # One-hot minus p before the product: after it, in a coarse dtype, a confident token's cancels to noise.
            p.neg_().scatter_add_(1, targets[span, None], torch.ones_like(p[:, :1]))
            directions[span] = (p.to(weight.dtype) @ weight).div_(temperature)
    return logps, entropies, directions


class _TokenScores(Function):
    @staticmethod
    def forward(ctx: Any, states, weight, targets, temperature, rows) -> Any:
        logps, entropies, directions = _scored(states, weight, targets, temperature, rows, True, learning=True)
        ctx.save_for_backward(directions)
        ctx.mark_non_differentiable(entropies)
        return logps, entropies

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor, _: Any) -> Any:
        (directions,) = ctx.saved_tensors
        return grad.to(directions.dtype)[:, None] * directions, None, None, None, None
