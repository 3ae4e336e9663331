"""What counts as a link, and how much of a text is letters. Texts are kept as they are written."""

from __future__ import annotations

import hashlib
import re
import unicodedata

from polychrome.measures.words import count_words

_LINK = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
_HANDLE = re.compile(r"(?<!\w)@\w+")


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


def digest(*texts: str) -> str:
    """A short hexadecimal name for ``texts``, the same on every machine (64 bits of SHA-256)."""
    return hashlib.sha256("\x1f".join(texts).encode()).hexdigest()[:16]
