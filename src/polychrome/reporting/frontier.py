"""The frontier: what decoding alone gets out of the baseline, and where every other model stands."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from polychrome.files import read_object
from polychrome.reporting.labels import Name, label_points
from polychrome.reporting.names import metric_name, model_name
from polychrome.reporting.palette import PAPER, Palette, palette_of
from polychrome.reporting.svg import Drawing, panels, write_svg

WAYS = {"temperature": ("hotter", "-"), "min_p": ("min-p", (0, (5, 2))), "mmr": ("choosing", (0, (1, 1.5)))}


def write_frontier(folder: Path) -> None:
    """Draw ``frontier.svg`` beside ``frontier.json`` in ``folder``. Raises InputError when that lacks a field."""
    found = read_object(folder / "frontier.json")
    palette = palette_of(list(dict.fromkeys(curve["model"] for curve in found["curves"])))
    write_svg(folder / "frontier.svg", frontier_chart(found, palette), palette)


def frontier_chart(found: Mapping[str, Any], palette: Palette) -> Drawing:
    """Quality against variety, and against Pass@k: a line a model over all temperatures, a disc where it is compared.

    The ways of decoding the baseline are bold, each with a band: the interval of what lies across.
    """
    across = [metric for metric in dict.fromkeys((found["variety"], found["primary"])) if metric]

    def draw(width: int) -> Figure:
        figure, axes = panels(width, len(across), 420, 360, sharey=True)
        for axis, metric in zip(axes.flat, across, strict=True):
            _panel(axis, found, metric, palette)
        for axis in axes[:, 0]:
            axis.set_ylabel(f"{metric_name(found['quality'])}, share of replies that pass \u2192")
        return figure

    ends = [(curve, curve["points"][0], curve["points"][-1]) for curve in found["curves"]]
    told = " ".join(
        f"{_called(curve)}: {metric_name(found['quality'])} {_mean(first, found['quality']):.3f} at temperature "
        f"{first['temperature']:g}, {_mean(last, found['quality']):.3f} at {last['temperature']:g}."
        for curve, first, last in ends
    )
    return Drawing(draw, f"Quality against variety at rising temperatures. {told}")


def _panel(axis: Axes, found: Mapping[str, Any], metric: str, palette: Palette) -> None:
    quality, names, taken = found["quality"], [], []
    for curve in found["curves"]:
        model, alone = curve["model"], curve["model"] == found["decoded"]
        points = [point for point in curve["points"] if point[metric] and point[quality]]
        x, y = ([_mean(point, name) for point in points] for name in (metric, quality))
        look = {"color": palette.mark(model), "gid": f"{model}|"}
        dashes, width = WAYS[curve["decoding"]][1], 2.4 if alone else 1.1
        axis.plot(x, y, linestyle=dashes, linewidth=width, alpha=1.0 if alone else 0.6, **look)
        if alone:
            low, high = ([point[metric][end] for point in points] for end in ("low", "high"))
            axis.fill_betweenx(y, low, high, alpha=0.1, linewidth=0, **look)
        for point, at in zip(points, zip(x, y, strict=True), strict=True):
            here = point["temperature"] == found["temperature"] and curve["decoding"] == "temperature"
            told = f"{_called(curve)}, temperature {point['temperature']:g}: {metric_name(metric)} {at[0]:.3f}"
            gid = f"{model}|{told}, {metric_name(quality)} {at[1]:.3f}"
            size = {"markersize": 9 if here else 3.5, "mec": PAPER, "mew": here}
            axis.plot(*at, "o", zorder=3, **(look | size | {"gid": gid}))
        place = points.index(next((p for p in points if p["temperature"] == found["temperature"]), points[-1]))
        place = -1 if alone else place  # the baseline's lines part at their hot end
        names.append(Name(x[place], y[place], _called(curve), palette.text(model), f"{model}|"))
        share = np.linspace(0, len(points) - 1, 24)
        taken.append(np.stack([np.interp(share, range(len(points)), along) for along in (x, y)], axis=1))
    axis.margins(0.1)
    axis.grid(axis="x", visible=True)
    axis.set_xlabel(f"{metric_name(metric)} \u2192")
    label_points(axis, names, np.concatenate(taken))


def _called(curve: Mapping[str, Any]) -> str:
    name = model_name(curve["model"])
    return name if curve["decoding"] == "temperature" else f"{name}, {WAYS[curve['decoding']][0]}"


def _mean(point: Mapping[str, Any], metric: str) -> float:
    return point[metric]["mean"] if point[metric] else float("nan")
