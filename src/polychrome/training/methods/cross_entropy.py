"""Cross-entropy on the human replies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import torch

from polychrome.engine.packing import Group, Packed
from polychrome.objectives.cross_entropy import cross_entropy
from polychrome.pairs.schema import Pair
from polychrome.training.methods.interface import Context, Metrics, Piece, Step

if TYPE_CHECKING:
    from polychrome.params import Params


@dataclass
class CrossEntropy:
    """Cross-entropy alone; the arm's settings are those that the loop asks of every arm."""

    repeats = 1

    @classmethod
    def build(cls, arm: Any, params: Params, pairs: Sequence[Pair]) -> Self:
        """There is nothing to set."""
        return cls()

    def step(self, context: Context, batch: Sequence[Pair], number: int) -> Step:
        """One piece a micro-batch."""
        groups = _groups(context, batch)
        tokens = context.total(sum(len(group.completions[0]) for group in groups))

        def piece(packed: Packed) -> Piece:
            def loss(logps: torch.Tensor, entropies: torch.Tensor) -> tuple[torch.Tensor, Metrics]:
                value = cross_entropy(logps, packed.completion_mask.to(logps), tokens)
                return value, {"cross_entropy": value.detach(), "entropy": entropies.sum() / tokens}

            return Piece("cross_entropy", packed, loss, dropout=True)

        return Step([piece(packed) for _, packed in context.packs(groups)])

    @torch.no_grad()
    def validate(self, context: Context, pairs: Sequence[Pair]) -> tuple[str, float]:
        """Cross-entropy in nats a token."""
        groups = _groups(context, pairs)
        total = 0.0
        for _, packed in context.packs(groups):
            total -= float(context.scorer(packed, with_entropy=False)[0].double().sum())
        return "validation_cross_entropy", total / sum(len(group.completions[0]) for group in groups)


def _groups(context: Context, pairs: Sequence[Pair]) -> list[Group]:
    return [Group(context.chat.prompt(pair.post), [context.chat.reply(pair.reply)]) for pair in pairs]
