"""Encoders for tests whose vectors are known, and which remember what they were asked to embed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np


class Table:
    """The vectors it is given, as they are."""

    def __init__(self, vectors: Mapping[str, Sequence[float]]):
        self.vectors, self.calls = vectors, []

    def embed(self, texts):
        self.calls.append(list(texts))
        return np.array([self._vector(text) for text in texts], dtype=np.float32)

    def _vector(self, text):
        return self.vectors[text]


class Letters(Table):
    """Counts of some letters, one for luck, at unit length."""

    def __init__(self, letters="abcdefgh"):
        super().__init__({})
        self.letters = letters

    def _vector(self, text):
        counts = np.array([1, *map(text.count, self.letters)])
        return counts / np.linalg.norm(counts)


class Hashes(Table):
    """A fixed pseudo-random unit vector per text."""

    def __init__(self):
        super().__init__({})

    def _vector(self, text):
        seed = int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:4], "big")
        vector = np.random.default_rng(seed).normal(size=8)
        return vector / np.linalg.norm(vector)


def at(*degrees: float) -> list[list[float]]:
    """Unit vectors in the plane."""
    return [[float(np.cos(np.radians(angle))), float(np.sin(np.radians(angle)))] for angle in degrees]
