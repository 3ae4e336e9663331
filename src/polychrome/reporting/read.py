"""Tables that training and the comparison left: a missing file and a damaged line are an InputError that names it."""

from pathlib import Path

from polychrome.errors import bad
from polychrome.files import AGAIN, Record, read_csv


def read_curves(directory: Path) -> dict[str, list[tuple[int, float]]]:
    """Metric -> its points (step, value) in a training run: DVCLive's tsv files."""
    paths = sorted((directory / "plots/metrics/train").glob("*.tsv"))
    if not paths:
        raise bad(str(directory), "no training curves", "DVCLive's plots/metrics/train/*.tsv", AGAIN)
    tables = {path.stem: read_csv(path, ("step", path.stem), delimiter="\t") for path in paths}
    return {name: [(int(row["step"]), row[name]) for row in rows] for name, rows in tables.items()}


def read_pass_at_k(path: Path) -> Record:
    """Model, or human, -> its rows in the order of k."""
    curves = Record({}, str(path))
    for row in read_csv(path, ("k", "value", "low", "high"), texts=("model",)):
        curves.setdefault(row["model"], []).append(row)
    return curves


def read_plane(path: Path) -> Record:
    """Model -> its place between quality and diversity, which is None where it is not defined for the language."""
    quality, diversity = (
        [f"{name}{end}" for end in ("", "_low", "_high")] for name in ("pass_at_1", "semantic_diversity")
    )
    rows = read_csv(path, quality, texts=("model",), blank=diversity)
    return Record({row["model"]: row for row in rows}, str(path))
