"""The metrics of one post's set of replies that need nothing but texts and their vectors: a registry of files.

A metric of your own is a file with a function ``metrics(of) -> {name: value}`` and its line in :data:`FILES`. None
means undefined for this post; it is never written as 0. ``CONTRASTED`` in the file names the metrics on which models
are contrasted, ``SHOWN`` those that stand beside them in the table, ``BOUNDED`` those that lie in [0, 1], ``ENCODED``
those that rest on the sentence encoder, which are undefined where it does not know the script.
"""

from importlib import import_module

from polychrome.measures.sets import ReplySet

FILES = (
    "polychrome.measures.sets",
    "polychrome.measures.novelty",
    "polychrome.measures.rouge",
    "polychrome.measures.ead",
    "polychrome.measures.vendi",
    "polychrome.measures.people",
)


def metrics(of: ReplySet) -> dict[str, float | None]:
    """Every metric of :data:`FILES` by name."""
    found: dict[str, float | None] = {}
    for file in FILES:
        found |= import_module(file).metrics(of)
    return found


def declared(kind: str) -> tuple[str, ...]:
    """The metrics that :data:`FILES` name as ``kind``: CONTRASTED, SHOWN, BOUNDED or ENCODED."""
    return tuple(name for file in FILES for name in getattr(import_module(file), kind, ()))
