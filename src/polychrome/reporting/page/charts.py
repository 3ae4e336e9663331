"""The drawings that only the page has: numbers in, a :class:`Drawing` out."""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from polychrome.reporting.charts import DASHED, KL, Row, running_mean
from polychrome.reporting.names import metric_name, model_name
from polychrome.reporting.palette import INK, MUTED, PAPER, Palette
from polychrome.reporting.svg import NARROW, Drawing, new_figure, panels
from polychrome.reporting.words import interval, signed


class Disc(NamedTuple):
    """One row of a chart: a value and its interval, filled or a ring."""

    words: str
    value: float
    low: float
    high: float
    colour: str
    filled: bool
    gid: str
    beside: str = ""  # written at the interval's end


def _discs(width: int, rows: Sequence[Disc], label: str) -> tuple[Figure, Axes]:
    """A row each, from the top; its words stand at its left, on a phone above it."""
    narrow = width <= NARROW
    figure, axes = new_figure(width, 56 + (52 if narrow else 40) * len(rows))
    axis = axes[0][0]
    axis.axvline(0, color=INK, linewidth=1)
    for place, row in enumerate(reversed(rows)):
        axis.plot([row.low, row.high], [place] * 2, color=row.colour, linewidth=3, gid=row.gid, alpha=0.7)
        look = {"color": row.colour if row.filled else PAPER, "mec": row.colour, "markersize": 9, "mew": 2.2}
        axis.plot(row.value, place, "o", gid=row.gid, **look)
        axis.annotate(row.beside, (row.high, place), (9, 0), textcoords="offset points", va="center", color=row.colour)
        if narrow:
            box = {"facecolor": PAPER, "edgecolor": "none", "pad": 1.0}
            look = {"transform": axis.get_yaxis_transform(), "fontsize": 11.5, "bbox": box, "zorder": 4}
            axis.text(0, place + 0.36, row.words, **look)
    axis.set_yticks(range(len(rows)), [] if narrow else [row.words for row in reversed(rows)])
    axis.tick_params(axis="y", labelcolor=INK)
    axis.set(ylim=(-0.6, len(rows) - (0.3 if narrow else 0.5)), xlabel=label)
    _grid_across(axis)
    return figure, axis


def _grid_across(axis: Axes) -> None:
    axis.grid(axis="y", visible=False)
    axis.grid(axis="x", visible=True)


def contrasts_chart(contrasts: Sequence[Row], metric: str, palette: Palette) -> Drawing:
    """The difference of each pair of models on the primary metric, with its interval; filled where established."""
    rows = []
    for one in contrasts:
        if one["metric"] == metric and "undefined" not in one:
            value, low, high = (one[name] for name in ("difference", "low", "high"))
            pair = f"{model_name(one['a'])} against {model_name(one['b'])}"
            gid = f"{one['a']}|{pair}: {signed(value)}, {interval(low, high, plus=True)}"
            rows.append(Disc(pair, value, low, high, palette.mark(one["a"]), one["different"], gid))

    def draw(width: int) -> Figure:
        figure, axis = _discs(width, rows, f"difference in {metric_name(metric)}")
        axis.xaxis.set_major_formatter(lambda value, _: signed(value, 2))
        axis.margins(x=0.06)
        return figure

    told = " ".join(f"{row.gid.split('|')[1]}." for row in rows)
    return Drawing(draw, f"Differences in {metric_name(metric)} between pairs of models, with intervals. {told}")


def rank_chart(reward: Row, judge: Row) -> Drawing:
    """Rank correlations with people: of both models (filled), and of the length of the reply as a yardstick."""
    discs, alone = [], "spearman_of_reply_length_alone"
    for words, found, key, colour in (
        ("learned reward", reward, "spearman", INK),
        ("reply length, same pairs", reward, alone, MUTED),
        ("judge", judge, "spearman", INK),
        ("reply length, judge\u2019s pairs", judge, alone, MUTED),
    ):
        value, low, high = (found[f"{key}{end}"] for end in ("", "_low", "_high"))
        gid = f"|{words}: {value:.3f}, {interval(low, high)}"
        discs.append(Disc(words, value, low, high, colour, key != alone, gid, f"{value:.2f}"))

    def draw(width: int) -> Figure:
        whole = "Spearman correlation with human engagement, held-out conversations"
        figure, axis = _discs(width, discs, "Spearman correlation, held out" if width <= NARROW else whole)
        axis.set_xlim(min(0.0, *(disc.low for disc in discs)) - 0.02, max(disc.high for disc in discs) * 1.16)
        return figure

    return Drawing(draw, "Rank correlations with human engagement. " + " ".join(f"{d.gid[1:]}." for d in discs))


def predicted_chart(predicted: Mapping[str, Row], measured: Mapping[str, Row], palette: Palette) -> Drawing:
    """A panel per metric: rings where the seed project expected each model, discs where it was measured."""
    metrics, models = list(next(iter(predicted.values()))), list(predicted)

    def draw(width: int) -> Figure:
        figure, axes = panels(width, len(metrics), 218, 148, sharex=True, sharey=True)
        for axis, metric in zip(axes.flat, metrics, strict=True):
            axis.set_title(metric_name(metric), fontsize=12.5, pad=8)
            axis.set(xlim=(-0.03, 1.05), ylim=(-0.6, len(models) - 0.4))
            axis.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
            _grid_across(axis)
            for place, model in enumerate(reversed(models)):
                colour, name, expected = palette.mark(model), model_name(model), predicted[model][metric]
                if found := measured[model].get(metric):
                    mean, low, high = (found[key] for key in ("mean", "low", "high"))
                    dots = {"color": colour, "linewidth": 1.2, "alpha": 0.5, "linestyle": (0, (1, 2))}
                    axis.plot([expected, mean], [place] * 2, **dots)
                    axis.plot([low, high], [place] * 2, color=colour, linewidth=3.5, alpha=0.4)
                    gid = f"{model}|{name}: measured {mean:.3f}, {interval(low, high)}"
                    axis.plot(mean, place, "o", color=colour, markersize=8, gid=gid)
                gid = f"{model}|{name}: predicted {expected:.2f}"
                axis.plot(expected, place, "o", color=PAPER, mec=colour, markersize=8, mew=1.8, gid=gid)
            axis.set_yticks(range(len(models)), [model_name(model) for model in reversed(models)])
        for axis in axes[:, 0]:
            for label, model in zip(axis.get_yticklabels(), reversed(models), strict=True):
                label.set_color(palette.text(model))
        return figure

    return Drawing(draw, "For each metric, what was predicted of the models (rings) and what was measured (discs).")


DRAWN = 40  # steps of a run, evenly spaced


def gaming_chart(arm: str, runs: Sequence[Mapping[str, Any]], palette: Palette) -> Drawing:
    """Proxy above, judge below, against step and against KL, a line and a band per run: the over-optimisation curve.

    Gao, Schulman and Hilton (2022), arXiv 2210.10760, figure 1: where the proxy goes on rising and the judge, which
    stands for what is wanted, turns down, the reward is being gamed. Each score has a unit and a scale of its own.
    ``runs`` have a verdict, and a curve with a row per step; of a long run at most :data:`DRAWN` steps are drawn.
    """
    curves, people = [run["curve"] for run in runs], runs[0]["verdict"]["human"]["judge"]
    titles = {"proxy": "The proxy, which is climbed", "judge": "The judge, which is never seen"}
    colours = {"proxy": palette.mark(arm), "judge": INK}

    def draw(width: int) -> Figure:
        narrow = width <= NARROW
        figure, axes = new_figure(width, 880 if narrow else 430, *((4, 1) if narrow else (2, 2)))
        for place, name in enumerate(titles):
            pair = axes.flat[2 * place : 2 * place + 2]
            pair[0].sharey(pair[1])
            for axis, x in zip(pair, ("step", "kl"), strict=True):
                for curve in curves:
                    rows = sorted(curve, key=itemgetter(x))
                    smooth = running_mean([row[name] for row in rows])
                    some = slice(None, None, -(-len(rows) // DRAWN))
                    keys = (x, name, f"{name}_low", f"{name}_high")
                    at, value, low, high = zip(*([row[key] for key in keys] for row in rows[some]), strict=True)
                    if None not in low + high:  # a step of one prompt has no interval
                        axis.fill_between(at, low, high, color=colours[name], alpha=0.1, linewidth=0)
                    axis.plot(at, value, "o", color=colours[name], markersize=2.4, alpha=0.4)
                    axis.plot(at, smooth[some], color=colours[name], linewidth=1.8)
                if name == "judge":
                    axis.axhline(people, gid=f"|people\u2019s replies: {people:.3f}", color=MUTED, **DASHED)
                if narrow or place:
                    axis.set_xlabel(KL if x == "kl" else x)
                axis.margins(x=0.02)
            pair[0].set_title(titles[name])
        return figure

    told = []
    for name in titles:
        first, last = (sum(curve[at][name] for curve in curves) / len(curves) for at in (0, -1))
        told.append(f"the {name} goes from {first:.3f} at the first step to {last:.3f} at the last")
    return Drawing(draw, f"Over-optimisation curve of {model_name(arm)}: {' and '.join(told)}.")


_DASHES = ("-", (0, (6, 2)), (0, (2, 2)), (0, (6, 2, 1, 2)), (0, (1, 1)))


def betas_chart(rows: Sequence[Row]) -> Drawing:
    """Proxy and judge against KL at several weights beta of the KL, a line each."""
    betas = sorted({row["beta"] for row in rows})

    def draw(width: int) -> Figure:
        figure, axes = panels(width, 2, 330, 280)
        for axis, name in zip(axes.flat, ("proxy", "judge"), strict=True):
            for place, beta in enumerate(betas):
                own = sorted((row for row in rows if row["beta"] == beta), key=lambda row: row["kl"])
                kl, values = [row["kl"] for row in own], running_mean([row[name] for row in own])
                dashes, gid = _DASHES[place % len(_DASHES)], f"|beta {beta:g}"
                axis.plot(kl, values, color=INK, linestyle=dashes, linewidth=1.8, gid=gid)
                end, look = (kl[-1], values[-1]), {"textcoords": "offset points", "va": "center", "gid": gid}
                axis.annotate(f"\u03b2 = {beta:g}", end, (6, 0), **look)
            axis.set(title=name.capitalize(), xlabel=KL)
        return figure

    return Drawing(draw, "Proxy and judge against KL for beta = " + ", ".join(f"{beta:g}" for beta in betas))


def calibration_chart(reward: Row) -> Drawing:
    """Left the mean of what people did against what the reward predicted; right its error by engagement quartile.

    An error of None belongs to a quartile that ties leave without a pair; it has no bar.
    """
    points, errors = reward["calibration"], reward["error_by_quartile"]

    def draw(width: int) -> Figure:
        figure, axes = panels(width, 2, 340, 270, width_ratios=[1.25, 1])
        calibration, quartiles = axes.flat
        x, y, low, high = ([point[name] for point in points] for name in ("predicted", "actual", "low", "high"))
        ends = [min(*x, *low), max(*x, *high)]
        calibration.plot(ends, ends, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        calibration.vlines(x, low, high, color=INK, linewidth=2.4, alpha=0.35)
        calibration.plot(x, y, color=INK, linewidth=1.4)
        for point in points:
            words = f"predicted {point['predicted']:.3f}, actual {point['actual']:.3f}, {point['pairs']:g} pairs"
            calibration.plot(point["predicted"], point["actual"], "o", color=INK, markersize=7, gid=f"|{words}")
        labels = {"xlabel": "predicted engagement (rank)", "ylabel": "actual engagement (rank)"}
        calibration.set(title="Calibration", **labels)
        quartiles.bar(range(len(errors)), [error or 0.0 for error in errors], width=0.62, color=MUTED)
        for place, error in enumerate(errors):
            quartiles.text(place, error or 0.0, "-" if error is None else f"{error:.2f}", ha="center", va="bottom")
        quartiles.set_xticks(range(len(errors)), ["lowest", *(f"{i}" for i in range(2, len(errors))), "highest"])
        quartiles.margins(y=0.14)
        quartiles.set(title="Error by quartile of engagement", xlabel="quartile of what people did", yticks=[])
        return figure

    told = "; ".join(f"predicted {point['predicted']:.3f}, actual {point['actual']:.3f}" for point in points)
    return Drawing(draw, f"Calibration of the learned reward: {told}")
