"""Encoders for tests whose vectors are known, and which remember what they were asked to embed."""

import numpy as np


class Table:
    """The vectors it is given, as they are."""

    def __init__(self, vectors):
        self.vector_of, self.calls = vectors.__getitem__, []

    def embed(self, texts):
        self.calls.append(list(texts))
        return np.array([self.vector_of(text) for text in texts], dtype=np.float32)


class Letters(Table):
    """Counts of some letters, one for luck, at unit length."""

    def __init__(self, letters="abcdefgh"):
        self.letters, self.calls = letters, []

    def vector_of(self, text):
        counts = np.array([1, *map(text.count, self.letters)])
        return counts / np.linalg.norm(counts)


def at(*degrees: float) -> list[list[float]]:
    """Unit vectors in the plane."""
    return [[float(np.cos(np.radians(angle))), float(np.sin(np.radians(angle)))] for angle in degrees]


class Angles(Table):
    """Embeds a text that ends in a number as the unit vector at that many degrees."""

    def __init__(self):
        self.vector_of, self.calls = lambda text: at(float(text.split()[-1]))[0], []
