"""Pass@k, the plane and the curves over training: numbers in, a :class:`Drawing` out, for page and files alike.

Each has a shape for a desktop and one for a phone.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from polychrome.reporting.labels import Name, label_ends, label_points
from polychrome.reporting.names import HUMAN, IDEAL, model_name
from polychrome.reporting.palette import MUTED, PAPER, Palette
from polychrome.reporting.svg import NARROW, Drawing, new_figure, panels
from polychrome.reporting.words import interval

Row = Mapping[str, Any]
Points = Sequence[tuple[int, float]]  # (step, value)
Curves = Mapping[str, Mapping[int, Mapping[str, Points]]]  # arm -> seed -> metric -> its points
DASHED = {"linewidth": 1.2, "linestyle": (0, (4, 3))}
KL = "KL to the warm-start, nats per reply"


def pass_chart(curves: Mapping[str, Sequence[Row]], untouched: Iterable[str], palette: Palette) -> Drawing:
    """Pass@k of every model with its band; what the comparison starts from stands in a panel of its own.

    That is the base model ``untouched`` and the warm-starts. Dashed is what ideal policies reach.
    """
    human, ideals = curves.get(HUMAN), [name for name in curves if name.startswith(IDEAL)]
    models = [model for model in curves if model != HUMAN and model not in ideals]
    before = [model for model in models if model in untouched or model.endswith("_warmstart")]
    compared = [model for model in models if model not in before]
    titles = {"Before: base model and warm-starts": before, "Compared": compared}
    groups = {title: own for title, own in titles.items() if own}

    def draw(width: int) -> Figure:
        figure, axes = panels(width, len(groups), 380, 330, sharey=True)
        floor = max(0.0, math.floor(10 * min(row["low"] for rows in curves.values() for row in rows)) / 10)
        for axis, (title, own) in zip(axes.flat, groups.items(), strict=True):
            axis.set(title=title, ylim=(floor, 1.02), xlabel="k, replies tried per post")
            ends = []
            for model in own:
                k, value, low, high = ([row[key] for row in curves[model]] for key in ("k", "value", "low", "high"))
                look, name = {"color": palette.mark(model), "gid": f"{model}|"}, model_name(model)
                axis.fill_between(k, low, high, alpha=0.13, linewidth=0, **look)
                axis.plot(k, value, linewidth=2.2, **look)
                for row in curves[model]:
                    told = f"{name}: Pass@{row['k']:g} {row['value']:.3f}, {interval(row['low'], row['high'])}"
                    axis.plot(row["k"], row["value"], "o", markersize=5, **(look | {"gid": f"{model}|{told}"}))
                ends.append(Name(k[-1], value[-1], name, palette.text(model), f"{model}|"))
            for name in ideals:
                k, value = ([row[key] for row in curves[name]] for key in ("k", "value"))
                gid = f"|{name}: Pass@{k[-1]:g} {value[-1]:.3f}"
                axis.plot(k, value, color=MUTED, gid=gid, **DASHED)
                if value[-1] == max(curves[other][-1]["value"] for other in ideals):
                    ends.append(Name(k[-1], value[-1], name, MUTED, gid))
            if human:
                level, gid = human[0]["value"], f"human|one human reply: {human[0]['value']:.3f}"
                axis.axhline(level, color=palette.mark(HUMAN), gid=gid, **DASHED)
                ends.append(Name(curves[own[0]][-1]["k"], level, "one human reply", palette.text(HUMAN), gid))
            axis.set_xticks([row["k"] for row in curves[own[0]]])
            label_ends(axis, ends)
        axes.flat[0].set_ylabel("share of posts with a reply that passes")
        return figure

    told = "Pass@k against k."
    for model in models:
        first, last = (f"{curves[model][end]['value']:.3f} at k = {curves[model][end]['k']:g}" for end in (0, -1))
        told += f" {model_name(model)}: from {first} to {last}."
    return Drawing(draw, told)


def plane_chart(plane: Mapping[str, Row], palette: Palette) -> Drawing | None:
    """Pass@1 against semantic diversity; arrows lead from a warm-start to what GRPO made of it.

    Models without semantic diversity, whose language the encoder does not know, are left out; None where all are.
    """
    absent = [model_name(model) for model, row in plane.items() if row["semantic_diversity"] is None]
    plane = {model: row for model, row in plane.items() if row["semantic_diversity"] is not None}
    if not plane:
        return None
    place = {model: (row["semantic_diversity"], row["pass_at_1"]) for model, row in plane.items()}
    starts = {model.removesuffix("_warmstart"): model for model in plane if model.endswith("_warmstart")}
    steps = [(start, arm) for arm in plane for name, start in starts.items() if arm.endswith(f"_from_{name}")]
    # what names had better not hide: along the crosses and arrows, and many times the centres
    taken = [np.linspace(place[start], place[end], 30) for start, end in steps]
    for row, (x, y) in zip(plane.values(), place.values(), strict=True):
        across = np.linspace(row["semantic_diversity_low"], row["semantic_diversity_high"], 12)
        along = np.linspace(row["pass_at_1_low"], row["pass_at_1_high"], 12)
        taken.append(np.array([*((a, y) for a in across), *((x, b) for b in along), *[(x, y)] * 20]))

    def draw(width: int) -> Figure:
        figure, axes = new_figure(width, 380 if width <= NARROW else 500)
        axis = axes[0][0]
        for model, row in plane.items():
            colour, (x, y) = palette.mark(model), place[model]
            look = {"color": colour, "linewidth": 1.4, "alpha": 0.5, "gid": f"{model}|"}
            axis.plot([row["semantic_diversity_low"], row["semantic_diversity_high"]], [y, y], **look)
            axis.plot([x, x], [row["pass_at_1_low"], row["pass_at_1_high"]], **look)
            words = f"{model_name(model)}: Pass@1 {y:.3f}, semantic diversity {x:.3f}"
            axis.plot(x, y, "o", color=colour, markersize=11, mec=PAPER, mew=1.5, zorder=3, gid=f"{model}|{words}")
        for start, end in steps:
            look = {"arrowstyle": "-|>", "mutation_scale": 13, "connectionstyle": "arc3,rad=0.12"}
            shape = {"color": palette.mark(end), "linewidth": 2, "shrinkA": 8, "shrinkB": 8}
            axis.annotate("", place[end], place[start], arrowprops=look | shape, zorder=2)
        axis.margins(0.08)
        axis.grid(axis="x", visible=True)
        diversity = "semantic diversity of a post\u2019s replies \u2192"
        axis.set(xlabel=diversity, ylabel="Pass@1, share of replies that pass \u2192")
        names = [Name(*place[model], model_name(model), palette.text(model), f"{model}|") for model in plane]
        label_points(axis, names, np.concatenate(taken))
        return figure

    told = " ".join(f"{model_name(model)}: Pass@1 {y:.3f}, diversity {x:.3f}." for model, (x, y) in place.items())
    told += f" Not defined for this language: {', '.join(absent)}." if absent else ""
    return Drawing(draw, f"Quality against diversity. {told}")


_PANELS = (  # title, metric, whether of arms that climb a reward
    ("GRPO: mean reward", "reward", True),
    (f"GRPO: {KL}", "kl", True),
    ("GRPO: diversity of the replies drawn", "diversity", True),
    ("Fine-tuning: diversity of the sets drawn", "diversity", False),
    ("Fine-tuning: loss", "loss", False),
    ("Fine-tuning: cross-entropy, nats per token", "cross_entropy", False),
)


def climbs(runs: Mapping[int, Mapping[str, Points]]) -> bool:
    """Whether the runs of an arm climbed a reward: GRPO."""
    return any("reward" in run for run in runs.values())


def training_chart(curves: Curves, palette: Palette) -> Drawing:
    """A panel per curve over training: each seed faint, the running mean of all over a tenth of the steps bold."""
    panels: dict[str, dict[str, list[Points]]] = {}
    for title, metric, grpo in _PANELS:
        for arm, runs in curves.items():
            measured = [run[metric] for run in runs.values() if metric in run]
            if measured and climbs(runs) == grpo:
                panels.setdefault(title, {})[arm] = measured

    def draw(width: int) -> Figure:
        rows, columns = (len(panels), 1) if width <= NARROW else (math.ceil(len(panels) / 2), 2)
        figure, axes = new_figure(width, 250 * rows, rows, columns)
        for axis, (title, arms) in zip(axes.flat, panels.items(), strict=False):
            axis.set(title=title, xlabel="step")
            ends = []
            for arm, runs in arms.items():
                look = {"color": palette.mark(arm), "gid": f"{arm}|"}
                for points in runs:
                    axis.plot(*zip(*points, strict=True), linewidth=0.9, alpha=0.3, **look)
                steps, means = zip(*mean_over_seeds(runs), strict=True)
                smooth = running_mean(means)
                axis.plot(steps, smooth, linewidth=2.4, **look)
                ends.append(Name(steps[-1], smooth[-1], model_name(arm), palette.text(arm), look["gid"]))
            axis.margins(x=0.02)
            label_ends(axis, ends)
        for axis in axes.flat[len(panels) :]:
            axis.set_visible(False)
        return figure

    return Drawing(draw, "Curves over training: " + "; ".join(panels) + ".")


def mean_over_seeds(runs: Sequence[Points]) -> list[tuple[int, float]]:
    """The mean of the runs at each step that all of them reached."""
    by_seed = [dict(points) for points in runs]
    steps = sorted(set.intersection(*map(set, by_seed)))
    return [(step, sum(values[step] for values in by_seed) / len(by_seed)) for step in steps]


def running_mean(values: Sequence[float]) -> list[float]:
    """Centred mean of a tenth of the values, fewer at both ends: (n,) -> (n,)."""
    half = len(values) // 20
    windows = [values[max(0, i - half) : i + half + 1] for i in range(len(values))]
    return [sum(window) / len(window) for window in windows]
