"""From a matplotlib figure to SVG whose text is text: in the page with CSS properties for colours, or as a file.

A figure is laid out in CSS pixels: one unit of its viewBox is one pixel at natural size. Artists say what they are in
their gid, ``"<model>|<words>"``: in the page the model becomes ``data-model``, by which the page brings a model
forward, and the words are shown at the pointer. The same numbers give the same bytes.
"""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import matplotlib.style
from markupsafe import Markup
from matplotlib.figure import Figure

from polychrome.files import write_text
from polychrome.reporting.palette import INK, MUTED, RULE, Palette

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
WIDE, NARROW = 880, 340  # CSS pixels: beside the text of a desktop, and on a phone
_MARGIN = 14  # of the paper around a drawing in a file

_FONTS = "system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans','Liberation Sans',Helvetica,Arial,sans-serif"
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",  # wider than what browsers put in its place, so that nothing overlaps there
    "axes.titlesize": 13.0,
    "axes.titlelocation": "left",
    "axes.titlepad": 12.0,
    "axes.titleweight": "bold",
    "axes.grid.axis": "y",
    "grid.linewidth": 1.0,
    "ytick.major.size": 0.0,
    "path.simplify": False,
    **dict.fromkeys(("axes.grid", "axes.axisbelow", "figure.constrained_layout.use", "savefig.transparent"), True),
    **dict.fromkeys(("lines.solid_capstyle", "lines.solid_joinstyle"), "round"),
    **dict.fromkeys(("figure.dpi", "savefig.dpi"), 72),
    **dict.fromkeys(("figure.constrained_layout.h_pad", "figure.constrained_layout.w_pad"), 4 / 72),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "axes.spines.left"), False),
    **dict.fromkeys(("font.size", "axes.labelsize", "xtick.labelsize", "ytick.labelsize"), 12.0),
    **dict.fromkeys(("axes.facecolor", "figure.facecolor"), "none"),
    **dict.fromkeys(("axes.titlecolor", "text.color"), INK),
    **dict.fromkeys(("axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), MUTED),
    **dict.fromkeys(("axes.edgecolor", "grid.color", "xtick.color", "ytick.color"), RULE),
}


class Drawing(NamedTuple):
    """A picture that can be drawn at any width in CSS pixels, and what is to be seen in it."""

    draw: Callable[[int], Figure]
    words: str


def new_figure(width: int, height: float, rows: int = 1, columns: int = 1, **more: Any) -> tuple[Figure, Any]:
    """A figure of ``width`` x ``height`` CSS pixels and its axes, (rows, columns)."""
    figure = Figure(figsize=(width / 72, height / 72))
    return figure, figure.subplots(rows, columns, squeeze=False, **more)


def panels(width: int, count: int, height: float, narrow_height: float, **more: Any) -> tuple[Figure, Any]:
    """A figure of ``count`` panels side by side, on a phone below each other with ``narrow_height`` each; its axes."""
    if width > NARROW:
        return new_figure(width, height, 1, count, **more)
    return new_figure(width, narrow_height * count, count, 1, **(more | {"width_ratios": None}))


def in_page(drawing: Drawing, name: str, palette: Palette) -> Markup:
    """``drawing`` for desktop and phone, of which the style sheet shows one; its colours are the page's properties."""
    variables = {stand_in: f"var({name})" for stand_in, name in palette.properties.items()}
    shapes = ""
    for size, width in (("wide", WIDE), ("narrow", NARROW)):
        root = _root(drawing, f"{name}-{size}", width)
        root.attrib["class"] = f"chart {size}"
        shapes += _text(root, variables)
    return Markup(shapes)  # ElementTree has escaped every word in it


def write_svg(path: str | Path, drawing: Drawing, palette: Palette) -> None:
    """Write ``drawing`` as a file for wherever pictures are shown, on light paper of its own; atomically."""
    path, colours = Path(path), palette.colours("light")
    root = _root(drawing, path.stem, WIDE)
    for element in root.iter():
        for key in ("data-model", "data-words"):
            element.attrib.pop(key, None)
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    paper = dict.fromkeys(("x", "y"), f"{-_MARGIN}")
    paper |= {"width": f"{width + 2 * _MARGIN:g}", "height": f"{height + 2 * _MARGIN:g}"}
    root.attrib["viewBox"] = " ".join(paper.values())
    root.insert(0, ElementTree.Element(f"{{{SVG}}}rect", paper | {"rx": "6", "fill": colours["--paper"]}))
    text = _text(root, {stand_in: colours[name] for stand_in, name in palette.properties.items()})
    write_text(path, text.replace("'DejaVu Sans'", _FONTS) + "\n")


def _root(drawing: Drawing, name: str, width: int) -> ElementTree.Element:
    """One shape of a drawing, tidied, with ids that start with ``name``."""
    written = io.StringIO()
    # matplotlib's own defaults and ours on top, whatever the user's matplotlibrc says
    with matplotlib.style.context(["default", _STYLE | {"svg.hashsalt": name}]):
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        drawing.draw(width).savefig(written, format="svg", metadata=metadata)
    root = ElementTree.fromstring(written.getvalue().encode())
    _tidy(root, name)
    del root.attrib["height"]
    root.attrib |= {"role": "img", "aria-label": drawing.words, "width": f"{width}"}
    return root


def _text(root: ElementTree.Element, colours: dict[str, str]) -> str:
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    text = ElementTree.tostring(root, encoding="unicode")
    return re.sub("|".join(colours), lambda found: colours[found[0]], text)


def _tidy(root: ElementTree.Element, name: str) -> None:
    """Leave out what the page says once for all drawings, make ids unique in it, and say what belongs to whom."""
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style")]:
            parent.remove(child)
    used = set(re.findall(r"#([\w-]+)", " ".join(value for each in root.iter() for value in each.attrib.values())))
    for element in root.iter():
        if "d" in element.attrib:
            element.attrib["d"] = " ".join(_rounded(element.attrib["d"]).split())
        for key, value in list(element.attrib.items()):
            if key == "id":
                del element.attrib["id"]
                model, bar, words = value.partition("|")
                if bar:
                    element.attrib |= {f"data-{of}": is_ for of, is_ in (("model", model), ("words", words)) if is_}
                elif value in used:
                    element.attrib["id"] = f"{name}-{value}"
            elif "#" in value and value.lstrip("#") in used:
                element.attrib[key] = f"#{name}-{value[1:]}"
            elif "url(#" in value:
                element.attrib[key] = value.replace("url(#", f"url(#{name}-")
            elif key in ("x", "y", "transform"):
                element.attrib[key] = _rounded(value)


def _rounded(numbers: str) -> str:
    return re.sub(r"-?\d+\.\d{2,}", lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), numbers)
