"""From a matplotlib figure to a drawing in the page: SVG whose colours are CSS properties and whose text is text.

A figure is laid out in CSS pixels: one unit of its viewBox is one pixel at natural size. Artists say what they are in
their gid, ``"<model>|<words>"``: the model becomes ``data-model``, by which the page brings a model forward, and the
words are shown at the pointer. The same numbers give the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.etree import ElementTree

from markupsafe import Markup

from polychrome.reporting.page.palette import INK, MUTED, RULE, Palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
WIDE, NARROW = 880, 340  # CSS pixels: beside the text of a desktop, and on a phone

_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "figure.dpi": 72,
    "savefig.dpi": 72,
    "font.family": "DejaVu Sans",  # wider than what browsers put in its place, so that nothing overlaps there
    "font.size": 12.0,
    "axes.titlesize": 13.0,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.titlepad": 12.0,
    "axes.titleweight": "bold",
    "axes.labelsize": 12.0,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": RULE,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "text.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 1.0,
    "xtick.color": RULE,
    "xtick.labelcolor": MUTED,
    "xtick.labelsize": 12.0,
    "ytick.color": RULE,
    "ytick.labelcolor": MUTED,
    "ytick.labelsize": 12.0,
    "ytick.major.size": 0.0,
    "lines.solid_capstyle": "round",
    "lines.solid_joinstyle": "round",
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 4 / 72,
    "figure.constrained_layout.w_pad": 4 / 72,
    "savefig.transparent": True,
    "path.simplify": False,
}


def both_widths(draw: Callable[[int], Figure], name: str, words: str, palette: Palette) -> Markup:
    """``draw(width)`` for desktop and phone, of which the style sheet shows one; ``words`` say what is to be seen."""
    return Markup("").join(
        embedded(draw, width, f"{name}-{size}", size, words, palette)
        for width, size in ((WIDE, "wide"), (NARROW, "narrow"))
    )


def embedded(draw: Callable[[int], Figure], width: int, name: str, size: str, words: str, palette: Palette) -> Markup:
    """One drawing, as an element for the page."""
    import matplotlib.pyplot as plt

    with _style(name):
        figure = draw(width)
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
        plt.close(figure)
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    root = ElementTree.fromstring(written.getvalue().encode())
    _tidy(root, name)
    root.attrib |= {"class": f"chart {size}", "role": "img", "aria-label": words, "width": f"{width}"}
    root.attrib.pop("height", None)
    text = ElementTree.tostring(root, encoding="unicode")
    variables = palette.variables
    text = re.sub("|".join(variables), lambda found: variables[found[0]], text)
    return Markup(text)  # ElementTree has escaped every word in it


def new_figure(width: int, height: float, rows: int = 1, columns: int = 1, **more: Any) -> tuple[Figure, Any]:
    """A figure of ``width`` x ``height`` CSS pixels and its axes, (rows, columns)."""
    import matplotlib.pyplot as plt

    return plt.subplots(rows, columns, figsize=(width / 72, height / 72), squeeze=False, **more)


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
    import numpy as np
    from matplotlib.transforms import blended_transform_factory
    from scipy.optimize import isotonic_regression

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
        label = axis.annotate(
            end.words,
            (end.x, end.y),
            (1.045, place),
            textcoords=beside,
            color=end.colour,
            va="center",
            annotation_clip=False,
            arrowprops=leader,
            gid=end.gid,
        )
        label.arrow_patch.set_gid(end.gid)


_OUTSIDE, _OVERLAP, _CROSSED, _FAR = 4.0, 200.0, 40.0, 0.12  # cost of a pixel, a name, a leader, a pixel
_NARROWER = 0.88  # a page's font against the one that drawings are measured in


def label_points(axis: Axes, points: Sequence[Name], taken: Any) -> None:
    """Name each point where its words hide least of what is drawn.

    ``taken``: data coordinates (n, 2) that are better not hidden.
    """
    import numpy as np
    from matplotlib.transforms import Bbox

    axis.figure.draw_without_rendering()  # sizes are those of the page from here on
    frame, spots = axis.get_window_extent(), axis.transData.transform(taken)
    placed: list[Bbox] = []
    leaders = np.empty((0, 2))
    far = np.hypot(*np.transpose(_OFFSETS))
    for point in points:
        probe = axis.text(point.x, point.y, point.words)
        size = probe.get_window_extent()
        probe.remove()
        at = axis.transData.transform((point.x, point.y))
        boxes = [_beside(at, offset, _NARROWER * size.width, size.height) for offset in _OFFSETS]
        ways = [np.linspace(at, at + np.array(offset), 20) for offset in _OFFSETS]
        costs = [_hidden(box, frame, spots, leaders, placed) for box in boxes] + _FAR * far
        costs += [_CROSSED * any(_inside(way, box).any() for box in placed) for way in ways]
        best = int(np.argmin(costs))
        placed.append(boxes[best])
        leaders = np.concatenate([leaders, ways[best]])
        _write_beside(axis, point, _OFFSETS[best], bool(far[best] > 24))


def _write_beside(axis: Axes, point: Name, offset: tuple[float, float], is_far: bool) -> None:
    align = {-1: "right", 0: "center", 1: "left"}[(offset[0] > 0) - (offset[0] < 0)]
    from_words = {"right": (1, 0.5), "left": (0, 0.5), "center": (0.5, float(offset[1] < 0))}[align]
    leader = {"arrowstyle": "-", "color": point.colour, "lw": 0.8, "shrinkB": 5, "relpos": from_words}
    label = axis.annotate(
        point.words,
        (point.x, point.y),
        offset,
        textcoords="offset points",
        color=point.colour,
        ha=align,
        va="center",
        gid=point.gid,
        arrowprops=leader if is_far else None,
    )
    label.set_in_layout(False)
    if is_far:
        label.arrow_patch.set_gid(point.gid)


_TURNS = (
    (0.9, 0.5),
    (-0.9, 0.5),
    (0.9, -0.5),
    (-0.9, -0.5),
    (1, 0.1),
    (-1, 0.1),
    (0.3, 1),
    (-0.3, 1),
    (0.3, -1),
    (-0.3, -1),
    (0, 1.2),
    (0, -1.2),
)
_OFFSETS = [(radius * x, radius * y) for radius in (12, 18, 24, 40, 60, 84, 110, 140) for x, y in _TURNS]


def _beside(at: Any, offset: tuple[float, float], width: float, height: float) -> Any:
    from matplotlib.transforms import Bbox

    x, y = at[0] + offset[0], at[1] + offset[1]
    left = x if offset[0] > 0 else x - width if offset[0] < 0 else x - width / 2
    return Bbox.from_bounds(left, y - height / 2, width, height)


def _hidden(box: Any, frame: Any, spots: Any, leaders: Any, placed: Sequence[Any]) -> float:
    """What it costs to write in ``box``."""
    padded = box.padded(3)
    outside = sum(max(0.0, by) for by in (*(frame.min - box.min), *(box.max - frame.max)))
    crossed = _CROSSED * bool(_inside(leaders, padded).any())
    covered = _OVERLAP * sum(map(padded.overlaps, placed)) + float(_inside(spots, padded).sum())
    return _OUTSIDE * outside + crossed + covered


def _inside(points: Any, box: Any) -> Any:
    return ((points > box.min) & (points < box.max)).all(axis=1)


@contextmanager
def _style(name: str) -> Iterator[None]:
    """Matplotlib's own defaults and ours on top, whatever the user's matplotlibrc says; ids salted with ``name``."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with plt.style.context(["default", _STYLE | {"svg.hashsalt": name}]):
        yield


def _tidy(root: ElementTree.Element, name: str) -> None:
    """Leave out what the page says once for all drawings, make ids unique in it, and say what belongs to whom."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style"):
                parent.remove(child)
    used = set(re.findall(r"#([\w-]+)", " ".join(value for each in root.iter() for value in each.attrib.values())))
    for element in root.iter():
        if "d" in element.attrib:
            element.attrib["d"] = re.sub(r"\s+", " ", _ROUND.sub(_rounded, element.attrib["d"])).strip()
        for key, value in list(element.attrib.items()):
            if key == "id":
                _identify(element, value, name, used)
            elif "#" in value and value.lstrip("#") in used:
                element.attrib[key] = f"#{name}-{value[1:]}"
            elif "url(#" in value:
                element.attrib[key] = value.replace("url(#", f"url(#{name}-")
            elif key in ("x", "y", "transform"):
                element.attrib[key] = _ROUND.sub(_rounded, value)


_ROUND = re.compile(r"-?\d+\.\d{2,}")


def _rounded(found: re.Match[str]) -> str:
    return f"{float(found[0]):.2f}".rstrip("0").rstrip(".")


def _identify(element: ElementTree.Element, identity: str, name: str, used: set[str]) -> None:
    del element.attrib["id"]
    if "|" in identity:
        model, words = identity.split("|", 1)
        element.attrib |= {"data-model": model} if model else {}
        element.attrib |= {"data-words": words} if words else {}
    elif identity in used:
        element.attrib["id"] = f"{name}-{identity}"
