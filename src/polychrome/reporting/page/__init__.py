"""``results/report.html``: one page that tells a run whole, to be looked at rather than read through.

It opens from disk and asks the network for nothing: style, script, drawings and replies are in it, and its content
security policy forbids the rest. Text is put in by jinja2 with autoescape on; what a model wrote is data, and stays
text wherever it stands.

Drawings are matplotlib's SVG. Weighed beside it, by what each puts into a page that must stay below 5 MB with 1 MB of
replies in it:

==================  ==========  =========================================================================
library             script      why not, or why
==================  ==========  =========================================================================
plotly 7.1          4.8 MB      over the budget before the first number
bokeh 3.9           1.3 MB      draws on a canvas when opened: nothing to read aloud, nothing without a script
altair + vl-convert 0.9 MB      draws when opened; a second colour scheme needs a second drawing; 33 MB to install
matplotlib 3.11     none        here already; text stays text, prints sharp, same numbers give same bytes
==================  ==========  =========================================================================

What the others do by script, a style sheet does here: colours are CSS properties, so one drawing serves light and dark
paper, and every mark says which model it belongs to, so that a model can be followed through all drawings.

The same results give the same bytes, except inside the element ``cost``: it holds wall times, which are clocks.
:func:`render` with ``timings=None`` leaves them out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from polychrome.files import write_text
from polychrome.reporting.page.inputs import Inputs, read_inputs

__all__ = ["LIMIT", "Inputs", "read_inputs", "render", "write_report"]

LIMIT = 5_000_000  # bytes


def write_report(
    results: str | Path = "results",
    data: str | Path = "data",
    out: str | Path = "results/report.html",
    *,
    models: Sequence[str],
    untouched: Sequence[str],
    seeds: Sequence[int],
    ks: Sequence[int],
    price_per_hour: float,
    currency: str,
    timings_dir: str | Path = ".timings",
) -> Path:
    """Write the page of a finished run to ``out``, atomically; returns its path.

    ``results`` and ``data`` are folders as the stages leave them. ``price_per_hour`` is of the machine, in
    ``currency``, >= 0. Raises one InputError naming every file that is missing or damaged; then nothing is written.
    ``results/controls``, ``results/llm_judge`` and single timings may be absent: the page says so.
    """
    from polychrome.errors import InputError
    from polychrome.reporting.page.cost import read_timings

    problems = []
    inputs, timings = None, {}
    try:
        inputs = read_inputs(results, data, models=models, untouched=untouched, seeds=seeds, ks=ks)
    except InputError as error:
        problems += error.problems
    try:
        timings = read_timings(timings_dir)
    except InputError as error:
        problems += error.problems
    if inputs is None or problems:
        raise InputError(problems)
    write_text(out, render(inputs, timings=timings, price_per_hour=price_per_hour, currency=currency))
    return Path(out)


def render(
    inputs: Inputs,
    *,
    timings: Mapping[str, tuple[float, str]] | None,
    price_per_hour: float,
    currency: str,
) -> str:
    """The page as text. ``timings``: run -> seconds and machine; None leaves the element ``cost`` empty.

    Raises InputError when the page would be larger than :data:`LIMIT`.
    """
    from polychrome.errors import bad
    from polychrome.reporting.page.cost import cost_of
    from polychrome.reporting.page.view import fill

    cost = None if timings is None else cost_of(timings, inputs, price_per_hour, currency)
    page = fill(inputs, cost)
    size = len(page.encode())
    if size >= LIMIT:
        remedy = "Compare fewer models, or fewer steps, in one report."
        raise bad("the report", f"{size} bytes", f"less than {LIMIT}", remedy)
    return page
