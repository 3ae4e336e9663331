"""The curves and figures of a finished comparison, from files alone: training of every arm, Pass@k, the plane."""

from collections.abc import Sequence
from pathlib import Path

from polychrome.files import whole_directory, write_csv
from polychrome.reporting.charts import mean_over_seeds, pass_chart, plane_chart, training_chart
from polychrome.reporting.palette import palette_of
from polychrome.reporting.read import read_curves, read_pass_at_k, read_plane
from polychrome.reporting.svg import write_svg

CURVES = ("loss", "reward", "kl", "diversity")  # a csv each, for `dvc plots`


def draw(arms: Sequence[str], seeds: Sequence[int], results: str | Path = "results") -> None:
    """Write ``results/curves/*.csv`` and ``results/figures/*.svg`` from what training and compare left.

    ``arms`` are the trained ones. Raises InputError when a file is missing or damaged.
    """
    results = Path(results)
    curves = {arm: {seed: read_curves(results / f"training/{arm}/seed-{seed}") for seed in seeds} for arm in arms}
    passes, plane = read_pass_at_k(results / "pass_at_k.csv"), read_plane(results / "plane.csv")
    palette = palette_of(list(plane))
    drawings = {
        "pass_at_k": pass_chart(passes, [model for model in passes if model not in arms], palette),
        "plane": plane_chart(plane, palette),
        "training": training_chart(curves, palette),
    }
    with whole_directory(results / "curves") as folder:
        for name in CURVES:
            having = {arm: runs.values() for arm, runs in curves.items() if all(name in run for run in runs.values())}
            means = {arm: mean_over_seeds([run[name] for run in runs]) for arm, runs in having.items()}
            rows = [{"model": arm, "step": step, name: mean} for arm, own in means.items() for step, mean in own]
            write_csv(folder / f"{name}.csv", rows, ("model", "step", name))
    with whole_directory(results / "figures") as folder:
        for name, drawing in drawings.items():
            if drawing:  # a plane without diversity has nothing to show
                write_svg(folder / f"{name}.svg", drawing, palette)
