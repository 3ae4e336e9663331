"""The drawings of the page: numbers in, SVG out. Each has a shape for a desktop and one for a phone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from polychrome.reporting.page.drawing import NARROW, Name, both_widths, label_ends, label_points, new_figure
from polychrome.reporting.page.inputs import Gaming, Row
from polychrome.reporting.page.palette import INK, MUTED, PAPER, Palette
from polychrome.reporting.page.words import interval, metric_label, signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BEFORE = ("zero_shot", "prompted", "baseline_warmstart", "polychromic_warmstart")  # what the comparison starts from
_BAND = 0.13  # opacity


def contrasts_chart(contrasts: Sequence[Mapping[str, Any]], metric: str, palette: Palette) -> Markup:
    """The difference of each pair of models on the primary metric, with its interval; filled where established."""
    rows = [one for one in contrasts if one["metric"] == metric and "undefined" not in one]

    def draw(width: int) -> Figure:
        narrow = width <= NARROW
        figure, axes = new_figure(width, 56 + (52 if narrow else 40) * len(rows))
        axis = axes[0][0]
        axis.axvline(0, color=INK, linewidth=1)
        for place, one in enumerate(reversed(rows)):
            colour, gid = palette.mark(one["a"]), f"{one['a']}|{_pair(one, palette)}: {_difference(one)}"
            axis.plot([one["low"], one["high"]], [place] * 2, color=colour, linewidth=3, gid=gid, alpha=0.75)
            fill = colour if one["different"] else PAPER
            axis.plot(one["difference"], place, "o", color=fill, markeredgecolor=colour, markersize=9, mew=2.2, gid=gid)
            if narrow:
                _write_row(axis, place, _pair(one, palette))
        axis.set_yticks(range(len(rows)), [] if narrow else [_pair(one, palette) for one in reversed(rows)])
        axis.tick_params(axis="y", labelcolor=INK)
        axis.set_ylim(-0.6, len(rows) - (0.3 if narrow else 0.5))
        axis.grid(axis="y", visible=False)
        axis.grid(axis="x", visible=True)
        axis.xaxis.set_major_formatter(lambda value, _: signed(value, 2))
        axis.margins(x=0.06)
        axis.set_xlabel(f"difference in {metric_label(metric)}")
        return figure

    words = f"Differences in {metric_label(metric)} between pairs of models, with intervals. " + " ".join(
        f"{_pair(one, palette)}: {_difference(one)}." for one in rows
    )
    return both_widths(draw, "contrasts", words, palette)


def _pair(one: Mapping[str, Any], palette: Palette) -> str:
    return f"{palette.labels[one['a']]} against {palette.labels[one['b']]}"


def _write_row(axis: Axes, place: float, words: str) -> None:
    """A row's name above it, at the left edge: where there is no room beside the axes."""
    box = {"facecolor": PAPER, "edgecolor": "none", "pad": 1.0}
    axis.text(0, place + 0.36, words, transform=axis.get_yaxis_transform(), fontsize=11.5, bbox=box, zorder=4)


def _difference(one: Mapping[str, Any]) -> str:
    return f"{signed(one['difference'])}, {interval(one['low'], one['high'], plus=True)}"


def predicted_chart(
    predicted: Mapping[str, Mapping[str, float]],
    measured: Mapping[str, Mapping[str, Mapping[str, float]]],
    palette: Palette,
) -> Markup:
    """A panel a metric: rings where the seed project expected each model, discs where it was measured."""
    metrics, models = list(next(iter(predicted.values()))), list(predicted)

    def draw(width: int) -> Figure:
        narrow = width <= NARROW
        rows, columns = (len(metrics), 1) if narrow else (1, len(metrics))
        figure, axes = new_figure(width, 148 * rows if narrow else 218, rows, columns, sharex=True, sharey=True)
        for axis, metric in zip(axes.flat, metrics, strict=True):
            axis.set_title(metric_label(metric), fontsize=12.5, pad=8)
            axis.set_ylim(-0.6, len(models) - 0.4)
            axis.set_xlim(-0.03, 1.05)
            axis.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
            axis.grid(axis="x", visible=True)
            axis.grid(axis="y", visible=False)
            for place, model in enumerate(reversed(models)):
                _draw_expectation(axis, place, model, predicted[model][metric], measured[model].get(metric), palette)
            axis.set_yticks(range(len(models)), [palette.labels[model] for model in reversed(models)])
        for axis in axes[:, 0]:
            for label, model in zip(axis.get_yticklabels(), reversed(models), strict=True):
                label.set_color(palette.text(model))
        return figure

    words = "For each metric, what was predicted of the four models (rings) and what was measured (discs)."
    return both_widths(draw, "predicted", words, palette)


def _draw_expectation(
    axis: Axes, place: int, model: str, expected: float, found: Mapping[str, float] | None, palette: Palette
) -> None:
    colour, name = palette.mark(model), palette.labels[model]
    if found:
        mean, low, high = (found[key] for key in ("mean", "low", "high"))
        axis.plot([expected, mean], [place] * 2, color=colour, linewidth=1.2, alpha=0.5, linestyle=(0, (1, 2)))
        axis.plot([low, high], [place] * 2, color=colour, linewidth=3.5, alpha=0.4)
        gid = f"{model}|{name}: measured {mean:.3f}, {interval(low, high)}"
        axis.plot(mean, place, "o", color=colour, markersize=8, gid=gid)
    gid = f"{model}|{name}: predicted {expected:.2f}"
    axis.plot(expected, place, "o", color=PAPER, markeredgecolor=colour, markersize=8, markeredgewidth=1.8, gid=gid)


def pass_chart(curves: Mapping[str, Sequence[Row]], palette: Palette) -> Markup:
    """Pass@k of every model with its band; what the comparison starts from stands in a panel of its own."""
    groups = {
        "Before: base model and warm-starts": [model for model in curves if model in BEFORE],
        "Compared": [model for model in curves if model not in BEFORE and model != "human"],
    }
    groups = {title: models for title, models in groups.items() if models}
    human = curves.get("human")

    def draw(width: int) -> Figure:
        narrow = width <= NARROW
        rows, columns = (len(groups), 1) if narrow else (1, len(groups))
        figure, axes = new_figure(width, 330 * rows if narrow else 380, rows, columns, sharey=True)
        low = min(row["low"] for rows in curves.values() for row in rows)
        for axis, (title, models) in zip(axes.flat, groups.items(), strict=True):
            axis.set_title(title)
            axis.set_ylim(max(0.0, math.floor(10 * low) / 10), 1.02)
            ends = [_draw_pass_curve(axis, model, curves[model], palette) for model in models]
            if human:
                level, gid = human[0]["value"], f"human|one human reply: {human[0]['value']:.3f}"
                axis.axhline(level, color=palette.mark("human"), linewidth=1.2, linestyle=(0, (4, 3)), gid=gid)
                ends.append(Name(curves[models[0]][-1]["k"], level, "one human reply", palette.text("human"), gid))
            axis.set_xlabel("k, replies tried a post")
            axis.set_xticks([row["k"] for row in curves[models[0]]])
            label_ends(axis, ends)
        axes.flat[0].set_ylabel("share of posts with a reply that passes")
        return figure

    words = "Pass@k against k. " + " ".join(
        f"{palette.labels[model]}: from {rows[0]['value']:.3f} at k = {rows[0]['k']:g} to {rows[-1]['value']:.3f} at "
        f"k = {rows[-1]['k']:g}."
        for model, rows in curves.items()
        if model != "human"
    )
    return both_widths(draw, "pass", words, palette)


def _draw_pass_curve(axis: Axes, model: str, rows: Sequence[Row], palette: Palette) -> Name:
    k, value, low, high = ([row[name] for row in rows] for name in ("k", "value", "low", "high"))
    colour, name = palette.mark(model), palette.labels[model]
    axis.fill_between(k, low, high, color=colour, alpha=_BAND, linewidth=0, gid=f"{model}|")
    axis.plot(k, value, color=colour, linewidth=2.2, gid=f"{model}|")
    for row in rows:
        words = f"{name}: Pass@{row['k']:g} {row['value']:.3f}, {interval(row['low'], row['high'])}"
        axis.plot(row["k"], row["value"], "o", color=colour, markersize=5, gid=f"{model}|{words}")
    return Name(k[-1], value[-1], name, palette.text(model), f"{model}|")


def plane_chart(plane: Mapping[str, Row], steps: Sequence[tuple[str, str]], palette: Palette) -> Markup:
    """Pass@1 against semantic diversity; arrows lead from a warm-start to what GRPO made of it (``steps``)."""
    import numpy as np

    place = {model: (row["semantic_diversity"], row["pass_at_1"]) for model, row in plane.items()}
    spots = np.concatenate([_cross(row) for row in plane.values()])

    def draw(width: int) -> Figure:
        narrow = width <= NARROW
        figure, axes = new_figure(width, 380 if narrow else 500)
        axis = axes[0][0]
        for model, row in plane.items():
            colour = palette.mark(model)
            (x, y), name = place[model], palette.labels[model]
            for ends in (
                ([row["semantic_diversity_low"], row["semantic_diversity_high"]], [y, y]),
                ([x, x], [row["pass_at_1_low"], row["pass_at_1_high"]]),
            ):
                axis.plot(*ends, color=colour, linewidth=1.4, alpha=0.5, gid=f"{model}|")
            words = f"{name}: Pass@1 {y:.3f}, semantic diversity {x:.3f}"
            axis.plot(x, y, "o", color=colour, markersize=11, mec=PAPER, mew=1.5, zorder=3, gid=f"{model}|{words}")
        for start, end in steps:
            look = {"arrowstyle": "-|>", "mutation_scale": 13, "connectionstyle": "arc3,rad=0.12"}
            shape = {"color": palette.mark(end), "linewidth": 2, "shrinkA": 8, "shrinkB": 8}
            axis.annotate("", place[end], place[start], arrowprops=look | shape, zorder=2)
        axis.margins(0.08)
        axis.grid(axis="x", visible=True)
        axis.set_xlabel("semantic diversity of a post\u2019s replies \u2192")
        axis.set_ylabel("Pass@1, share of replies that pass \u2192")
        along = [np.linspace(place[start], place[end], 30) for start, end in steps]
        names = [Name(*place[model], palette.labels[model], palette.text(model), f"{model}|") for model in plane]
        label_points(axis, names, np.concatenate([spots, *along]))
        return figure

    words = "Quality against diversity. " + " ".join(
        f"{palette.labels[model]}: Pass@1 {y:.3f}, diversity {x:.3f}." for model, (x, y) in place.items()
    )
    return both_widths(draw, "plane", words, palette)


def _cross(row: Row) -> Any:
    """Points (44, 2) along a model's cross and many times at its centre."""
    import numpy as np

    x, y = row["semantic_diversity"], row["pass_at_1"]
    across = np.linspace(row["semantic_diversity_low"], row["semantic_diversity_high"], 12)
    along = np.linspace(row["pass_at_1_low"], row["pass_at_1_high"], 12)
    return np.array([*((a, y) for a in across), *((x, b) for b in along), *[(x, y)] * 20])


Curves = Mapping[str, Mapping[int, Sequence[tuple[int, float]]]]  # arm -> seed -> (step, value)


def training_chart(panels: Mapping[str, Curves], palette: Palette) -> Markup:
    """A panel a curve over training: faint each seed, bold the running mean over a tenth of the steps and all seeds."""

    def draw(width: int) -> Figure:
        narrow = width <= NARROW
        columns = 1 if narrow else 2
        rows = math.ceil(len(panels) / columns)
        figure, axes = new_figure(width, 250 * rows, rows, columns)
        for axis, (title, arms) in zip(axes.flat, panels.items(), strict=False):
            axis.set_title(title)
            ends = [_draw_training(axis, arm, runs, palette) for arm, runs in arms.items()]
            axis.margins(x=0.02)
            axis.set_xlabel("step")
            label_ends(axis, ends)
        for axis in axes.flat[len(panels) :]:
            axis.set_visible(False)
        return figure

    words = "Curves over training: " + "; ".join(panels) + "."
    return both_widths(draw, "training", words, palette)


def _draw_training(axis: Axes, arm: str, runs: Mapping[int, Sequence[tuple[int, float]]], palette: Palette) -> Name:
    colour, gid = palette.mark(arm), f"{arm}|"
    for points in runs.values():
        axis.plot(*zip(*points, strict=True), color=colour, linewidth=0.9, alpha=0.3, gid=gid)
    steps, means = _mean_over_seeds(runs)
    smooth = running_mean(means)
    axis.plot(steps, smooth, color=colour, linewidth=2.4, gid=gid)
    return Name(steps[-1], smooth[-1], palette.labels[arm], palette.text(arm), gid)


def _mean_over_seeds(runs: Mapping[int, Sequence[tuple[int, float]]]) -> tuple[list[int], list[float]]:
    """Steps that every seed reached, and the mean at each."""
    by_seed = [dict(points) for points in runs.values()]
    steps = sorted(set.intersection(*map(set, by_seed)))
    return steps, [sum(values[step] for values in by_seed) / len(by_seed) for step in steps]


def running_mean(values: Sequence[float]) -> list[float]:
    """Centred mean of a tenth of the values, fewer at both ends: (n,) -> (n,)."""
    half = len(values) // 20
    windows = [values[max(0, i - half) : i + half + 1] for i in range(len(values))]
    return [sum(window) / len(window) for window in windows]


_AGAINST = {"step": "step", "kl": "KL to the warm-start, nats a reply"}


def gaming_chart(arm: str, runs: Mapping[int, Gaming], palette: Palette) -> Markup:
    """Proxy above, judge below, against step and against KL, a line and a band a seed: the over-optimisation curve.

    Gao, Schulman and Hilton (2022), arXiv 2210.10760, figure 1: where the proxy goes on rising and the judge, which
    stands for what is wanted, turns down, the reward is being gamed. Each score has a unit and a scale of its own.
    """
    titles = {"proxy": "The proxy, which is climbed", "judge": "The judge, which is never seen"}
    people = [run.verdict["human"]["judge"] for run in runs.values() if "human" in run.verdict]

    def draw(width: int) -> Figure:
        narrow = width <= NARROW
        figure, axes = new_figure(width, 880 if narrow else 430, *((4, 1) if narrow else (2, 2)))
        for row, (name, colour) in enumerate((("proxy", palette.mark(arm)), ("judge", INK))):
            pair = axes.flat[2 * row : 2 * row + 2]
            pair[0].sharey(pair[1])
            for axis, (x, label) in zip(pair, _AGAINST.items(), strict=True):
                for run in runs.values():
                    _draw_gaming(axis, x, name, run.curve, colour)
                if name == "judge" and people:
                    look = {"color": MUTED, "linewidth": 1.2, "linestyle": (0, (4, 3))}
                    axis.axhline(people[0], gid=f"|people\u2019s replies: {people[0]:.3f}", **look)
                if narrow or row:
                    axis.set_xlabel(label)
                axis.margins(x=0.02)
            pair[0].set_title(titles[name])
        return figure

    first, last = ([run.curve[at] for run in runs.values()] for at in (0, -1))
    words = f"Over-optimisation curve of {palette.labels[arm]}: " + " and ".join(
        f"the {name} goes from {_mean(first, name):.3f} at the first step to {_mean(last, name):.3f} at the last"
        for name in titles
    )
    return both_widths(draw, f"gaming-{palette.models.index(arm)}", words + ".", palette)


def _mean(rows: Sequence[Row], name: str) -> float:
    return sum(row[name] for row in rows) / len(rows)


def _draw_gaming(axis: Axes, x: str, name: str, curve: Sequence[Row], colour: str) -> None:
    """One run and one score in one panel: each step a dot, its band, and the running mean."""
    rows = sorted(curve, key=lambda row: row[x])
    at, value, low, high = ([row[key] for row in rows] for key in (x, name, f"{name}_low", f"{name}_high"))
    if None not in (*low, *high):  # a step of one prompt has no interval
        axis.fill_between(at, low, high, color=colour, alpha=0.1, linewidth=0)
    axis.plot(at, value, "o", color=colour, markersize=2.4, alpha=0.4)
    axis.plot(at, running_mean(value), color=colour, linewidth=1.8)


_DASHES = ("-", (0, (6, 2)), (0, (2, 2)), (0, (6, 2, 1, 2)), (0, (1, 1)))


def betas_chart(rows: Sequence[Row], palette: Palette) -> Markup:
    """Proxy and judge against KL at several weights beta of the KL, a line each."""
    betas = sorted({row["beta"] for row in rows})

    def draw(width: int) -> Figure:
        narrow = width <= NARROW
        figure, axes = new_figure(width, 560 if narrow else 330, *((2, 1) if narrow else (1, 2)))
        for axis, name in zip(axes.flat, ("proxy", "judge"), strict=True):
            for place, beta in enumerate(betas):
                own = sorted((row for row in rows if row["beta"] == beta), key=lambda row: row["kl"])
                kl, values = [row["kl"] for row in own], running_mean([row[name] for row in own])
                dashes, gid = _DASHES[place % len(_DASHES)], f"|beta {beta:g}"
                axis.plot(kl, values, color=INK, linestyle=dashes, linewidth=1.8, gid=gid)
                axis.annotate(
                    f"\u03b2 = {beta:g}", (kl[-1], values[-1]), (6, 0), textcoords="offset points", va="center", gid=gid
                )
            axis.set_title({"proxy": "Proxy", "judge": "Judge"}[name])
            axis.set_xlabel("KL to the warm-start, nats a reply")
        return figure

    words = "Proxy and judge against KL for beta = " + ", ".join(f"{beta:g}" for beta in betas)
    return both_widths(draw, "betas", words, palette)


def rank_chart(rows: Sequence[tuple[str, float, float, float, bool]], palette: Palette) -> Markup:
    """Rank correlations with people: words, value, low, high, and whether it is a model (filled) or a yardstick."""

    def draw(width: int) -> Figure:
        narrow = width <= NARROW
        figure, axes = new_figure(width, 56 + (52 if narrow else 38) * len(rows))
        axis = axes[0][0]
        axis.axvline(0, color=INK, linewidth=1)
        for place, (words, value, low, high, ours) in enumerate(reversed(rows)):
            colour, gid = (INK if ours else MUTED), f"|{words}: {value:.3f}, {interval(low, high)}"
            axis.plot([low, high], [place] * 2, color=colour, linewidth=3, alpha=0.6, gid=gid)
            axis.plot(value, place, "o", color=colour if ours else PAPER, mec=colour, mew=2, markersize=8.5, gid=gid)
            axis.annotate(f"{value:.2f}", (high, place), (9, 0), textcoords="offset points", va="center", color=colour)
            if narrow:
                _write_row(axis, place, words)
        axis.set_yticks(range(len(rows)), [] if narrow else [row[0] for row in reversed(rows)])
        axis.tick_params(axis="y", labelcolor=INK)
        axis.set_ylim(-0.6, len(rows) - (0.3 if narrow else 0.5))
        axis.set_xlim(min(0.0, *(row[2] for row in rows)) - 0.02, max(row[3] for row in rows) * 1.16)
        axis.grid(axis="y", visible=False)
        axis.grid(axis="x", visible=True)
        axis.set_xlabel("Spearman correlation with human engagement, held-out conversations")
        if narrow:
            axis.set_xlabel("Spearman correlation, held out")
        return figure

    words = "Rank correlations with human engagement. " + " ".join(
        f"{label}: {value:.3f}, {interval(low, high)}." for label, value, low, high, _ in rows
    )
    return both_widths(draw, "ranks", words, palette)


def calibration_chart(points: Sequence[Row], errors: Sequence[float | None], palette: Palette) -> Markup:
    """Left the mean of what people did against what the reward predicted; right its error by engagement quartile.

    An error of None belongs to a quartile that ties leave without a pair; it has no bar.
    """

    def draw(width: int) -> Figure:
        narrow = width <= NARROW
        rows, columns = (2, 1) if narrow else (1, 2)
        ratios = {} if narrow else {"width_ratios": [1.25, 1]}
        figure, axes = new_figure(width, 540 if narrow else 340, rows, columns, **ratios)
        calibration, quartiles = axes.flat
        x, y, low, high = ([point[name] for point in points] for name in ("predicted", "actual", "low", "high"))
        ends = [min(*x, *low), max(*x, *high)]
        calibration.plot(ends, ends, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        calibration.vlines(x, low, high, color=INK, linewidth=2.4, alpha=0.35)
        calibration.plot(x, y, color=INK, linewidth=1.4)
        for point in points:
            words = f"predicted {point['predicted']:.3f}, actual {point['actual']:.3f}, {point['pairs']:g} pairs"
            calibration.plot(point["predicted"], point["actual"], "o", color=INK, markersize=7, gid=f"|{words}")
        calibration.set_title("Calibration")
        calibration.set_xlabel("predicted engagement (rank)")
        calibration.set_ylabel("actual engagement (rank)")
        quartiles.set_title("Error by quartile of engagement")
        quartiles.bar(range(len(errors)), [error or 0.0 for error in errors], width=0.62, color=MUTED)
        for place, error in enumerate(errors):
            quartiles.text(place, error or 0.0, "-" if error is None else f"{error:.2f}", ha="center", va="bottom")
        quartiles.set_xticks(range(len(errors)), ["lowest", *(f"{i}" for i in range(2, len(errors))), "highest"])
        quartiles.set_xlabel("quartile of what people did")
        quartiles.margins(y=0.14)
        quartiles.set_yticks([])
        return figure

    words = "Calibration of the learned reward: " + "; ".join(
        f"predicted {point['predicted']:.3f}, actual {point['actual']:.3f}" for point in points
    )
    return both_widths(draw, "calibration", words, palette)
