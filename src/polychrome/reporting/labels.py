"""Words in a drawing put where they touch neither each other nor what is drawn."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox, blended_transform_factory
from scipy.optimize import isotonic_regression


class Name(NamedTuple):
    """Words that belong to a place in a drawing, in data coordinates."""

    x: float
    y: float
    words: str
    colour: str
    gid: str


def label_ends(axis: Axes, ends: Sequence[Name], gap: float = 16.0) -> None:
    """Write each line's name right of the axes at its last value, moved apart by at least ``gap`` pixels.

    The nearest such places in the least-squares sense are an isotonic regression.
    """
    axis.figure.draw_without_rendering()  # sizes are those of the page from here on
    bottom, top = axis.get_ylim()
    axis.set_ylim(bottom, top)
    ends = sorted(ends, key=lambda end: (end.y, end.words))
    steps = gap * (top - bottom) / axis.get_window_extent().height * np.arange(len(ends))
    places = isotonic_regression(np.array([end.y for end in ends]) - steps).x + steps
    places -= max(0.0, places[-1] - top)
    beside = blended_transform_factory(axis.transAxes, axis.transData)
    for end, place in zip(ends, places, strict=True):
        leader = {"arrowstyle": "-", "color": end.colour, "lw": 0.9, "shrinkA": 1, "shrinkB": 4, "relpos": (0, 0.5)}
        look = {"color": end.colour, "va": "center", "annotation_clip": False, "arrowprops": leader, "gid": end.gid}
        label = axis.annotate(end.words, (end.x, end.y), (1.045, place), textcoords=beside, **look)
        label.arrow_patch.set_gid(end.gid)


_NARROWER = 0.88  # a page's font against the one that drawings are measured in
_TURNS = [(0.9 * x, 0.5 * y) for y in (1, -1) for x in (1, -1)] + [(x, 0.1) for x in (1, -1)]
_TURNS += [(0.3 * x, y) for y in (1, -1) for x in (1, -1)] + [(0, 1.2), (0, -1.2)]
_OFFSETS = [(radius * x, radius * y) for radius in (12, 18, 24, 40, 60, 84, 110, 140) for x, y in _TURNS]


def label_points(axis: Axes, points: Sequence[Name], taken: np.ndarray) -> None:
    """Name each point where its words hide least of what is drawn; far from it, with a line that leads there.

    ``taken``: data coordinates (n, 2) that are better not hidden.
    """
    axis.figure.draw_without_rendering()  # sizes are those of the page from here on
    frame, spots = axis.get_window_extent(), axis.transData.transform(taken)
    placed: list[Bbox] = []

    def hidden(box: Bbox) -> float:
        """What it costs to write in ``box``: a pixel outside 4, a name 200, a spot 1."""
        padded = box.padded(3)
        outside = sum(max(0.0, by) for by in (*(frame.min - box.min), *(box.max - frame.max)))
        covered = ((spots > padded.min) & (spots < padded.max)).all(axis=1).sum()
        return 4.0 * outside + 200.0 * sum(map(padded.overlaps, placed)) + float(covered)

    for point in points:
        at = axis.transData.transform((point.x, point.y))
        probe = axis.text(point.x, point.y, point.words)
        size = probe.get_window_extent()
        probe.remove()
        width, found = _NARROWER * size.width, []
        for x, y in _OFFSETS:
            left = at[0] + x + (np.sign(x) - 1) / 2 * width  # its words end, are centred, or begin there
            box = Bbox.from_bounds(left, at[1] + y - size.height / 2, width, size.height)
            found.append((hidden(box) + 0.12 * np.hypot(x, y), box, (x, y)))
        _, box, (x, y) = min(found, key=lambda one: one[0])
        placed.append(box)
        way = np.linspace(at, (at[0] + x, at[1] + y), 20)
        spots = np.concatenate([spots, way, way])  # a line that leads to words is better not crossed
        side, end = {1: ("left", (0, 0.5)), -1: ("right", (1, 0.5)), 0: ("center", (0.5, float(y < 0)))}[np.sign(x)]
        leader = {"arrowstyle": "-", "color": point.colour, "lw": 0.8, "shrinkB": 5, "relpos": end}
        look = {"color": point.colour, "va": "center", "gid": point.gid, "textcoords": "offset points", "ha": side}
        is_far = np.hypot(x, y) > 24
        label = axis.annotate(point.words, (point.x, point.y), (x, y), arrowprops=leader if is_far else None, **look)
        label.set_in_layout(False)
        if is_far:
            label.arrow_patch.set_gid(point.gid)
