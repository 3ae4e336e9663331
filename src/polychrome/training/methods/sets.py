"""GRPO that climbs the score of a set: advantages of :mod:`polychrome.objectives.sets`, all else as in GRPO.

``set_best`` climbs the best reward of a set (Pass@n: Pass@k Training, arXiv 2508.10751; PKPO, arXiv 2505.15201),
``set_poly`` mean reward times the share of distinct classes (Poly-EPO, arXiv 2604.17654).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from polychrome.declare import Rule, at_most
from polychrome.errors import Problem
from polychrome.measures.encoder import Encoder
from polychrome.pairs.schema import Pair
from polychrome.randomness import seed_for
from polychrome.training.methods.grpo import Grpo, GrpoArm, Rewarded, distance
from polychrome.training.settings import Arm

if TYPE_CHECKING:
    from torch import Tensor

    from polychrome.training.classes import Classes

SCORE = {"set_best": "best", "set_poly": "poly"}  # objective -> the score of a set


@dataclass(frozen=True, kw_only=True)
class ClassedArm(GrpoArm):
    """An arm that tells apart what replies say."""

    classes: Annotated[str, Rule("what makes replies alike", choices=("partition", "kind"))]


@dataclass
class Classed(Grpo):
    """GRPO that knows which replies of a group say the same."""

    arm: ClassedArm
    classes: Classes = field(kw_only=True)

    @classmethod
    def own(cls, arm: Any, encoder: Encoder, pairs: Sequence[Pair]) -> dict[str, Any]:
        """Classes, set by the arm's own pairs, and the distance that is watched, from the vectors that they are of."""
        from polychrome.training.classes import Classes, Remembering

        remembering = Remembering(encoder)
        classes = Classes.calibrated(arm.classes, remembering, pairs)
        return {"classes": classes, "distance": partial(distance, remembering.again)}

    def alike(self, of: Rewarded) -> list[np.ndarray]:
        """What :class:`~polychrome.training.classes.Classes` says of each group; a reply that was cut makes none."""
        found = self.classes([pair.post for pair in of.pairs], of.drawn.texts)
        if of.whole is None:
            return found
        return [
            one & whole & whole[:, None] if one.ndim == 2 else np.where(whole, one, -1)
            for one, whole in zip(found, of.whole.numpy(), strict=True)
        ]


@dataclass(frozen=True, kw_only=True)
class SetArm(ClassedArm):
    """An arm trained on the score of sets of replies; ``num_generations`` is N."""

    scale_rewards: Annotated[str, Rule("advantages over the batch's root mean square", choices=("batch",))]
    set_size: Annotated[int, Rule("replies of a set (n); below num_generations", minimum=1)]
    set_size_end: Annotated[int | None, Rule("n at the end of the run, reached in equal steps; null stays", minimum=1)]

    def disagreements(self) -> Iterator[Problem]:
        """A set leaves a reply out: what it is worth is held against sets without it."""
        for key in ("set_size", "set_size_end"):
            yield from at_most(key, getattr(self, key) or 1, "num_generations - 1", self.num_generations - 1)


@dataclass
class SetGrpo(Classed):
    """GRPO with the advantages of sets of n out of every group."""

    settings: ClassVar[type[Arm]] = SetArm

    arm: SetArm

    def size(self, number: int, batches: int) -> int:
        """n of a step: from ``set_size`` in the first to ``set_size_end`` in the last, by rounding a straight line."""
        first, end = self.arm.set_size, self.arm.set_size_end or self.arm.set_size
        return int(first + (end - first) * number / max(1, batches - 1) + 0.5)

    def advantages(self, of: Rewarded) -> tuple[Tensor, dict[str, float]]:
        """A of every group, over the root mean square of all of the batch."""
        import torch

        from polychrome.objectives.diversity import standardised
        from polychrome.objectives.sets import centred, means_with
        from polychrome.training.classes import labels_of, number_of

        total, n, score = of.context.total, self.size(of.number, of.context.batches), SCORE[self.arm.objective]
        classes = self.alike(of)
        means = [
            means_with(rewards, alike, score, n, seed=seed_for(of.context.seed, "sets", of.number, pair.id))
            for rewards, alike, pair in zip(of.rewards.numpy(), classes, of.pairs, strict=True)
        ]
        raw = torch.from_numpy(np.array([centred(q, n) for q in means])).view(of.rewards.shape)
        posts, square = total(len(of.pairs)), torch.tensor(total(float(raw.square().sum())) / total(raw.numel()))
        kinds = [labels_of(alike) for alike in classes]
        return standardised(raw, square), {
            "set_score": total(float(np.sum([q.mean() for q in means]))) / posts,
            "set_size": float(n),
            "classes": total(sum(map(number_of, kinds))) / posts,
            "unclassed_share": total(float(np.sum([np.mean(one < 0) for one in kinds]))) / posts,
            "advantage_rms": float(square.sqrt()),
        }
