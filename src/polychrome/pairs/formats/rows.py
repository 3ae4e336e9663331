"""What containers give and shapes make: records with their place, and replies whose values are not yet looked at."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

Record = tuple[str, dict[str, Any]]  # its place (file:line), and its values by name


@dataclass(frozen=True)
class Rows:
    """Replies as a file has them: values by field (FIELDS of :mod:`~polychrome.pairs.formats.values`).

    ``named`` says what the file calls a field, for messages about it; ``notes`` is what the user should know.
    """

    rows: list[Record]
    named: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def digest(*texts: str) -> str:
    """A short hexadecimal name for ``texts``, the same on every machine (64 bits of SHA-256)."""
    return hashlib.sha256("\x1f".join(texts).encode()).hexdigest()[:16]
