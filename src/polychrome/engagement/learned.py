"""The learned reward: how much a reply would engage whoever it is for, learnt from (post, reply, engagement).

    reward = w * o * Phi(z),   z = (s - mean) / std,   s = v . x

x are features of post and reply (:func:`features`): their sentence embeddings p and r, the relation p * r and |p - r|,
and the surface of both texts. The head was fitted to order replies by engagement
(:mod:`polychrome.engagement.fitting`); mean and std are of s over the human replies that it was fitted on, so that
Phi(z), Phi the normal distribution function, is about the share of human replies that this one outranks, and never
quite 0 or 1. w and o are the gates of the heuristic reward: a malformed reply and a copy of the post earn nothing.

It shares nothing with the judge of the evaluation: other conversations, other features, other parameters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy.special import ndtr

from polychrome.errors import bad
from polychrome.files import read_json, write_json
from polychrome.measures.copying import gate
from polychrome.measures.encoder import PairVectors, TextEncoder
from polychrome.measures.words import spaced_words

Scores = NDArray[np.float64]

SURFACE = (  # of each text
    "log_words",
    "letters_a_word",
    "asks",
    "exclaims",
    "commas",
    "capital",
    "ends_as_sentence",
    "opens_with_question",
    "says_you",
    "says_i",
    "ellipsis",
    "laughs",
)
OF_TEXTS = tuple(f"{which} {name}" for which in ("post", "reply") for name in SURFACE)
FEATURES = ("p", "r", "p * r", "|p - r|", "cosine", *OF_TEXTS)

_OPENING = re.compile(r"(?:what|how|why|do|does|did|are|is|have|has|when|where|who|which|can|could|would|will|any)\b")
_YOU, _I = re.compile(r"\b(?:you|your|u|ur)\b"), re.compile(r"\b(?:i|i'm|im|my|me)\b")
_LAUGH = re.compile(r"\b(?:ha(?:ha)+|lol|lmao)|[:;=]['-]?[()DPp]")


def surface(texts: Sequence[str]) -> Scores:
    """The features named in :data:`SURFACE` of each text: float64 (n, 12)."""
    return np.array([_surface(text) for text in texts], dtype=np.float64).reshape(len(texts), len(SURFACE))


def _surface(text: str) -> tuple[float, ...]:
    words, lower = spaced_words(text), text.lower().replace("\u2019", "'")
    return (
        np.log1p(len(words)),
        sum(map(len, words)) / max(len(words), 1),
        "?" in text,
        "!" in text,
        text.count(","),
        text[:1].isupper(),
        text.rstrip()[-1:] in tuple(".!?"),
        bool(_OPENING.match(lower)),
        bool(_YOU.search(lower)),
        bool(_I.search(lower)),
        ".." in text or "\u2026" in text,
        bool(_LAUGH.search(text)),
    )


def features(posts: Sequence[str], replies: Sequence[str], p: np.ndarray, r: np.ndarray) -> Scores:
    """What the head sees, from texts and their unit vectors ``p`` and ``r`` (n, d): float64 (n, 4 d + 1 + 24)."""
    p, r = np.asarray(p, dtype=np.float64), np.asarray(r, dtype=np.float64)
    relation = [p, r, p * r, np.abs(p - r), (p * r).sum(axis=1, keepdims=True)]
    return np.hstack([*relation, surface(posts), surface(replies)])


@dataclass(frozen=True, slots=True)
class Head:
    """From features to a score, and where human replies lie on it. Features are scaled and held within 4 units."""

    centre: np.ndarray  # (m,) of the features, likewise scale
    scale: np.ndarray
    weights: np.ndarray  # (m,) v
    normal: np.ndarray  # (2,) mean and std of human scores

    def scaled(self, x: np.ndarray) -> Scores:
        """Features (n, m) as the head takes them."""
        return np.clip((x - self.centre) / self.scale, -4.0, 4.0)

    def score(self, x: np.ndarray) -> Scores:
        """s (n,) of features (n, m)."""
        return self.scaled(x) @ self.weights

    def rank(self, x: np.ndarray) -> Scores:
        """Phi of the standardised score, (n,) in (0, 1)."""
        mean, std = self.normal
        return ndtr((self.score(x) - mean) / std)


TENSORS = tuple(field.name for field in fields(Head))


class LearnedReward:
    """The reward of the module's formula. Posts are embedded alone and once, distinct replies together."""

    def __init__(self, head: Head, encoder: TextEncoder):
        self.head, self._vectors = head, PairVectors(encoder)

    def __call__(self, posts: Sequence[str], replies: Sequence[str]) -> Scores:
        """Score each reply: float64 (n,) in [0, 1)."""
        return gate(posts, replies) * self.predict(posts, replies) if replies else np.zeros(0)

    def predict(self, posts: Sequence[str], replies: Sequence[str]) -> Scores:
        """Phi(z) (n,), without the gates."""
        return self.head.rank(features(posts, replies, *self._vectors(posts, replies)))

    @classmethod
    def open(cls, directory: str | Path, encoder: TextEncoder) -> LearnedReward:
        """Open what :func:`save` wrote. Raises InputError when a file is missing, damaged or fits another encoder."""
        directory = Path(directory)
        about, file = read_json(directory / "reward.json"), directory / "reward.safetensors"
        if not file.is_file():
            raise bad(str(file), "no such file", "the learned reward's weights", "Run `dvc repro reward`.")
        try:
            if tuple(about["features"]) != FEATURES:
                raise ValueError("other features")
            tensors = load_file(file)
            head = Head(**{name: tensors[name] for name in TENSORS})
        except (KeyError, TypeError, ValueError, SafetensorError) as error:
            expected = "a learned reward with the features of this version"
            raise bad(str(directory), str(error), expected, "Run `dvc repro --force reward`.") from error
        needed, given = len(head.centre), features(["a"], ["a"], *[encoder.embed(["a"])] * 2).shape[1]
        if needed != given:
            raise bad(str(directory), f"{needed} features", f"{given}, as of this encoder", "Run `dvc repro reward`.")
        return cls(head, encoder)


def save(head: Head, directory: Path, about: dict[str, Any], card: str) -> None:
    """Write ``reward.safetensors``, ``reward.json`` and the model card into ``directory``, which must exist."""
    tensors = {name: np.ascontiguousarray(getattr(head, name)) for name in TENSORS}
    save_file(tensors, directory / "reward.safetensors")
    write_json(directory / "reward.json", {"features": FEATURES, **about})
    (directory / "README.md").write_text(card, encoding="utf-8")
