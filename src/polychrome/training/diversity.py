"""The diversity of sets of sampled texts, gated so that degenerate replies never count as diverse."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import nan

import numpy as np
import torch

from polychrome.measures.encoder import Encoder, calibrating, known
from polychrome.measures.sets import distinct_n, self_bleu
from polychrome.measures.validity import problems_of
from polychrome.objectives.diversity import set_diversity
from polychrome.pairs.schema import Pair


@dataclass(frozen=True)
class Sets:
    """P sets of n replies, embedded when something first asks for it, and once for all that do."""

    encoder: Encoder
    replies: Sequence[Sequence[str]]
    posts: Sequence[str] = ()  # (P,), where what is asked of the sets depends on them
    ended: Sequence[Sequence[bool]] | None = None  # which replies were not cut; None where that is not asked

    @cached_property
    def vectors(self) -> np.ndarray:
        """Unit vectors (P, n, d)."""
        flat = self.encoder.embed([reply for one in self.replies for reply in one])
        return flat.reshape(len(self.replies), len(self.replies[0]), -1)


@dataclass(frozen=True)
class Validity:
    """Which sampled replies may count: well-formed, not cut, and at least as near their post as the gate asks.

    Of a reply or post in a script that the encoder does not know, nothing but form is asked.

    ``threshold`` is the cosine that nine human replies in ten reach with the post they answer; None lets all pass.
    ``posts`` are the unit vectors (d,) of the posts that replies may be drawn for.
    """

    threshold: float | None
    posts: Mapping[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def calibrated(cls, encoder: Encoder, pairs: Sequence[Pair], gate: bool) -> "Validity":
        """The gate set by the human replies of the arm's own training pairs: their 10th percentile.

        Pairs whose scripts the encoder does not know have no part in it; a warning counts them.
        """
        if not gate:
            return cls(None)
        texts = [p.post for p in pairs], [p.reply for p in pairs]
        posts, replies = map(encoder.embed, texts)
        if unread := int((~known(encoder, *texts)).sum()):
            warnings.warn(
                f"the gate does not ask whether replies are on topic for {unread} of {len(pairs)} training "
                "pairs and replies like them: the encoder does not know their script (assets.encoder)",
                stacklevel=2,
            )
        read = calibrating(encoder, *texts)
        threshold = float(np.quantile((posts * replies).sum(-1)[read], 0.1)) if len(read) else -1.0
        return cls(threshold, {pair.post: vector for pair, vector in zip(pairs, posts, strict=True)})

    def __call__(self, posts: Sequence[str], sets: Sets) -> np.ndarray:
        """Whether each reply is valid: bool (P, n). Raises KeyError for a post that is none of the arm's own."""
        if self.threshold is None:
            return np.ones((len(sets.replies), len(sets.replies[0])), dtype=bool)
        formed = np.array([[not problems_of(reply) for reply in one] for one in sets.replies])
        cosine = np.einsum("pd,pnd->pn", np.stack([self.posts[post] for post in posts]), sets.vectors)
        asked = [known(sets.encoder, [post] * len(one), one) for post, one in zip(posts, sets.replies, strict=True)]
        near = (cosine >= self.threshold) | ~np.array(asked)
        return formed & near & (True if sets.ended is None else np.array(sets.ended))


SetDiversity = Callable[[Sets, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""(P sets of n replies, valid (P, n)) -> D (P,) and D(y_-i) (P, n), float64, of the valid replies among them; as
:func:`polychrome.objectives.diversity.set_diversity` 0 and NaN where fewer than two are left."""


def make_diversity(kind: str) -> SetDiversity:
    """D by name: semantic (mean pairwise cosine distance), self_bleu (1 - self-BLEU) or distinct_n (distinct-2).

    For ``partition`` see :func:`polychrome.training.classes.distinct_share`.
    """
    if kind == "semantic":
        return _semantic
    function: Callable[[Sequence[str]], float] = {  # of replies without tokens, or bigrams: nothing differs, D is 0
        "self_bleu": lambda replies: 0.0 if (alike := self_bleu(replies)) is None else 1 - alike,
        "distinct_n": lambda replies: distinct_n(replies, 2) or 0.0,
    }[kind]

    def of_valid(texts: Sequence[str], keep: Sequence[bool], undefined: float, without: int | None = None) -> float:
        kept = [text for i, (text, good) in enumerate(zip(texts, keep, strict=True)) if good and i != without]
        return function(kept) if len(kept) > 1 else undefined

    def diversity(sets: Sets, valid: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        both = list(zip(sets.replies, valid.tolist(), strict=True))
        whole = [of_valid(texts, keep, 0.0) for texts, keep in both]
        others = [[of_valid(texts, keep, nan, i) for i in range(len(texts))] for texts, keep in both]
        return torch.tensor(whole, dtype=torch.float64), torch.tensor(others, dtype=torch.float64)

    return diversity


def _semantic(sets: Sets, valid: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    vectors = torch.from_numpy(sets.vectors).double()
    distances = (1 - vectors @ vectors.transpose(-1, -2)).clamp(min=0)  # equal texts: rounding may go below
    return set_diversity(distances - torch.diag_embed(torch.diagonal(distances, dim1=-2, dim2=-1)), valid)
