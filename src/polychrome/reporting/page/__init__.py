"""``results/report.html``: one page that tells a run whole, to be looked at rather than read through.

It opens from disk and asks the network for nothing. Text is put in by jinja2 with autoescape on: what a model wrote
stays text wherever it stands. Drawings are matplotlib's SVG in CSS properties, so one serves light and dark paper, and
every mark says which model it belongs to. The same results give the same bytes, except inside the element ``cost``: it
holds wall times.
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
