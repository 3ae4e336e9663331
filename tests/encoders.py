"""Encoders for tests whose vectors are known, and which remember what they were asked to embed."""

import hashlib

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
        self.vector_of, self.calls = lambda text: unit([1, *map(text.count, letters)]), []


class Hashes(Table):
    """A fixed pseudo-random unit vector per text."""

    def __init__(self):
        self.vector_of, self.calls = lambda text: unit(np.random.default_rng(seed_of(text)).normal(size=8)), []


def unit(vector):
    return np.array(vector) / np.linalg.norm(vector)


def seed_of(text):
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:4], "big")


def at(*degrees: float) -> list[list[float]]:
    """Unit vectors in the plane."""
    return [[float(np.cos(np.radians(angle))), float(np.sin(np.radians(angle)))] for angle in degrees]
