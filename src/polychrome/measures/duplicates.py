"""Equal and near-duplicate texts: Jaccard similarity of character 5-grams, by prefix filtering and verified exactly.

Two sets whose Jaccard similarity is at least t share an element among the first |x| - ceil(t |x|) + 1 elements of
each, when both are sorted in one common order (Chaudhuri, Ganti and Kaushik 2006, "A primitive operator for
similarity joins"; Bayardo, Ma and Srikant 2007, "Scaling up all pairs similarity search"). With the rarest shingles
first, few texts share a prefix, so that few are compared. Nothing is approximate: no near-duplicate is missed.
"""

import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

SHINGLE = 5  # characters in a shingle


def trimmed(text: str) -> str:
    """``text`` with every run of white space (newlines too) as one space, and none at the ends."""
    return " ".join(text.split())


def same_text_key(text: str) -> str:
    """A form in which texts that differ in case, white space or Unicode compatibility only are equal."""
    return trimmed(unicodedata.normalize("NFKC", text).casefold())


def shingles(text: str) -> frozenset[str]:
    """The set of character 5-grams of :func:`same_text_key`; a shorter text is its own only shingle."""
    key = same_text_key(text)
    return frozenset(key[start : start + SHINGLE] for start in range(max(1, len(key) - SHINGLE + 1)))


def jaccard(first: frozenset[str] | frozenset[int], second: frozenset[str] | frozenset[int]) -> float:
    """Size of the intersection over size of the union of two sets that are not both empty, in [0, 1]."""
    shared = len(first & second)
    return shared / (len(first) + len(second) - shared)


class NearDuplicates:
    """Texts of one collection, some of them added; finds the added ones that are near-duplicates of any text.

    ``threshold`` is a Jaccard similarity in (0, 1]; at or above it, two texts are near-duplicates.
    """

    def __init__(self, texts: Sequence[str], threshold: float):
        self.threshold = threshold
        sets = [shingles(text) for text in texts]
        frequency = Counter(shingle for each in sets for shingle in each)
        rarest_first = sorted(frequency, key=lambda shingle: (frequency[shingle], shingle))
        rank = {shingle: place for place, shingle in enumerate(rarest_first)}
        self._sets = [frozenset(rank[shingle] for shingle in each) for each in sets]
        self._added: dict[int, list[int]] = defaultdict(list)  # shingle -> added texts with it in their prefix

    def _prefix(self, index: int) -> list[int]:
        size = len(self._sets[index])
        must_share = math.ceil(self.threshold * size - 1e-9)  # the slack only lengthens the prefix: still no miss
        return sorted(self._sets[index])[: size - must_share + 1]

    def add(self, index: int) -> None:
        """Let text number ``index`` be found from now on."""
        for shingle in self._prefix(index):
            self._added[shingle].append(index)

    def of(self, index: int) -> list[int]:
        """Numbers, ascending, of the added texts that are near-duplicates of text number ``index``."""
        candidates = {other for shingle in self._prefix(index) for other in self._added.get(shingle, ())}
        mine = self._sets[index]
        return sorted(other for other in candidates if jaccard(mine, self._sets[other]) >= self.threshold)


def near_duplicate_pairs(texts: Sequence[str], threshold: float) -> Iterator[tuple[int, int]]:
    """Every (i, j), i < j, whose texts are near-duplicates."""
    index = NearDuplicates(texts, threshold)
    for j in range(len(texts)):
        yield from ((i, j) for i in index.of(j))
        index.add(j)
