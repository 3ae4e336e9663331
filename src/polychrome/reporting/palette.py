"""Colours of drawings and page, legible on light and on dark paper.

Charts are drawn in *stand-ins*, colours that nobody would choose. In the page each becomes a CSS custom property, in a
file of its own the colour that light paper has. On dark paper a mark without a contrast of 3:1 is turned round in
lightness (black becomes white), so that greys stay apart; words are darkened or lightened until they have 4.5:1.
"""

import colorsys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from matplotlib.colors import to_hex, to_rgb

from polychrome.reporting.names import HUMAN, model_colour

PAPERS = {
    "light": {"--paper": "#fbfaf7", "--ink": "#1d1c1a", "--muted": "#68655e", "--rule": "#dfdbd2"},
    "dark": {"--paper": "#14161a", "--ink": "#ece9e2", "--muted": "#a19d94", "--rule": "#33363c"},
}
MARK_CONTRAST, TEXT_CONTRAST = 3.0, 4.5  # WCAG 2.2, 1.4.11 and 1.4.3
INK, MUTED, RULE, PAPER = "#010101", "#010102", "#010103", "#010104"  # stand-ins
_CHROME = {INK: "--ink", MUTED: "--muted", RULE: "--rule", PAPER: "--paper"}


@dataclass(frozen=True, slots=True)
class Palette:
    """The models of a drawing or page in order, and how each is coloured."""

    models: tuple[str, ...]

    def mark(self, model: str) -> str:
        """The stand-in for a model's marks: lines, points, bands."""
        return f"#0203{self.models.index(model):02x}"

    def text(self, model: str) -> str:
        """The stand-in for words in a model's colour."""
        return f"#0204{self.models.index(model):02x}"

    @property
    def properties(self) -> dict[str, str]:
        """Stand-in -> CSS custom property."""
        marks = {self.mark(model): f"--mark-{place}" for place, model in enumerate(self.models)}
        return _CHROME | marks | {self.text(model): f"--text-{place}" for place, model in enumerate(self.models)}

    def colours(self, paper: str) -> dict[str, str]:
        """CSS custom property -> its colour on ``paper``, "light" or "dark"."""
        made = dict(PAPERS[paper])
        for place, model in enumerate(self.models):
            mark = model_colour(model, self.models).lower()
            mark = turned(mark) if paper == "dark" else mark
            made |= {f"--mark-{place}": mark, f"--text-{place}": legible(mark, made["--paper"], TEXT_CONTRAST)}
        return made

    def css(self, paper: str) -> str:
        """The declarations of :meth:`colours`."""
        return "".join(f"{name}:{colour};" for name, colour in self.colours(paper).items())


def palette_of(models: Sequence[str], extra: Iterable[str] = ()) -> Palette:
    """The palette of ``models``, then of ``extra`` arms by name, then of the human replies."""
    return Palette(tuple(dict.fromkeys((*models, *sorted(set(extra) - set(models)), HUMAN))))


def contrast(one: str, other: str) -> float:
    """WCAG 2.2 contrast ratio of two hex colours, 1 to 21."""
    low, high = sorted(map(_luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def turned(colour: str) -> str:
    """``colour`` as dark paper has it: turned round in lightness where it would hardly be seen."""
    if contrast(colour, PAPERS["dark"]["--paper"]) >= MARK_CONTRAST:
        return colour
    hue, lightness, saturation = colorsys.rgb_to_hls(*to_rgb(colour))
    return to_hex(colorsys.hls_to_rgb(hue, 1 - lightness, saturation))


def legible(colour: str, paper: str, ratio: float) -> str:
    """``colour``, its lightness moved away from the paper's no farther than a contrast of ``ratio`` needs."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*to_rgb(colour))
    step = -0.01 if _luminance(paper) > 0.5 else 0.01
    while contrast(colour, paper) < ratio and 0 <= lightness + step <= 1:
        lightness += step
        colour = to_hex(colorsys.hls_to_rgb(hue, lightness, saturation))
    return colour.lower()


def _luminance(colour: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
