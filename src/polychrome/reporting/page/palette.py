"""Colours of the page: each model as in :mod:`polychrome.reporting.figures`, legible on light and on dark paper.

Charts are drawn once and shown on both papers, so they are drawn in *stand-ins*, colours that nobody would choose, and
each stand-in becomes a CSS custom property when the drawing is put into the page. Marks keep a model's own colour on
light paper. On dark paper a colour without a contrast of 3:1 is turned round in lightness (black becomes white), so
that greys stay apart. Words are darkened or lightened until they have 4.5:1: what WCAG 2.2 asks of graphics (1.4.11)
and of text (1.4.3).
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

PAPERS = {"light": "#fbfaf7", "dark": "#14161a"}
MARK_CONTRAST, TEXT_CONTRAST = 3.0, 4.5  # WCAG 2.2, 1.4.11 and 1.4.3

INK, MUTED, RULE, PAPER, GOOD, POOR = "#010101", "#010102", "#010103", "#010104", "#010105", "#010106"  # stand-ins
_CHROME = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    RULE: "var(--rule)",
    PAPER: "var(--paper)",
    GOOD: "var(--good)",
    POOR: "var(--poor)",
}


@dataclass(frozen=True, slots=True)
class Palette:
    """The models of a page in order, and what each is called and coloured."""

    models: tuple[str, ...]
    labels: Mapping[str, str]
    colours: Mapping[str, str]  # as in reporting/figures.py

    def mark(self, model: str) -> str:
        """The stand-in for a model's marks: lines, points, bands."""
        return f"#0203{self.models.index(model):02x}"

    def text(self, model: str) -> str:
        """The stand-in for words in a model's colour."""
        return f"#0204{self.models.index(model):02x}"

    @property
    def variables(self) -> dict[str, str]:
        """Stand-in -> CSS expression."""
        made = dict(_CHROME)
        for place, model in enumerate(self.models):
            made |= {self.mark(model): f"var(--mark-{place})", self.text(model): f"var(--text-{place})"}
        return made

    def css(self, paper: str) -> str:
        """Declarations of every model's two colours on ``paper``, "light" or "dark"."""
        marks = [turned(self.colours[model]) if paper == "dark" else self.colours[model] for model in self.models]
        return "".join(
            f"--mark-{place}:{mark.lower()};--text-{place}:{legible(mark, PAPERS[paper], TEXT_CONTRAST)};"
            for place, mark in enumerate(marks)
        )


def palette_of(models: Sequence[str], extra: Iterable[str] = ()) -> Palette:
    """The palette of ``models``, then of ``extra`` arms by name, then of the human replies."""
    from polychrome.reporting.figures import HUMAN, colour_of, label_of

    known = tuple(dict.fromkeys((*models, *sorted(set(extra) - set(models)), HUMAN)))
    return Palette(known, {name: label_of(name) for name in known}, {name: colour_of(name, known) for name in known})


def contrast(one: str, other: str) -> float:
    """WCAG 2.2 contrast ratio of two hex colours, 1 to 21."""
    low, high = sorted(map(_luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def turned(colour: str) -> str:
    """``colour`` as dark paper has it: turned round in lightness where it would hardly be seen."""
    if contrast(colour, PAPERS["dark"]) >= MARK_CONTRAST:
        return colour
    hue, lightness, saturation = colorsys.rgb_to_hls(*_channels(colour))
    return _hex(colorsys.hls_to_rgb(hue, 1 - lightness, saturation))


def legible(colour: str, paper: str, ratio: float) -> str:
    """``colour``, its lightness moved away from the paper's no farther than a contrast of ``ratio`` needs."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*_channels(colour))
    step = -0.01 if _luminance(paper) > 0.5 else 0.01
    while contrast(colour, paper) < ratio and 0 <= lightness + step <= 1:
        lightness += step
        colour = _hex(colorsys.hls_to_rgb(hue, lightness, saturation))
    return colour.lower()


def _hex(channels: Iterable[float]) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in channels)


def _channels(colour: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return red, green, blue


def _luminance(colour: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in _channels(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
