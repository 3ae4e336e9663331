"""Pairs whose engagement is known to depend on the reply, or not."""

from __future__ import annotations

import numpy as np

from polychrome.pairs.schema import Pair

WORDS = ("bread", "cheese", "music", "rain", "lunch", "work", "dogs", "sleep", "chess", "snow", "good", "fine")


def some_pairs(count, conversations, *, asking=0.0, length=0.0, noise=1.0, seed=0, prefix="c"):
    """Pairs dealt to conversations in turn; a question is worth ``asking``, the log of a reply's words ``length``."""
    generator = np.random.default_rng(seed)
    pairs = []
    for i in range(count):
        post, reply = (" ".join(generator.choice(WORDS, size=generator.integers(3, 13))) for _ in range(2))
        asks = bool(generator.integers(2)) and asking > 0
        worth = asking * asks + length * np.log1p(len(reply.split())) + noise * generator.normal()
        name = f"{prefix}{i % conversations}"
        pairs.append(Pair(f"{name}:{i}", name, post, reply + "?" * asks, float(np.exp(worth)), "someone"))
    return pairs
