"""Presets: sizes of the whole pipeline, each a small file of overrides of params.yaml.

`python -m polychrome.presets NAME` writes params.yaml as it is committed with the overrides of presets/NAME.yaml put
in; `default` puts in none. Only the overridden values change: comments and every other key stay as they are. A preset
may also add arms, controls and what is compared. Edits of yours that are not committed are never overwritten unasked.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from polychrome.declare import nearest
from polychrome.errors import InputError, Problem, bad
from polychrome.files import write_text
from polychrome.params import parse_params
from polychrome.reading import SettingsFile

DEFAULT, PARAMS = "default", Path("params.yaml")
OPEN = ("arms", "controls.variants", "experiment.compared")  # mappings that a preset may add entries to
LIKE = "like"  # in an arm of a preset: the arm whose other keys it has; params.yaml gets them all


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
        raise bad(str(path), "no such file", f"a preset: {', '.join(names)}", nearest(name, names))
    changed = override(base, path.read_text(encoding="utf-8"), str(path))
    parse_params(changed, f"params.yaml with {path}")
    return changed


def override(base: str, overrides: str, name: str = "overrides") -> str:
    """``base`` (YAML) with the values of ``overrides`` (YAML of the same nesting) in place of its own, as written.

    Mappings are descended into; any other value is replaced whole, the comment behind it kept in its column where
    there is room. An entry that an :data:`OPEN` mapping lacks is added at its end. An arm with :data:`LIKE` is written
    whole: its own keys, and the others of the arm that it names as they then stand. Raises InputError naming every
    other key of ``overrides`` that ``base`` does not have.
    """
    given = SettingsFile(overrides, name)
    edits, whole = _edits(given, "", _root(base), given.places[""][1])
    if given.problems:
        raise InputError([problem for _, problem in given.problems])
    for old, new in sorted(edits, key=lambda edit: -edit[0].start_mark.index):
        start, end = old.start_mark.index, _end(old)
        text = overrides[new.start_mark.index : _end(new)]
        text = text.replace("\n" + " " * new.start_mark.column, "\n" + " " * old.start_mark.column)
        behind = base[end:].partition("\n")[0]
        if behind.lstrip(" ").startswith("#"):
            gap = len(behind) - len(behind.lstrip(" "))
            text += " " * max(2, gap + end - start - len(text))
            end += gap
        base = base[:start] + text + base[end:]
    return _with_entries(base, given, whole, overrides) if whole else base


def _root(text: str) -> MappingNode:
    return SettingsFile(text, "params.yaml").places[""][1]


def _end(node: Node) -> int:
    """Where the text of ``node`` ends: that of a block goes on to whatever follows its last value."""
    if isinstance(node, MappingNode | SequenceNode) and not node.flow_style:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return node.end_mark.index


def _edits(given: SettingsFile, above: str, target: Any, value: Any) -> tuple[list[tuple[Node, Node]], list[str]]:
    """Values of ``target`` with those of ``value`` for them, and which keys of ``given`` are written whole.

    Both mappings stand at ``above``, a dotted key; what cannot be put in is reported.
    """
    edits: list[tuple[Node, Node]] = []
    whole: list[str] = []
    known = _values(target)
    for key, new in _values(value).items():
        where, old = f"{above}.{key}".lstrip("."), known.get(key)
        mappings = isinstance(new, MappingNode) + isinstance(old, MappingNode)
        lists = isinstance(new, SequenceNode) and isinstance(old, SequenceNode)
        if above in OPEN and (old is None or f"{where}.{LIKE}" in given.places):
            whole.append(where)
        elif old is None:
            given.report(Problem(where, "unknown key", "a key of params.yaml", nearest(key, known)))
        elif mappings == 2:
            inner, more = _edits(given, where, old, new)
            edits, whole = edits + inner, whole + more
        elif mappings == 1:
            given.report(Problem(where, "a different nesting", "that of params.yaml", "Nest it the same way."))
        elif (_lines(old) or _lines(new)) and not (lists and old.flow_style <= new.flow_style):
            given.report(Problem(where, "a value of several lines", "one line", "Write it as [a, b]."))
        else:
            edits.append((old, new))
    return edits, whole


def _values(node: Any) -> dict[str, Any]:  # of a mapping node
    return {str(key.value): value for key, value in node.value}


def _lines(node: Node) -> bool:
    """Whether ``node`` is written on several lines."""
    return node.start_mark.line != node.end_mark.line


def _with_entries(base: str, given: SettingsFile, whole: Sequence[str], overrides: str) -> str:
    """``base`` with the entries ``whole`` of ``overrides``: a line each behind those that are there, or in place."""
    root, edits = _root(base), []
    for where in whole:
        above, _, name = where.rpartition(".")
        into: Any = root
        for key in above.split("."):
            into = _values(into)[key]
        line, value = given.places[where]
        there, text = _values(into), overrides[value.start_mark.index : _end(value)]
        if isinstance(value, MappingNode):
            keys = {key: overrides[node.start_mark.index : _end(node)] for key, node in _values(value).items()}
            if like := keys.pop(LIKE, ""):
                if like not in there:
                    raise bad(f"{given.name}:{line}:{where}.{LIKE}", like, "an arm", nearest(like, there))
                keys = {k: base[node.start_mark.index : _end(node)] for k, node in _values(there[like]).items()} | keys
            text = "{" + ", ".join(f"{key}: {value}" for key, value in keys.items()) + "}"
        if name in there:
            edits.append((there[name].start_mark.index, _end(there[name]), text))
        elif into.flow_style:
            edits.append((into.end_mark.index - 1, into.end_mark.index - 1, f", {name}: {text}"))
        else:
            behind = _end(into) + len(base[_end(into) :].partition("\n")[0])  # the comment of the last one
            edits.append((behind, behind, "\n" + " " * into.start_mark.column + f"{name}: {text}"))
    for start, end, text in sorted(reversed(edits), key=lambda edit: -edit[0]):  # of one place, the first comes first
        base = base[:start] + text + base[end:]
    return base


def committed(path: Path) -> str:
    """The text of ``path`` as it is committed. Raises InputError when there is none."""
    show = ["git", "-C", str(path.parent), "show", f"HEAD:./{path.name}"]
    done = subprocess.run(show, capture_output=True, text=True, check=False)
    if done.returncode:
        raise bad(str(path), "no committed version", "one for presets to change", "Commit it, or name one by --base.")
    return done.stdout


def switch(name: str, base: str, out: Path = PARAMS, folder: str | Path = "presets", force: bool = False) -> None:
    """Write ``base`` under preset ``name`` to ``out``; without ``force`` only where a preset makes what it holds.

    Raises InputError when the preset is bad, or when ``out`` holds edits that would be lost.
    """
    text = apply_preset(base, name, folder)
    now = out.read_text(encoding="utf-8") if out.is_file() and not force else text
    if now not in (base, text) and now not in {apply_preset(base, other, folder) for other in preset_names(folder)}:
        remedy = "Commit them (presets then keep them), undo them, or discard them with --force."
        raise bad(str(out), "edits that are not committed", "none that would be lost", remedy)
    write_text(out, text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Switch presets."""
    names = ", ".join(preset_names())
    parser = argparse.ArgumentParser(prog="python -m polychrome.presets", description=__doc__)
    parser.add_argument("name", nargs="?", help=f"one of {names}")
    parser.add_argument("--base", type=Path, help="the file to put overrides in (default: params.yaml as committed)")
    parser.add_argument("--force", action="store_true", help="overwrite edits that are not committed")
    given = parser.parse_args(arguments)
    try:
        if given.name is None:
            raise bad("NAME", "no preset", f"one of {names}", "Run `make preset NAME=smoke`.")
        base = given.base.read_text(encoding="utf-8") if given.base else committed(PARAMS)
        switch(given.name, base, force=given.force or bool(given.base))  # with a base of its own, it is nobody's work
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{PARAMS}: preset {given.name}; `make repro` runs it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
