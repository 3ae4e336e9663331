"""What counts as a word, a link and the same text. Used for measuring and comparing; texts are kept as written."""

from __future__ import annotations

import hashlib
import re
import unicodedata

SHINGLE = 5  # characters in a shingle

_WORD = re.compile(r"[^\W_]\S*")  # from the first letter or digit of a run to the run's end: one match a word
_LINK = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
_HANDLE = re.compile(r"(?<!\w)@\w+")


def trimmed(text: str) -> str:
    """``text`` with every run of white space (newlines too) as one space, and none at the ends."""
    return " ".join(text.split())


def count_words(text: str) -> int:
    """How many runs without white space hold at least one letter or digit: ``":) ok 2nd -"`` has two words."""
    return len(_WORD.findall(text))


def same_text_key(text: str) -> str:
    """A form in which texts that differ in case, white space or Unicode compatibility only are equal."""
    return trimmed(unicodedata.normalize("NFKC", text).casefold())


def is_links_only(text: str) -> bool:
    """Whether nothing with a letter or digit is left of ``text`` without its links and @handles, of which it has one.

    Handles alone are no link: "@someone" is judged by its length.
    """
    if not _LINK.search(text):
        return False
    return count_words(_without_links(text)) == 0


def _without_links(text: str) -> str:
    text = _LINK.sub(" ", text)
    return _HANDLE.sub(" ", text) if "@" in text else text


def letter_share(text: str) -> float:
    """Letters among the characters of ``text`` that are not white space, in [0, 1]; links and @handles left out.

    A mark that combines with a letter is a part of it and counts as neither. Nothing but links gives 0.
    """
    rest = _without_links(text)
    letters = sum(map(str.isalpha, rest))
    marks = 0 if rest.isascii() else sum(unicodedata.category(mark)[0] == "M" for mark in rest)
    size = len("".join(rest.split())) - marks
    return letters / size if size else 0.0


def shingles(text: str) -> frozenset[str]:
    """The set of character 5-grams of :func:`same_text_key`; a shorter text is its own only shingle."""
    key = same_text_key(text)
    return frozenset(key[start : start + SHINGLE] for start in range(max(1, len(key) - SHINGLE + 1)))


def digest(*texts: str) -> str:
    """A short hexadecimal name for ``texts``, the same on every machine (64 bits of SHA-256)."""
    return hashlib.sha256("\x1f".join(texts).encode()).hexdigest()[:16]
