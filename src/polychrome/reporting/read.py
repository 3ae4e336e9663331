"""Reading what the pipeline left: every missing file, damaged line and absent field is an InputError that names it."""

from pathlib import Path
from typing import Any

from polychrome.errors import bad
from polychrome.files import read_csv, read_json, read_jsonl

_REPRO = "Run the stage that makes it: `dvc repro`."


class Record(dict):
    """An object of a result file. To ask it for a field that it lacks is an InputError that names file and field."""

    def __init__(self, fields: Any, where: str) -> None:
        super().__init__(fields)
        self.where = where

    def __missing__(self, field: str) -> Any:
        raise bad(f"{self.where}:{field}", "no such field", "a value", _REPRO)


def recorded(value: Any, where: str) -> Any:
    """``value`` with every object in it a :class:`Record` that knows its place in the file."""
    if isinstance(value, dict):
        return Record(((key, recorded(inner, f"{where}:{key}")) for key, inner in value.items()), where)
    return [recorded(inner, f"{where}[{i}]") for i, inner in enumerate(value)] if isinstance(value, list) else value


def read_object(path: Path) -> Record:
    """The object that a JSON file holds."""
    value = read_json(path, remedy=_REPRO)
    if not isinstance(value, dict):
        raise bad(str(path), type(value).__name__, "an object", _REPRO)
    return recorded(value, str(path))


def read_objects(path: Path) -> list[Record]:
    """The objects that a JSON Lines file holds."""
    return [recorded(row, f"{path}:{line}") for line, row in enumerate(read_jsonl(path, remedy=_REPRO), start=1)]


def read_curves(directory: Path) -> dict[str, list[tuple[int, float]]]:
    """Metric -> its points (step, value) in a training run: DVCLive's tsv files."""
    paths = sorted((directory / "plots/metrics/train").glob("*.tsv"))
    if not paths:
        raise bad(str(directory), "no training curves", "DVCLive's plots/metrics/train/*.tsv", _REPRO)
    tables = {path.stem: read_csv(path, ("step", path.stem), delimiter="\t") for path in paths}
    return {name: [(int(row["step"]), row[name]) for row in rows] for name, rows in tables.items()}


def read_pass_at_k(path: Path) -> Record:
    """Model, or human, -> its rows in the order of k."""
    curves = Record({}, str(path))
    for row in read_csv(path, ("k", "value", "low", "high"), texts=("model",), remedy=_REPRO):
        curves.setdefault(row["model"], []).append(row)
    return curves


def read_plane(path: Path) -> Record:
    """Model -> its place between quality and diversity."""
    numbers = [f"{name}{end}" for name in ("semantic_diversity", "pass_at_1") for end in ("", "_low", "_high")]
    return Record({row["model"]: row for row in read_csv(path, numbers, texts=("model",), remedy=_REPRO)}, str(path))
