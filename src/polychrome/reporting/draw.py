"""The figures of a finished comparison, from files alone: training curves of every arm, Pass@k, the plane."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from polychrome.errors import bad
from polychrome.files import whole_directory
from polychrome.reporting.figures import pass_at_k_figure, plane_figure, training_figure

CURVES = ("loss", "reward", "kl", "diversity")  # a csv each, for `dvc plots`

Steps = list[dict[str, float]]


def draw(arms: Sequence[str], seeds: Sequence[int], results: str | Path = "results") -> None:
    """Write ``results/curves/*.csv`` and ``results/figures/*.png`` from what training and compare left.

    ``arms`` are the trained ones. Raises InputError when a training's curves are missing.
    """
    results = Path(results)
    curves = {arm: _mean_over_seeds([_read(results / f"training/{arm}/seed-{seed}") for seed in seeds]) for arm in arms}
    with whole_directory(results / "curves") as folder:
        for name in CURVES:
            _write_csv(folder / f"{name}.csv", name, curves)
    with whole_directory(results / "figures") as folder:
        pass_at_k_figure(results / "pass_at_k.csv", folder / "pass_at_k.png")
        plane_figure(results / "plane.csv", folder / "plane.png")
        training_figure(curves, folder / "training.png")


def _read(directory: Path) -> Steps:
    """Rows of one run: DVCLive's tsv files side by side."""
    files = sorted((directory / "plots/metrics/train").glob("*.tsv"))
    if not files:
        raise bad(str(directory), "no training curves", "DVCLive's plots/metrics/train/*.tsv", "Run `dvc repro`.")
    rows: dict[int, dict[str, float]] = {}
    for file in files:
        with file.open(encoding="utf-8", newline="") as handle:
            for row in csv.DictReader(handle, delimiter="\t"):
                step = int(row["step"])
                rows.setdefault(step, {"step": step})[file.stem] = float(row[file.stem])
    return [rows[step] for step in sorted(rows)]


def _mean_over_seeds(runs: Sequence[Steps]) -> Steps:
    """The mean of the runs at each step that all of them reached."""
    return [
        {name: sum(row[name] for row in rows) / len(rows) for name in rows[0] if all(name in row for row in rows)}
        for rows in zip(*runs, strict=False)
    ]


def _write_csv(path: Path, name: str, curves: dict[str, Steps]) -> None:
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(["model", "step", name])
        for arm, steps in curves.items():
            writer.writerows([arm, int(row["step"]), f"{row[name]:.6g}"] for row in steps if name in row)
