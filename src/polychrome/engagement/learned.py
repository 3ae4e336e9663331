"""The learned reward: how much a reply would engage whoever it is for, learnt from (post, reply, engagement).

    reward = w * o * Phi(z),   z = (s - mean) / std,   s = v . x

x are features of post and reply (:func:`features`): their sentence embeddings p and r, the relation p * r and |p - r|,
and the surface of both texts. The head was fitted to order replies by engagement
(:mod:`polychrome.engagement.fitting`); mean and std are of s over the human replies that it was fitted on, so that
Phi(z), Phi the normal distribution function, is about the share of human replies that this one outranks, and never
quite 0 or 1. w and o are the gates of :func:`polychrome.measures.copying.gate`: a malformed reply and a copy of
the post earn nothing.

It shares nothing with the judge of the evaluation: other conversations, other features, other parameters.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from polychrome import paths
from polychrome.engagement import ranks
from polychrome.errors import bad
from polychrome.measures.copying import gate
from polychrome.measures.encoder import PairVectors, TextEncoder
from polychrome.measures.words import spaced_words

Scores = NDArray[np.float64]

_OPENING = re.compile(r"(?:what|how|why|do|does|did|are|is|have|has|when|where|who|which|can|could|would|will|any)\b")
_YOU, _I = re.compile(r"\b(?:you|your|u|ur)\b"), re.compile(r"\b(?:i|i'm|im|my|me)\b")
_LAUGH = re.compile(r"\b(?:ha(?:ha)+|lol|lmao)|[:;=]['-]?[()DPp]")
_MARKS = str.maketrans("\uff1f\uff01\u3002\uff0c\u3001\u061f\u060c\u0964\u06d4", "?!.,,?,..")  # of other scripts

SURFACE: dict[str, Callable[[str, str, list[str]], float]] = {  # of a text, the same in lower case, its words
    "log_words": lambda text, lower, words: np.log1p(len(words)),
    "letters_a_word": lambda text, lower, words: sum(map(len, words)) / max(len(words), 1),
    "asks": lambda text, lower, words: "?" in text,
    "exclaims": lambda text, lower, words: "!" in text,
    "commas": lambda text, lower, words: text.count(","),
    "capital": lambda text, lower, words: text[:1].isupper(),
    "ends_as_sentence": lambda text, lower, words: text.rstrip()[-1:] in tuple(".!?"),
    "opens_with_question": lambda text, lower, words: bool(_OPENING.match(lower)),
    "says_you": lambda text, lower, words: bool(_YOU.search(lower)),
    "says_i": lambda text, lower, words: bool(_I.search(lower)),
    "ellipsis": lambda text, lower, words: ".." in text or "\u2026" in text,
    "laughs": lambda text, lower, words: bool(_LAUGH.search(text)),
}
OF_TEXTS = tuple(f"{which} {name}" for which in ("post", "reply") for name in SURFACE)
FEATURES = ("p", "r", "p * r", "|p - r|", "cosine", *OF_TEXTS)


def surface(texts: Sequence[str]) -> Scores:
    """The features named in :data:`SURFACE` of each text: float64 (n, 12)."""
    given = [(text.translate(_MARKS), text.lower().replace("\u2019", "'"), spaced_words(text)) for text in texts]
    rows = [[feature(*each) for feature in SURFACE.values()] for each in given]
    return np.array(rows, dtype=np.float64).reshape(len(texts), len(SURFACE))


def features(posts: Sequence[str], replies: Sequence[str], p: np.ndarray, r: np.ndarray) -> Scores:
    """What the head sees, from texts and their unit vectors ``p`` and ``r`` (n, d): float64 (n, 4 d + 1 + 24)."""
    p, r = np.asarray(p, dtype=np.float64), np.asarray(r, dtype=np.float64)
    relation = [p, r, p * r, np.abs(p - r), (p * r).sum(axis=1, keepdims=True)]
    return np.hstack([*relation, surface(posts), surface(replies)])


@dataclass(frozen=True)
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


class LearnedReward:
    """The reward of the module's formula."""

    def __init__(self, head: Head, encoder: TextEncoder):
        self.head, self._vectors = head, PairVectors(encoder)

    def __call__(self, posts: Sequence[str], replies: Sequence[str]) -> Scores:
        """Score each reply: float64 (n,) in [0, 1)."""
        return gate(posts, replies) * self.predict(posts, replies) if replies else np.zeros(0)

    def predict(self, posts: Sequence[str], replies: Sequence[str]) -> Scores:
        """Phi(z) (n,), without the gates."""
        return self.head.rank(features(posts, replies, *self._vectors(posts, replies)))

    @classmethod
    def open(cls, directory: str | Path, encoder: TextEncoder) -> "LearnedReward":
        """Open what :func:`save` wrote. Raises InputError when a file is missing, damaged or fits another encoder."""
        head = ranks.opened(directory, "reward", FEATURES, lambda _, tensors: Head(**tensors))
        needed, given = len(head.centre), features(["a"], ["a"], *[encoder.embed(["a"])] * 2).shape[1]
        if needed != given:
            raise bad(str(directory), f"{needed} features", f"{given}, as of this encoder", "Run `dvc repro reward`.")
        return cls(head, encoder)


def build(setting: Any) -> LearnedReward:
    """The learned reward of this project, from a :class:`polychrome.rewards.interface.Setting`."""
    return LearnedReward.open(paths.REWARD, setting.encoder)


def save(head: Head, directory: Path, about: Mapping[str, Any], card: str) -> None:
    """Write ``reward.safetensors``, ``reward.json`` and the model card into ``directory``, which must exist."""
    ranks.save(directory, "reward", asdict(head), {"features": FEATURES, **about})
    (directory / "README.md").write_text(card, encoding="utf-8")
