"""``results/report.html``: one page that tells a run whole, to be looked at rather than read through.

It opens from disk and asks the network for nothing: style, script, drawings and replies are in it, and its content
security policy forbids the rest. Text is put in by jinja2 with autoescape on; what a model wrote is data, and stays
text wherever it stands.

Drawings are matplotlib's SVG: text stays text, prints sharp, and the same numbers give the same bytes. What libraries
that draw by script would bring (plotly 4.8 MB, bokeh 1.3 MB, altair 0.9 MB, of a page that must stay below 5 MB) a
style sheet does here: colours are CSS properties, so one drawing serves light and dark paper, and every mark says which
model it belongs to, so that a model can be followed through all drawings.

The same results give the same bytes, except inside the element ``cost``: it holds wall times, which are clocks.
"""

from collections.abc import Sequence
from pathlib import Path

from polychrome.files import write_text
from polychrome.reporting.page.inputs import read_inputs
from polychrome.reporting.page.view import render
from polychrome.reporting.settings import ReportSettings


def write_report(
    root: str | Path, models: Sequence[str], untouched: Sequence[str], seeds: Sequence[int], settings: ReportSettings
) -> Path:
    """Write the page of a finished run under ``root`` to ``results/report.html``, atomically; returns its path.

    Raises one InputError naming every file that is missing or damaged; then nothing is written. The controls, the LLM
    judge and single timings may be absent: the page says so.
    """
    out = Path(root) / "results/report.html"
    write_text(out, render(read_inputs(root, models, untouched, seeds), settings))
    return out
