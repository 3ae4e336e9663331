"""Presets: sizes of the whole pipeline, each a small file of overrides of params.yaml.

`python -m polychrome.presets NAME` writes params.yaml as it is committed with the overrides of presets/NAME.yaml put
in; `default` puts in none. Only the overridden values change: comments and every other key stay as they are. Edits of
yours that are not committed are never overwritten unasked.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ruamel.yaml.nodes import MappingNode, Node

from polychrome.declare import nearest
from polychrome.errors import InputError, Problem, bad
from polychrome.files import write_text
from polychrome.params import parse_params
from polychrome.reading import SettingsFile

DEFAULT, PARAMS = "default", Path("params.yaml")


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
    there is room. Raises InputError naming every key of ``overrides`` that ``base`` does not have.
    """
    known, given = SettingsFile(base, "params.yaml").places, SettingsFile(overrides, name)
    edits: list[tuple[Node, Node]] = []
    for where, (_, value) in given.places.items():
        parent, _, key = where.rpartition(".")
        if "[" in key or (parent not in known and parent in given.places):
            continue  # said of what holds it
        _, target = known.get(where, (0, None))
        mappings = isinstance(value, MappingNode) + isinstance(target, MappingNode)
        if target is None:
            beside = [full.rpartition(".")[2] for full in known if full.rpartition(".")[0] == parent]
            given.report(Problem(where, "unknown key", "a key of params.yaml", nearest(key, beside)))
        elif mappings == 1:
            given.report(Problem(where, "another nesting", "that of params.yaml", "Nest it alike."))
        elif not mappings and any(node.start_mark.line != node.end_mark.line for node in (value, target)):
            given.report(Problem(where, "a value of several lines", "one line", "Write it as [a, b]."))
        elif not mappings:
            edits.append((target, value))
    if given.problems:
        raise InputError([problem for _, problem in given.problems])
    for target, value in sorted(edits, key=lambda edit: -edit[0].start_mark.index):
        start, end = target.start_mark.index, target.end_mark.index
        new, behind = overrides[value.start_mark.index : value.end_mark.index], base[end:].partition("\n")[0]
        if behind.lstrip(" ").startswith("#"):
            gap = len(behind) - len(behind.lstrip(" "))
            new += " " * max(2, gap + end - start - len(new))
            end += gap
        base = base[:start] + new + base[end:]
    return base


def committed(path: Path) -> str:
    """The text of ``path`` as it is committed. Raises InputError when there is none."""
    show = ["git", "-C", str(path.parent), "show", f"HEAD:./{path.name}"]
    done = subprocess.run(show, capture_output=True, text=True, check=False)
    if done.returncode:
        raise bad(str(path), "no committed version", "one, which presets change", "Commit it, or name one by --base.")
    return done.stdout


def switch(name: str, base: str, out: Path = PARAMS, folder: str | Path = "presets", force: bool = False) -> None:
    """Write ``base`` under preset ``name`` to ``out``; without ``force`` only where a preset makes what it holds.

    Raises InputError when the preset is bad, or when ``out`` holds edits that would be lost.
    """
    text = apply_preset(base, name, folder)
    now = out.read_text(encoding="utf-8") if out.is_file() and not force else text
    if now not in (base, text) and now not in {apply_preset(base, other, folder) for other in preset_names(folder)}:
        remedy = "Commit them (presets then keep them), or undo them, or give --force to lose them."
        raise bad(str(out), "edits that are not committed", "none to be lost", remedy)
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
