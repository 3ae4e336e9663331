"""``results/report.html``: one page that tells a run whole, to be looked at rather than read through.

It opens from disk and asks the network for nothing: style, script, drawings and replies are in it, and its content
security policy forbids the rest. Text is put in by jinja2 with autoescape on; what a model wrote is data, and stays
text wherever it stands.

Drawings are matplotlib's SVG: text stays text, prints sharp, and the same numbers give the same bytes. What libraries
that draw by script would bring (plotly 4.8 MB, bokeh 1.3 MB, altair 0.9 MB, of a page that must stay below 5 MB) a
style sheet does here: colours are CSS properties, so one drawing serves light and dark paper, and every mark says which
model it belongs to, so that a model can be followed through all drawings.

The same results give the same bytes, except inside the element ``cost``: it holds wall times, which are clocks.
Without timings it is left empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from polychrome.errors import bad
from polychrome.files import write_text
from polychrome.reporting.page.inputs import Inputs, read_inputs
from polychrome.reporting.page.view import fill
from polychrome.reporting.settings import ReportSettings

__all__ = ["LIMIT", "Inputs", "read_inputs", "render", "write_report"]

LIMIT = 5_000_000  # bytes


def write_report(
    root: str | Path = ".",
    *,
    models: Sequence[str],
    untouched: Sequence[str],
    seeds: Sequence[int],
    ks: Sequence[int],
    settings: ReportSettings,
) -> Path:
    """Write the page of a finished run under ``root`` to ``results/report.html``, atomically; returns its path.

    Raises one InputError naming every file that is missing or damaged; then nothing is written. The controls, the LLM
    judge and single timings may be absent: the page says so.
    """
    inputs = read_inputs(root, models=models, untouched=untouched, seeds=seeds, ks=ks)
    out = Path(root) / "results/report.html"
    write_text(out, render(inputs, settings))
    return out


def render(inputs: Inputs, settings: ReportSettings) -> str:
    """The page as text. Raises InputError when it would be larger than :data:`LIMIT`, or when a file lacks a field."""
    page = fill(inputs, settings)
    size = len(page.encode())
    if size >= LIMIT:
        remedy = "Compare fewer models, or fewer steps, in one report."
        raise bad("the report", f"{size} bytes", f"less than {LIMIT}", remedy)
    return page
