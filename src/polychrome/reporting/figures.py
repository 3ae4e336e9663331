"""The pictures of a run, drawn from its result files alone.

Every figure is 9 inches wide at 200 dots an inch (crisp at the 900 pixels of a README page), drawn without a
display, with the font and style that matplotlib ships and no date or version in the file: the same numbers give the
same bytes. Each model has one colour in every figure, after Okabe and Ito (2008), which people with any kind of
colour vision tell apart; where lines would still be confused they are labelled directly.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox, blended_transform_factory
from scipy.optimize import isotonic_regression

from polychrome.errors import InputError, Problem, bad

WIDTH = 9.0  # inches
DPI = 200  # dots an inch
INK = "#333333"
HUMAN = "human"

COLOURS = {
    "zero_shot": "#8c8c8c",
    "prompted": "#404040",
    "baseline_warmstart": "#56B4E9",
    "polychromic_warmstart": "#E69F00",
    "baseline": "#0072B2",
    "polychromic": "#D55E00",
    "grpo_from_baseline": "#009E73",
    "grpo_from_polychromic": "#CC79A7",
    HUMAN: "#000000",
}
_SPARE_COLOURS = ("#882255", "#117733", "#332288", "#AA4499", "#999933")  # Paul Tol's muted scheme, for added arms

LABELS = {
    "zero_shot": "zero-shot",
    "prompted": "prompted",
    "baseline_warmstart": "baseline, warm-start",
    "polychromic_warmstart": "polychromic, warm-start",
    "baseline": "baseline",
    "polychromic": "polychromic",
    "grpo_from_baseline": "baseline \u2192 GRPO",
    "grpo_from_polychromic": "polychromic \u2192 GRPO",
    HUMAN: "human",
}
_BEFORE = ("zero_shot", "prompted", "baseline_warmstart", "polychromic_warmstart")  # what the comparison starts from

_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#ececec",
    "grid.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "savefig.dpi": DPI,
    "figure.dpi": DPI,
    "figure.constrained_layout.use": True,
}


Row = dict[str, Any]  # "model" and numbers


class End(NamedTuple):
    """Where a line ends, and what it is called."""

    x: float
    y: float
    label: str
    colour: str


class Panel(NamedTuple):
    """One small picture of the training figure: what it shows, of which arms."""

    title: str
    metric: str  # key of a step
    phase: str  # "sft" or "grpo"


PANELS = (
    Panel("SFT: loss", "loss", "sft"),
    Panel("SFT: cross-entropy (nats a token)", "cross_entropy", "sft"),
    Panel("SFT: diversity of samples", "diversity", "sft"),
    Panel("GRPO: mean reward", "reward", "grpo"),
    Panel("GRPO: KL to the warm-start", "kl", "grpo"),
    Panel("GRPO: diversity of samples", "diversity", "grpo"),
)


def colour_of(model: str, models: Iterable[str] = ()) -> str:
    """The colour of ``model`` in every figure; a model without one of its own takes a spare one, by name order."""
    if model in COLOURS:
        return COLOURS[model]
    others = sorted({model, *models} - set(COLOURS))
    return _SPARE_COLOURS[others.index(model) % len(_SPARE_COLOURS)]


def _text_colour(colour: str) -> tuple[float, ...]:
    """``colour`` a third darker: words need more contrast than marks."""
    return tuple(0.67 * part for part in to_rgb(colour))


def label_of(model: str) -> str:
    """How ``model`` is called in every figure."""
    return LABELS.get(model, model.replace("_", " "))


# --- Pass@k ------------------------------------------------------------------------------------------------------


def pass_at_k_figure(csv_path: str | Path, out_png: str | Path) -> None:
    """Draw Pass@k with its intervals, one curve a model, into ``out_png``.

    ``csv_path`` has columns model, k, value, low, high; rows of the model "human" become a reference line. What the
    comparison starts from (untouched base, warm-starts) stands in a panel of its own beside what it compares.
    Raises InputError naming every bad cell.
    """
    curves = _by_model(_read_csv(csv_path, ("k", "value", "low", "high")))
    human = curves.pop(HUMAN, None)
    if not curves:
        raise bad(str(csv_path), "no models", "rows of at least one model", "Run `dvc repro evaluate`.")
    groups = {
        "Before: base model and warm-starts": [model for model in curves if model in _BEFORE],
        "Compared": [model for model in curves if model not in _BEFORE],
    }
    groups = {title: models for title, models in groups.items() if models}
    with _style():
        figure, axes = plt.subplots(1, len(groups), figsize=(WIDTH, 4.3), sharey=True, squeeze=False)
        ends = []
        for axis, (title, models) in zip(axes[0], groups.items(), strict=True):
            axis.set_title(title)
            ends.append(_draw_pass_curves(axis, {model: curves[model] for model in models}, human))
        axes[0][0].set_ylim(bottom=0.0)
        axes[0][0].set_ylabel("Pass@k (share of posts)")
        for axis, labels in zip(axes[0], ends, strict=True):
            _label_ends(axis, labels)
        level = "; the dashed line is the share of human replies that pass" if human else ""
        _caption(figure, f"Bars are 95% intervals, set side by side{level}.")
        _save(figure, out_png)


_DODGE = 0.2  # in k: neighbouring models stand this far apart, so that no interval hides another


def _draw_pass_curves(axis: Axes, curves: Mapping[str, list[Row]], human: list[Row] | None) -> list[End]:
    ends = []
    for place, (model, rows) in enumerate(curves.items()):
        k, value, low, high = (np.array([row[key] for row in rows]) for key in ("k", "value", "low", "high"))
        k = k + _DODGE * (place - (len(curves) - 1) / 2)
        colour = colour_of(model, curves)
        axis.vlines(k, low, high, color=colour, linewidth=3.5, alpha=0.4)
        axis.plot(k, value, color=colour, linewidth=1.7, marker="o", markersize=5.5, markeredgecolor="white")
        ends.append(End(float(k[-1]), float(value[-1]), label_of(model), colour))
    ticks = sorted({row["k"] for rows in curves.values() for row in rows})
    if human:  # one reply a post: its pass rate is a level, whatever k
        axis.axhline(human[0]["value"], color=COLOURS[HUMAN], linewidth=1.4, linestyle=(0, (4, 3)))
        ends.append(End(ticks[-1], human[0]["value"], label_of(HUMAN), COLOURS[HUMAN]))
    axis.set_xticks(ticks)
    axis.set_xlabel("k (replies tried a post)")
    axis.grid(axis="x", visible=False)
    return ends


def _label_ends(axis: Axes, ends: Sequence[End], gap: float = 0.062) -> None:
    """Write each line's name to the right of the axes at its last value, moved apart by at least ``gap`` axes heights.

    The nearest such places in the least-squares sense are an isotonic regression.
    """
    bottom, top = axis.get_ylim()
    ends = sorted(ends, key=lambda end: (end.y, end.label))
    steps = gap * (top - bottom) * np.arange(len(ends))
    places = isotonic_regression(np.array([end.y for end in ends]) - steps).x + steps
    places -= max(0.0, places[-1] - top)
    beside = blended_transform_factory(axis.transAxes, axis.transData)
    for end, place in zip(ends, places, strict=True):
        axis.annotate(
            end.label,
            xy=(end.x, end.y),
            xytext=(1.08, place),
            textcoords=beside,
            color=_text_colour(end.colour),
            fontsize=9,
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": end.colour,
                "linewidth": 0.8,
                "relpos": (0, 0.5),
                "shrinkA": 1,
                "shrinkB": 4,
            },
        )


# --- the quality-diversity plane ---------------------------------------------------------------------------------


def plane_figure(csv_path: str | Path, out_png: str | Path) -> None:
    """Draw each model's Pass@1 against its semantic diversity into ``out_png``: up is better, right is more varied.

    ``csv_path`` has columns model, semantic_diversity, pass_at_1, and each of the two with _low and _high, the
    interval drawn as a cross. An arrow leads from each warm-start to what GRPO made of it. Raises InputError naming
    every bad cell.
    """
    names = [f"{name}{end}" for name in ("semantic_diversity", "pass_at_1") for end in ("", "_low", "_high")]
    models = {model: rows[0] for model, rows in _by_model(_read_csv(csv_path, names), once=str(csv_path)).items()}
    steps = _grpo_steps(models)
    with _style():
        figure, axis = plt.subplots(figsize=(WIDTH, 5.2))
        for model, row in models.items():
            _draw_cross(axis, row, colour_of(model, models))
        for start, end in steps:
            _draw_arrow(axis, models[start], models[end], colour_of(end, models))
        axis.margins(0.1)
        axis.set_xlabel("semantic diversity of a post's replies (mean pairwise cosine distance)")
        axis.set_ylabel("Pass@1 (share of replies that pass)")
        _caption(figure, "Crosses are 95% intervals; arrows lead from a warm-start to what GRPO made of it.")
        _label_points(figure, axis, models, steps)
        _save(figure, out_png)


def _grpo_steps(models: Iterable[str]) -> list[tuple[str, str]]:
    """(warm-start, GRPO model) for every ``<recipe>_<start>`` whose ``<start>_warmstart`` is there too."""
    models = list(models)
    starts = {model.removesuffix("_warmstart"): model for model in models if model.endswith("_warmstart")}
    return [(starts[start], model) for model in models for start in starts if model.endswith(f"_from_{start}")]


def _draw_cross(axis: Axes, row: Row, colour: str) -> None:
    x, y = row["semantic_diversity"], row["pass_at_1"]
    axis.hlines(y, row["semantic_diversity_low"], row["semantic_diversity_high"], color=colour, lw=1.2, alpha=0.55)
    axis.vlines(x, row["pass_at_1_low"], row["pass_at_1_high"], color=colour, lw=1.2, alpha=0.55)
    axis.plot([x], [y], marker="o", markersize=9, color=colour, markeredgecolor="white", markeredgewidth=1.0, zorder=3)


_BEND = 0.12  # of an arrow, as a share of its length


def _draw_arrow(axis: Axes, start: Row, end: Row, colour: str) -> None:
    tail, tip = ((row["semantic_diversity"], row["pass_at_1"]) for row in (start, end))
    shape = {"arrowstyle": "-|>", "mutation_scale": 14, "connectionstyle": f"arc3,rad={_BEND}"}
    look = {"color": colour, "linewidth": 1.8, "shrinkA": 7, "shrinkB": 7}
    axis.annotate("", xy=tip, xytext=tail, arrowprops=shape | look, zorder=2)


_RADII = (13.0, 26.0, 42.0, 60.0)  # points from a point to its label; from the second on with a leader
_DIRECTIONS = [2 * math.pi * (i + 0.5) / 16 for i in range(16)]


def _label_points(figure: Figure, axis: Axes, models: Mapping[str, Row], steps: Sequence[tuple[str, str]]) -> None:
    """Name each point where its label hides least of what is drawn: points, crosses, arrows, the labels before it."""
    figure.draw_without_rendering()
    frame = axis.get_window_extent()
    taken = axis.transData.transform([spot for row in models.values() for spot in _spots(row)])
    taken = np.concatenate([taken, *(_along(axis, models[start], models[end]) for start, end in steps)])
    placed: list[Bbox] = []
    for model, row in models.items():
        at = axis.transData.transform((row["semantic_diversity"], row["pass_at_1"]))
        offsets = [(r * math.cos(turn), r * math.sin(turn)) for r in _RADII for turn in _DIRECTIONS]
        boxes = [_text_box(figure, label_of(model), at, offset).padded(6) for offset in offsets]
        costs = [_hidden(box, frame, taken, placed) + i / len(_DIRECTIONS) for i, box in enumerate(boxes)]
        best = int(np.argmin(costs))
        placed.append(boxes[best])
        _label(axis, model, row, colour_of(model, models), offsets[best])


def _text_box(figure: Figure, words: str, at: np.ndarray, offset: tuple[float, float]) -> Bbox:
    """Where ``words`` come to stand, in dots: beside the place ``offset`` points from ``at``."""
    probe = figure.text(0, 0, words)
    size = probe.get_window_extent()
    probe.remove()
    x, y = at + np.array(offset) * figure.dpi / 72
    return Bbox.from_bounds(x if offset[0] > 0 else x - size.width, y - size.height / 2, size.width, size.height)


def _label(axis: Axes, model: str, row: Row, colour: str, offset: tuple[float, float]) -> None:
    right = offset[0] > 0
    leader = {"arrowstyle": "-", "color": colour, "lw": 0.8, "shrinkA": 0, "shrinkB": 5, "relpos": (not right, 0.5)}
    label = axis.annotate(
        label_of(model),
        (row["semantic_diversity"], row["pass_at_1"]),
        offset,
        textcoords="offset points",
        ha="left" if right else "right",
        va="center",
        color=_text_colour(colour),
        arrowprops=leader if math.hypot(*offset) > 1.5 * _RADII[0] else None,
        zorder=4,
    )
    label.set_in_layout(False)  # placed for the axes as they are; they must not move now


def _spots(row: Row) -> list[tuple[float, float]]:
    """Points along a model's cross, its centre counted several times over."""
    x, y = row["semantic_diversity"], row["pass_at_1"]
    across = np.linspace(row["semantic_diversity_low"], row["semantic_diversity_high"], 40)
    along = np.linspace(row["pass_at_1_low"], row["pass_at_1_high"], 40)
    return [(float(a), y) for a in across] + [(x, float(b)) for b in along] + [(x, y)] * 20


def _along(axis: Axes, start: Row, end: Row) -> np.ndarray:
    """Display coordinates along an arrow: (40, 2), the quadratic curve that arc3 draws."""
    a, b = axis.transData.transform([(row["semantic_diversity"], row["pass_at_1"]) for row in (start, end)])
    middle = (a + b) / 2 + _BEND * np.array([b[1] - a[1], a[0] - b[0]])
    t = np.linspace(0, 1, 40)[:, None]
    return (1 - t) ** 2 * a + 2 * t * (1 - t) * middle + t**2 * b


def _hidden(box: Bbox, frame: Bbox, taken: np.ndarray, placed: Sequence[Bbox]) -> float:
    outside = not (frame.contains(*box.min) and frame.contains(*box.max))
    inside = ((taken > box.min) & (taken < box.max)).all(axis=1).sum()
    return 1000.0 * outside + 200.0 * sum(map(box.overlaps, placed)) + float(inside)


# --- training ----------------------------------------------------------------------------------------------------


def training_figure(
    curves: Mapping[str, Sequence[Mapping[str, float]]], out_png: str | Path, panels: Sequence[Panel] = PANELS
) -> None:
    """Draw training as small multiples into ``out_png``: faint each step, bold the running mean of a tenth of them.

    ``curves``: arm -> its steps in order, each a dict with "step" and whatever was measured at it. An arm that
    measured "reward" is of phase "grpo", any other of phase "sft". A panel that no arm has numbers for is left out.
    Raises InputError when nothing is left, or when a number is not finite.
    """
    drawn = [(panel, series) for panel in panels if (series := _series_of(panel, curves))]
    if not drawn:
        wanted = ", ".join(sorted({panel.metric for panel in panels}))
        raise bad("training curves", "nothing to draw", f"steps with any of {wanted}", "Train an arm first.")
    columns = min(3, len(drawn))
    rows = math.ceil(len(drawn) / columns)
    with _style():
        figure, axes = plt.subplots(rows, columns, figsize=(WIDTH, 2.35 * rows + 0.6), squeeze=False)
        for axis, (panel, series) in zip(axes.flat, drawn, strict=False):
            axis.set_title(panel.title, fontsize=9.5)
            for arm, (steps, values) in series.items():
                colour = colour_of(arm, curves)
                axis.plot(steps, values, color=colour, linewidth=0.8, alpha=0.3)
                axis.plot(steps, _running_mean(values), color=colour, linewidth=1.9, label=label_of(arm))
            axis.tick_params(labelsize=8.5)
            axis.margins(x=0.02)
        for axis in axes.flat[len(drawn) :]:
            axis.set_visible(False)
        for axis in axes.flat[max(0, len(drawn) - columns) : len(drawn)]:
            axis.set_xlabel("step")
        keys = {
            label: line for axis in axes.flat for line, label in zip(*axis.get_legend_handles_labels(), strict=True)
        }
        figure.legend(keys.values(), keys.keys(), loc="outside upper left", ncols=min(3, len(keys)), fontsize=9)
        _save(figure, out_png)


def _series_of(
    panel: Panel, curves: Mapping[str, Sequence[Mapping[str, float]]]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Arm -> (steps, values) of the panel's metric, for the arms of its phase that measured it."""
    series = {}
    for arm, steps in curves.items():
        phase = "grpo" if any("reward" in step for step in steps) else "sft"
        measured = [step for step in steps if panel.metric in step]
        if phase != panel.phase or not measured:
            continue
        wrong = [
            Problem(
                f"training curves:{arm}:step {step['step']}",
                f"{panel.metric} {step[panel.metric]}",
                "a finite number",
                "Look at the arm's log: training went wrong there.",
            )
            for step in measured
            if not math.isfinite(step[panel.metric])
        ]
        if wrong:
            raise InputError(wrong)
        series[arm] = (_column(measured, "step"), _column(measured, panel.metric))
    return series


def _column(steps: Sequence[Mapping[str, float]], key: str) -> np.ndarray:
    return np.array([step[key] for step in steps], dtype=float)


def _running_mean(values: np.ndarray) -> np.ndarray:
    """Centred mean of a tenth of the values, fewer at both ends: (n,) -> (n,)."""
    half = len(values) // 20
    return np.array([values[max(0, i - half) : i + half + 1].mean() for i in range(len(values))])


# --- reading, style, saving --------------------------------------------------------------------------------------


def _read_csv(path: str | Path, numbers: Sequence[str]) -> list[Row]:
    """Rows with a model and the named finite numbers. Raises InputError telling every missing column and bad cell."""
    path, remedy = Path(path), "Run the stage that makes it: `dvc repro compare`."
    if not path.is_file():
        raise bad(str(path), "no such file", "a CSV file", remedy)
    with path.open(encoding="utf-8", newline="") as handle:
        reader = csv.DictReader(handle)
        header = reader.fieldnames or []
        missing = [
            Problem(f"{path}:1:{name}", "no such column", "a column", remedy)
            for name in ("model", *numbers)
            if name not in header
        ]
        if missing:
            raise InputError(missing)
        rows = list(reader)
    problems = [
        Problem(f"{path}:{line}:{name}", repr(row[name]), "a finite number", remedy)
        for line, row in enumerate(rows, start=2)
        for name in numbers
        if not _is_finite(row[name])
    ]
    if problems:
        raise InputError(problems)
    if not rows:
        raise bad(str(path), "no rows", "at least one model", remedy)
    return [{"model": row["model"], **{name: float(row[name]) for name in numbers}} for row in rows]


def _is_finite(text: str | None) -> bool:
    try:
        return math.isfinite(float(text or "nan"))
    except ValueError:
        return False


def _by_model(rows: Iterable[Row], once: str = "") -> dict[str, list[Row]]:
    """Rows by model, in the fixed order of the colours, added models last; each in the order of k if there is one.

    With ``once``, the name of the file, a model with two rows is an error.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["model"], []).append(row)
    twice = [model for model, group in groups.items() if once and len(group) > 1]
    if twice:
        raise InputError([Problem(f"{once}:{model}", "two rows", "one row a model", "Drop one.") for model in twice])
    order = list(COLOURS)
    models = sorted(groups, key=lambda model: (order.index(model) if model in order else len(order), model))
    return {model: sorted(groups[model], key=lambda row: row.get("k", 0)) for model in models}


@contextmanager
def _style() -> Iterator[None]:
    """Matplotlib's own defaults and ours on top, whatever the user's matplotlibrc says; figures closed afterwards."""
    with plt.style.context(["default", _STYLE]):
        try:
            yield
        finally:
            plt.close("all")


def _caption(figure: Figure, text: str) -> None:
    figure.supxlabel(text, fontsize=8.5, color="#777777", x=0.01, ha="left")


def _save(figure: Figure, path: str | Path) -> None:
    """Write ``figure`` as a PNG, whole or not at all, with no version or date in it."""
    path = Path(path)
    beside = path.with_name(f".{path.name}.writing")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            figure.savefig(beside, format="png", metadata={"Software": None})
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        found = f"{error.strerror or error} while saving"
        raise bad(str(path), found, "room and permission to write", "Free space or mend permissions.") from error
