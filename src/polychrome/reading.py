"""A YAML file of settings, read against what is declared: its values, where each stands, and what is wrong with it.

Everything wrong is collected, each as file:line:key. Types and ranges are held by pydantic, which takes them from the
declarations (:mod:`polychrome.declare`); here its findings are worded for people who have the file before them.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from polychrome.declare import NAME, Rule, Section, nearest
from polychrome.errors import Problem, bad


class SettingsFile:
    """The values of a file and where they stand; problems are collected in ``problems``, each with its line.

    Keys are dotted: ``arms.baseline.epochs``, ``seeds[1]``. ``moved`` says what to do about keys that people look for
    and that are called something else, by their dotted name or its last part.
    """

    def __init__(self, text: str, name: str, moved: Mapping[str, str] | None = None):
        """Raises InputError, calling the file ``name``, when it is not YAML or holds no keys."""
        self.name, self.moved = name, moved or {}
        self.problems: list[tuple[int, Problem]] = []
        self.places: dict[str, tuple[int, Any]] = {}  # dotted key -> line and node
        self._yaml = YAML(typ="safe", pure=True)  # YAML 1.2, as DVC reads it
        try:
            root = self._yaml.compose(text)
            if not isinstance(root, MappingNode):
                found = "an empty file" if root is None else _shown(root)
                raise bad(f"{name}:1", found, "keys and values, as in params.yaml", "Write some, or restore the file.")
            self.values: dict[str, Any] = self._value(root, "", 1)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            found = " ".join(filter(None, [error.context, error.problem]))
            where = f"{name}:{mark.line + 1 if mark else 1}"
            raise bad(where, found, "valid YAML", "Fix the line (often its indentation).") from error

    def _value(self, node: Node, where: str, line: int) -> Any:
        """The value of ``node``; a key given twice is reported and its second value left out."""
        self.places[where] = (line, node)
        if isinstance(node, SequenceNode):
            items = enumerate(node.value)
            return [self._value(item, f"{where}[{index}]", item.start_mark.line + 1) for index, item in items]
        if not isinstance(node, MappingNode):
            return self._yaml.constructor.construct_object(node)
        values: dict[str, Any] = {}
        for key, value in node.value:
            inside, line = f"{where}.{key.value}".lstrip("."), key.start_mark.line + 1
            if str(key.value) in values:
                once = f"{key.value} once (first on line {self.places[inside][0]})"
                self.report(Problem(inside, "a second value", once, "Delete one."), line)
            else:
                values[str(key.value)] = self._value(value, inside, line)
        return values

    def report(self, problem: Problem, line: int = 0) -> None:
        """Take a problem in, of a dotted key: it stands at ``line``, or that of the key or of what should hold it."""
        above = problem.where
        while above not in self.places:
            above = above.rpartition(".")[0]
        line = line or self.places[above][0]
        where = f"{self.name}:{line}:{problem.where}".rstrip(":")
        self.problems.append((line, replace(problem, where=where)))

    def read(self, hint: Any, where: str, value: Any) -> Any:
        """``value``, which stands at ``where``, as ``hint`` declares it; None when problems of its own are reported."""
        try:
            read = _adapter(hint).validate_python(value)
        except ValidationError as error:
            for one in error.errors():
                loc = [part for part in one["loc"] if part != "[key]"]
                inner = where + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
                inner = inner.lstrip(".")  # the whole file stands at ""
                kind = "name" if "[key]" in one["loc"] else one["type"]
                self.explain(kind, inner, *_declared(hint, loc))
            return None
        for problem in read.disagreements() if isinstance(read, Section) else ():
            self.report(replace(problem, where=f"{where}.{problem.where}".lstrip(".")))
        return read

    def unknown(self, where: str, known: Iterable[str]) -> None:
        """Report a key that is not among ``known``."""
        key = where.rpartition(".")[2]
        remedy = self.moved.get(where) or self.moved.get(key) or nearest(key, known)
        self.report(Problem(where, "unknown key", "a known key", remedy))

    def explain(self, kind: str, where: str, hint: Any, rule: Rule | None = None) -> None:
        """Report what pydantic calls ``kind``, of a key for which ``hint`` and ``rule`` are declared."""
        hint, rule = _bare(hint) if rule is None else (hint, rule)
        key, expected = where.rpartition(".")[2], _expected(hint, rule)
        if kind == "unexpected_keyword_argument":
            self.unknown(where, hint)
        elif kind == "missing":
            self.report(Problem(where, "no such key", expected, f"Add `{key}:` here."))
        elif kind == "name":
            self.report(Problem(where, key, f"a name {NAME.words}", "Rename it."))
        else:
            node = self.places[where][1]
            self.report(Problem(where, *_explained(kind == "value_error", hint, rule, node, expected)))


_adapter: Any = cache(TypeAdapter)


@cache
def hints_of(kind: Any) -> dict[str, Any]:
    """Key of a section -> what is declared for it."""
    hints = get_type_hints(kind, include_extras=True)
    return {item.name.removesuffix("_"): hints[item.name] for item in fields(kind)}


def _bare(hint: Any) -> tuple[Any, Rule]:
    return get_args(hint) if get_origin(hint) is Annotated else (hint, Rule())


def _declared(hint: Any, loc: Sequence[str | int]) -> tuple[Any, Rule]:
    """Type and rule at ``loc`` inside ``hint``; for an unknown key the keys that are known beside it."""
    hint, rule = _bare(hint)
    for part in loc:
        if not is_dataclass(hint):
            hint = get_args(hint)[-1 if get_origin(hint) is Mapping else 0]
        elif part in hints_of(hint):
            hint, rule = _bare(hints_of(hint)[part])
        else:
            hint = list(hints_of(hint))
    return hint, rule


# --- in words ---------------------------------------------------------------------------------------------------------


def _expected(hint: Any, rule: Rule) -> str:
    if get_origin(hint) is tuple:
        return f"a list, each {_expected(get_args(hint)[0], rule)}"
    if get_origin(hint) is Mapping:
        return "a mapping of names"
    return "a section of keys" if is_dataclass(hint) or isinstance(hint, list) else rule.expected(hint)


def _explained(right_type: bool, hint: Any, rule: Rule, node: Any, expected: str) -> tuple[str, str, str]:
    """What was found, what was expected, what to do, about a value of the right type or of another one."""
    found, collects = _shown(node), get_origin(hint) in (tuple, Mapping)
    if right_type and collects and not node.value:
        return "no items", "at least one item", "Add one."
    if right_type and collects:
        items = [item.value for item in node.value]
        twice = sorted({item for item in items if items.count(item) > 1})
        return f"{', '.join(twice)} more than once", "each item once", "Delete the second."
    number = re.fullmatch(r"([+-]?\d+)[eE]([+-]?\d+)", str(node.value))
    if right_type:
        remedy = nearest(str(node.value), rule.choices) if rule.choices else "Choose a value in that range."
    elif get_origin(hint) is tuple:
        remedy = "Write it as [a, b]."
    elif collects or is_dataclass(hint):
        remedy = "Indent its keys below it."
    elif not isinstance(node, ScalarNode):
        remedy = "Write a single value."
    elif hint is str:
        remedy = f'Quote it: "{node.value}".'
    elif hint is not bool and node.style in ("'", '"'):
        remedy = "Remove the quotes."
    else:
        remedy = f"Write {number[1]}.0e{number[2]}." if number else "Write it as such."
    return found, expected, remedy


def _shown(node: Node) -> str:
    if isinstance(node, ScalarNode):
        tag = str(node.tag).rsplit(":", 1)[-1]
        words = {"int": "the integer", "float": "the number", "bool": "the boolean", "str": "the text"}
        text = f'"{node.value}"' if tag == "str" else str(node.value)
        return "null" if tag == "null" else f"{words.get(tag, tag)} {text}"
    return "a list" if isinstance(node, SequenceNode) else "a section of keys"
