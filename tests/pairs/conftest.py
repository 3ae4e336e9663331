import numpy as np
import pytest

from polychrome.pairs.schema import Pair


@pytest.fixture
def make_pool():
    """Makes pairs with random words, several a conversation, of whose engagements ``zeros`` are 0."""

    def make(count: int = 400, conversations: int = 150, zeros: float = 0.0, seed: int = 0) -> list[Pair]:
        rng = np.random.default_rng(seed)

        def text() -> str:
            size = int(rng.integers(3, 15))
            return " ".join("".join(rng.choice(list("abcdefghijklmnop"), 6)) for _ in range(size))

        return [
            Pair(
                id=f"pair {number}",
                conversation=f"talk {rng.integers(conversations)}",
                post=text(),
                reply=text(),
                engagement=0.0 if rng.random() < zeros else float(rng.lognormal()),
                author=f"author {rng.integers(60)}",
            )
            for number in range(count)
        ]

    return make
