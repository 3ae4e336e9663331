"""How a setting is declared: once, as a field of its section, with its type, its range and what it means.

A section of params.yaml is a frozen dataclass that derives from :class:`Section`, in the room that uses it; a field is
``name: Annotated[int, Rule("words; shorter posts are dropped", minimum=1)]``. :mod:`polychrome.params` reads the file
through pydantic, which is imported only then: a room imports without it.
"""

import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass, replace
from typing import Annotated, Any, get_args, get_origin

from polychrome.errors import Problem


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
    """What holds for a value, or for each item of a list or mapping; numbers are finite.

    ``text`` is the comment of the key in params.yaml, without its range: ``unit; meaning``. ``words`` says what
    ``pattern`` matches. ``empty=False`` wants at least one item or character, ``unique=True`` no item twice.
    """

    text: str = ""
    minimum: float = -math.inf
    maximum: float = math.inf
    above: float = -math.inf
    below: float = math.inf
    choices: tuple[str, ...] = ()
    listed_in: str = ""  # the registry that the comment names in place of the choices
    pattern: str = "(?s:.*)"
    words: str = ""
    empty: bool = True
    unique: bool = False

    def check(self, value: Any) -> Any:
        """``value``, if the rule holds for it. Raises ValueError otherwise."""
        if isinstance(value, str):
            held = re.fullmatch(self.pattern, value) and (not self.choices or value in self.choices)
        elif isinstance(value, int | float):
            held = self.minimum <= value <= self.maximum and self.above < value < self.below
        else:
            held = not self.unique or len(set(value)) == len(value)
        if not held or not (self.empty or isinstance(value, int | float) or len(value)):
            raise ValueError
        return value

    @property
    def range(self) -> str:
        """The bounds in words: '> 0 and <= 1'."""
        signs = {">=": self.minimum, ">": self.above, "<=": self.maximum, "<": self.below}
        return " and ".join(f"{sign} {bound}" for sign, bound in signs.items() if math.isfinite(bound))

    def expected(self, hint: Any) -> str:
        """What a value should be, in words: 'an integer >= 1'."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        words = {int: "an integer", float: "a number", str: "text", bool: "true or false", type(None): "null"}
        kinds = " or ".join(words[kind] for kind in reversed(get_args(hint) or (hint,)))
        filled = "" if self.empty or hint is not str else "that is not empty" + f" ({self.text})" * bool(self.text)
        return " ".join(filter(None, [kinds, self.range or self.words or filled]))

    @property
    def comment(self) -> str:
        """The comment of the key in params.yaml: 'words, >= 1; shorter posts are dropped'."""
        if self.choices:
            listed = " or ".join(filter(None, [", ".join(self.choices[:-1]), self.choices[-1]]))
            listed = f"a name in {self.listed_in}" if self.listed_in else listed
            return "; ".join(filter(None, [listed, self.text]))
        unit, *meaning = self.text.split("; ", 1)
        return "; ".join([", ".join(filter(None, [unit, self.range])), *meaning])

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """The type itself, taken strictly (an integer is a number, true is none), then :meth:`check`."""
        from pydantic import AfterValidator, Strict

        if is_dataclass(source):  # a section on one line: its fields have rules of their own
            return handler(source)
        each, items = replace(self, empty=False, unique=False), get_args(source)
        inner: Any = Annotated[source, Strict()]
        if get_origin(source) is tuple:
            inner = tuple[items[0] if is_dataclass(items[0]) else Annotated[items[0], each], ...]  # type: ignore[misc, valid-type]
        elif get_origin(source) is Mapping:
            inner = dict[Annotated[str, NAME], Annotated[items[1], each]]  # type: ignore[valid-type]
        optional = AfterValidator(lambda value: value if value is None else self.check(value))
        return handler.generate_schema(Annotated[inner, optional])


NAME = Rule(pattern=r"[A-Za-z][A-Za-z0-9_]*", words="of letters, digits and _")  # arms name folders and DVC stages
