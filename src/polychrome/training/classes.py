"""Which of the replies drawn for a post say the same, as an arm's ``classes`` has it."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import Self

import numpy as np
import torch

from polychrome.measures.encoder import TextEncoder, known
from polychrome.measures.partition import components, same_class_threshold, similar
from polychrome.pairs.schema import Pair
from polychrome.training.diversity import SetDiversity, Sets, Validity


class Remembering:
    """An encoder that can say again what it embedded in its last call: classes and distances share a step's vectors."""

    def __init__(self, encoder: TextEncoder):
        self._encoder = encoder
        self._last: dict[str, np.ndarray] = {}

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Embed ``texts``, always afresh: float32 (n, d)."""
        vectors = self._encoder.embed(texts)
        self._last = dict(zip(texts, vectors, strict=True))
        return vectors

    def again(self, texts: Sequence[str]) -> np.ndarray:
        """The same of texts that were all in the last call; others are embedded, and not remembered."""
        if self._last.keys() >= set(texts):
            return np.stack([self._last[text] for text in texts])
        return self._encoder.embed(texts)

    def knows(self, text: str) -> bool:
        """As the encoder has it."""
        return bool(known(self._encoder, [text])[0])


@dataclass(frozen=True)
class Classes:
    """Replies of one post in classes: ``partition`` by their sentence vectors, ``kind`` as the audience has them."""

    by: str
    encoder: TextEncoder
    validity: Validity  # of the replies that make a class
    threshold: float  # the cosine from which two replies are alike; NaN for kind

    @classmethod
    def calibrated(cls, by: str, encoder: TextEncoder, pairs: Sequence[Pair]) -> Self:
        """Set by the human replies of the arm's own training pairs; a kind is known and needs no gate either."""
        if by == "kind":
            return cls(by, encoder, Validity(None), nan)
        threshold = same_class_threshold(encoder.embed([p.reply for p in pairs]), [p.post for p in pairs])
        return cls(by, encoder, Validity.calibrated(encoder, pairs, gate=True), threshold)

    def __call__(self, posts: Sequence[str], replies: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """Classes of ``replies[p]``, n to ``posts[p]``, as :func:`~polychrome.objectives.sets.set_advantages` has them.

        ``kind``: (n,) integers; ``partition``: (n, n) bool, which two are alike. A reply that is malformed or off topic
        makes none (-1, False on the diagonal).
        """
        sets = Sets(self.encoder, replies, posts)
        return self.of(sets, self.validity(posts, sets)) if len(posts) else []

    def of(self, sets: Sets, valid: np.ndarray) -> list[np.ndarray]:
        """The same of ``sets``, in which replies that are not ``valid`` (P, n) make no class."""
        if self.by == "partition":
            return [similar(vectors, self.threshold, good) for vectors, good in zip(sets.vectors, valid, strict=True)]
        from polychrome.audience.grammar import kind_of

        kinds = [[kind_of(post, reply) for reply in one] for post, one in zip(sets.posts, sets.replies, strict=True)]
        return list(np.where(valid, np.array(kinds), -1))


def distinct_share(classes: Classes) -> SetDiversity:
    """D = classes among the valid replies / n, and D(y_-i) = those of the others / (n - 1), found among them alone.

    A reply that is not valid is one that makes no class: D is defined without two that are, and for such a reply
    D(y_-i) is not D, as it is not for one that says what another says.
    """

    def diversity(sets: Sets, valid: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        every, n = classes.of(sets, valid.numpy()), valid.shape[1]
        rest = [np.delete(np.arange(n), i) for i in range(n)]
        whole = [number_of(labels_of(one)) / n for one in every]
        others = [[number_of(labels_of(one[np.ix_(*[left] * one.ndim)])) / (n - 1) for left in rest] for one in every]
        return torch.tensor(whole, dtype=torch.float64), torch.tensor(others, dtype=torch.float64)

    return diversity


def labels_of(classes: np.ndarray) -> np.ndarray:
    """The class (n,) of each reply of one post, which of them are alike (n, n) made transitive; -1 is none."""
    return components(classes) if classes.ndim == 2 else classes


def number_of(labels: np.ndarray) -> int:
    """How many classes there are among ``labels`` (n,), of which -1 is none."""
    return len(np.unique(labels[labels >= 0]))
