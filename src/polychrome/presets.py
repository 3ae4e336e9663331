"""Presets: sizes of the whole pipeline, each a small file of overrides of params.yaml.

`python -m polychrome.presets NAME` writes params.yaml as it is committed with the overrides of
presets/NAME.yaml put in; `default` puts in none. Only the overridden values change: comments and every other key
stay as they are. Edits of yours that are not committed are never overwritten unasked.
"""

from __future__ import annotations

import argparse
import difflib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node

from polychrome.errors import InputError, Problem, bad
from polychrome.files import write_text
from polychrome.params import parse_params

DEFAULT = "default"


def preset_names(folder: str | Path = "presets") -> list[str]:
    """The presets that can be named: `default` and the files of ``folder``."""
    return [DEFAULT, *sorted(path.stem for path in Path(folder).glob("*.yaml"))]


def apply_preset(base: str, name: str, folder: str | Path = "presets") -> str:
    """The text of params.yaml, ``base``, with the overrides of preset ``name`` put in, checked as a whole.

    Raises InputError when the preset is unknown, overrides a key that is not there, or makes params that are bad.
    """
    if name == DEFAULT:
        return base
    path = Path(folder) / f"{name}.yaml"
    if not path.is_file():
        names = preset_names(folder)
        close = difflib.get_close_matches(name, names, n=1)
        remedy = f"Did you mean {close[0]}?" if close else "Name one of them."
        raise bad(str(path), "no such file", f"a preset: {', '.join(names)}", remedy)
    text = path.read_text(encoding="utf-8")
    changed = override(base, text, str(path))
    parse_params(changed, f"params.yaml with {path}")
    return changed


def override(base: str, overrides: str, name: str = "overrides") -> str:
    """``base`` (YAML) with the values of ``overrides`` (YAML of the same nesting) in place of its own, as written.

    Mappings are descended into; any other value is replaced whole. Raises InputError naming every key of
    ``overrides`` that ``base`` does not have.
    """
    problems: list[Problem] = []
    edits: list[tuple[int, int, str]] = []
    for target, source in _pairs(_compose(base, "params.yaml"), _compose(overrides, name), "", name, problems):
        edits.append((*_span(target), overrides[slice(*_span(source))]))
    if problems:
        raise InputError(problems)
    for start, end, new in sorted(edits, reverse=True):
        base = _replaced(base, start, end, new)
    return base


def leaves(text: str, name: str = "overrides") -> dict[str, object]:
    """Dotted key -> value of every override in ``text``."""
    loader = YAML(typ="safe", pure=True)

    def walk(node: Node, dotted: str) -> Iterator[tuple[str, object]]:
        if isinstance(node, MappingNode):
            for key, value in node.value:
                yield from walk(value, f"{dotted}.{key.value}".lstrip("."))
        else:
            yield dotted, loader.constructor.construct_object(node, deep=True)

    return dict(walk(_compose(text, name), ""))


def _compose(text: str, name: str) -> Node:
    try:
        node = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise bad(f"{name}:{line}", error.problem, "valid YAML", "Mend the line (often its indentation).") from error
    if not isinstance(node, MappingNode):
        raise bad(f"{name}:1", "no keys", "keys of params.yaml", "Write some, nested as in params.yaml.")
    return node


def _pairs(base: Node, overrides: Node, dotted: str, name: str, problems: list[Problem]) -> Iterator[tuple[Node, Node]]:
    """(node to replace, node that replaces it) for every override that is not itself a mapping."""
    known = {str(key.value): value for key, value in base.value}
    for key, value in overrides.value:
        full = f"{dotted}.{key.value}".lstrip(".")
        target = known.get(str(key.value))
        where = f"{name}:{key.start_mark.line + 1}:{full}"
        if target is None:
            close = difflib.get_close_matches(str(key.value), known, n=1)
            remedy = f"Did you mean {close[0]}?" if close else "Delete it, or add it to params.yaml first."
            problems.append(Problem(where, "unknown key", "a key of params.yaml", remedy))
        elif isinstance(value, MappingNode) and isinstance(target, MappingNode):
            yield from _pairs(target, value, full, name, problems)
        elif isinstance(value, MappingNode) or isinstance(target, MappingNode):
            problems.append(Problem(where, "another nesting", "that of params.yaml", "Nest it alike."))
        elif value.start_mark.line != value.end_mark.line or target.start_mark.line != target.end_mark.line:
            problems.append(Problem(where, "a value of several lines", "one line", "Write it as [a, b]."))
        else:
            yield target, value


def _span(node: Node) -> tuple[int, int]:
    return node.start_mark.index, node.end_mark.index


def _replaced(text: str, start: int, end: int, new: str) -> str:
    """``text`` with ``new`` at [start, end), the comment behind it kept in its column where there is room."""
    rest = text[end:].partition("\n")[0]
    gap = len(rest) - len(rest.lstrip(" "))
    grown = len(new) - (end - start)
    if rest.lstrip(" ").startswith("#"):
        end += gap
        new += " " * max(2, gap - grown)
    return text[:start] + new + text[end:]


def committed_params(path: str | Path = "params.yaml") -> str:
    """The text of ``path`` as it is committed. Raises InputError when there is none."""
    path = Path(path)
    show = ["git", "-C", str(path.parent), "show", f"HEAD:./{path.name}"]
    done = subprocess.run(show, capture_output=True, text=True, check=False)
    if done.returncode:
        raise bad(str(path), "no committed version", "one, which presets change", "Commit it, or name one by --base.")
    return done.stdout


def switch(name: str, base: str, out: str | Path = "params.yaml", folder: str | Path = "presets") -> None:
    """Write ``base`` under preset ``name`` to ``out``, whose text may be lost only if a preset makes it anew.

    Raises InputError when ``out`` holds edits that writing would lose, or when the preset is bad.
    """
    out = Path(out)
    text = apply_preset(base, name, folder)
    if out.is_file() and (now := out.read_text(encoding="utf-8")) not in (base, text):
        known = {apply_preset(base, other, folder) for other in preset_names(folder)}
        if now not in known:
            remedy = "Commit them (presets then keep them), or undo them, or give --force to lose them."
            raise bad(str(out), "edits that are not committed", "none to be lost", remedy)
    write_text(out, text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Switch presets."""
    parser = argparse.ArgumentParser(prog="python -m polychrome.presets", description=__doc__)
    parser.add_argument("name", nargs="?", help=f"one of {', '.join(preset_names())}")
    parser.add_argument("--base", help="the file to change (default: params.yaml as committed)")
    parser.add_argument("--out", default="params.yaml", help="the file to write (default: params.yaml)")
    parser.add_argument("--force", action="store_true", help="overwrite edits that are not committed")
    given = parser.parse_args(arguments)
    try:
        if given.name is None:
            remedy = "Run `make preset NAME=smoke`."
            raise bad("NAME", "no preset", f"one of {', '.join(preset_names())}", remedy)
        base = Path(given.base).read_text(encoding="utf-8") if given.base else committed_params(given.out)
        if given.force or given.base:  # with a base of its own, `out` is a copy and nobody's work
            write_text(given.out, apply_preset(base, given.name))
        else:
            switch(given.name, base, given.out)
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{given.out}: preset {given.name}; `make repro` runs it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
