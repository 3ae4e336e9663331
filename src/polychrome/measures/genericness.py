"""How generic a reply is: English words and phrases that fit any post.

``generic.txt`` holds function words, interjections and the all-purpose adjectives of small talk, then, parted by ``|``,
phrases that are said whole without regard to the post ("i don't know", "that's great"): case-folded, with straight
apostrophes.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from polychrome.measures.words import is_latin, words_of

_WORDS, _PHRASES = Path(__file__).with_name("generic.txt").read_text(encoding="utf-8").split("\n\n")
FUNCTION_WORDS = frozenset(_WORDS.split())
STOCK_PHRASES = frozenset(tuple(phrase.split()) for phrase in _PHRASES.split("|"))
_LONGEST = max(map(len, STOCK_PHRASES))


def genericness(replies: Sequence[str]) -> np.ndarray:
    """One minus how generic each reply is, clip(c / max(2, n / 3)): float64 (n,) in [0, 1]; NaN if not in Latin script.

    n counts the words, c the distinct ones that are neither function words nor inside a stock phrase.
    """
    return np.array([_specific(words_of(reply)) if is_latin(reply) else np.nan for reply in replies], dtype=np.float64)


def _specific(words: list[str]) -> float:
    inside: set[int] = set()  # places of words inside a stock phrase
    for start in range(len(words)):
        for end in range(start + 1, min(start + _LONGEST, len(words)) + 1):
            if tuple(words[start:end]) in STOCK_PHRASES:
                inside.update(range(start, end))
    content = {word for place, word in enumerate(words) if place not in inside} - FUNCTION_WORDS
    return min(1.0, len(content) / max(2.0, len(words) / 3.0))
