"""How a setting is declared: once, as a field of its section, with its type, its range and what it means.

A section of params.yaml is a frozen dataclass that derives from :class:`Section`, in the room that uses it; a field is
``name: Annotated[int, Rule("words", minimum=1)]``. :mod:`polychrome.params` reads the file through pydantic, which is
imported only there and then: a room imports without it.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass, replace
from typing import Annotated, Any, get_args, get_origin

from polychrome.errors import Problem

NAME = r"[A-Za-z][A-Za-z0-9_]*"  # arms name folders and DVC stages


class Section:
    """A section of params.yaml. Its keys are its fields; a field such as ``lambda_`` is the key ``lambda``."""

    __pydantic_config__ = {"extra": "forbid", "alias_generator": lambda field: field.removesuffix("_")}  # noqa: RUF012

    def disagreements(self) -> Iterator[Problem]:
        """Keys that are good one by one and not together; ``where`` is the key's name."""
        return iter(())


def at_most(key: str, value: float, name: str, limit: float) -> Iterator[Problem]:
    """A problem if ``value`` of ``key`` is above ``limit``, which is called ``name``."""
    if value > limit:
        yield Problem(key, str(value), f"at most {name} ({limit})", "Lower this, or raise that.")


def nearest(name: str, known: Iterable[str]) -> str:
    """What to do about ``name``, which is not among ``known``."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"Did you mean {close[0]}?" if close else f"Known: {', '.join(known)}."


@dataclass(frozen=True)
class Rule:
    """What holds for a value, or for each item of a list or mapping.

    ``text`` is the comment of the key in params.yaml, without its range: ``unit; meaning``. ``words`` says what
    ``pattern`` matches. ``empty=False`` wants at least one item or character, ``unique=True`` no item twice.
    """

    text: str = ""
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    listed_in: str = ""  # the registry that the comment names in place of the choices
    pattern: str = ""
    words: str = ""
    empty: bool = True
    unique: bool = False

    def check(self, value: Any) -> Any:
        """``value``, if the rule holds for it. Raises ValueError otherwise; numbers must be finite."""
        held = self.empty or value is None or isinstance(value, int | float) or len(value) > 0
        if isinstance(value, str):
            held &= not self.choices or value in self.choices
            held &= not self.pattern or bool(re.fullmatch(self.pattern, value))
        elif isinstance(value, int | float):
            held &= math.isfinite(value)
            held &= self.minimum is None or value >= self.minimum
            held &= self.maximum is None or value <= self.maximum
            held &= self.above is None or value > self.above
            held &= self.below is None or value < self.below
        elif isinstance(value, tuple) and self.unique:
            held &= len(set(value)) == len(value)
        if not held:
            raise ValueError
        return value

    def expected(self, hint: Any) -> str:
        """What a value should be, in words: 'an integer >= 1'."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        kinds = get_args(hint) or (hint,)
        words = {int: "an integer", float: "a number", str: "text", bool: "true or false", type(None): "null"}
        described = " or ".join(words[kind] for kind in reversed(kinds))
        signs = {">=": self.minimum, ">": self.above, "<=": self.maximum, "<": self.below}
        further = [f"{sign} {bound}" for sign, bound in signs.items() if bound is not None]
        if self.words:
            further.append(self.words)
        elif str in kinds and not self.empty:
            further.append(f"that is not empty ({self.text})")
        return " ".join([described, " and ".join(further)]).rstrip()

    @property
    def comment(self) -> str:
        """The comment of the key in params.yaml: 'words, >= 1; shorter posts are dropped'."""
        if self.choices:
            listed = " or ".join(filter(None, [", ".join(self.choices[:-1]), self.choices[-1]]))
            listed = f"a name in {self.listed_in}" if self.listed_in else listed
            return "; ".join(filter(None, [listed, self.text]))
        low = f">= {self.minimum}" if self.minimum is not None else f"> {self.above}" if self.above is not None else ""
        if self.maximum is not None:
            low = f"in {'(' if self.minimum is None else '['}{low.split()[1]}, {self.maximum}]"
        elif self.below is not None:
            low = f"in {'(' if self.minimum is None else '['}{low.split()[1]}, {self.below})"
        unit, *meaning = self.text.split("; ", 1)
        return "; ".join([", ".join(filter(None, [unit, low])), *meaning])

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """The type itself, taken strictly (an integer is a number, true is none), then :meth:`check`."""
        from pydantic import AfterValidator, Strict

        each, items = replace(self, empty=False, unique=False), get_args(source)
        if get_origin(source) is tuple:
            inner: Any = tuple[items[0] if is_dataclass(items[0]) else Annotated[items[0], each], ...]
        elif get_origin(source) is Mapping:
            inner = dict[Annotated[str, Rule(pattern=NAME)], Annotated[items[1], each]]
        else:
            inner = Annotated[source, Strict()]
        return handler.generate_schema(Annotated[inner, AfterValidator(self.check)])
