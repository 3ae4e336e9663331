"""An example of a reward of one's own; see README.md beside it."""

from collections.abc import Sequence

import numpy as np

FREE_WORDS = 8


def brevity(posts: Sequence[str], replies: Sequence[str]) -> np.ndarray:
    """1 up to eight words, then falling as 8 / words: float (n,) in (0, 1]."""
    words = np.array([max(len(reply.split()), 1) for reply in replies])
    return np.minimum(1.0, FREE_WORDS / words)
