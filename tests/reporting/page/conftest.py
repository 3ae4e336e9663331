"""The run that the report's tests look at."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
from markupsafe import Markup

from polychrome.reporting.page import read_inputs, render, view, write_report
from polychrome.reporting.settings import ReportSettings
from tests.reporting.page.tree import RUN, make_tree

PRICE = ReportSettings(price_per_hour=0.4, currency="EUR")


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A run of the default size, to be looked at only."""
    return make_tree(tmp_path_factory.mktemp("run"), posts=20)


@pytest.fixture(scope="session")
def page(run):
    """Its page, on disk."""
    return write_report(run, **RUN, settings=PRICE)


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """A run of six posts."""
    return make_tree(tmp_path_factory.mktemp("small"))


@pytest.fixture
def tree(small, tmp_path):
    """A copy of it that a test may damage."""
    return shutil.copytree(small, tmp_path / "tree")


@pytest.fixture(scope="session")
def inputs(small):
    """What is read of it."""
    return read_inputs(small, **RUN)


@pytest.fixture
def text_of(monkeypatch):
    """Renders a page without its drawings, which take most of the time."""
    names = ("contrasts", "predicted", "pass", "plane", "training", "ranks", "calibration", "betas")
    svg = Markup("<svg></svg>")
    drawn = dict.fromkeys(names, svg)
    monkeypatch.setattr(view, "drawings", lambda inputs, _: drawn | {"gaming": dict.fromkeys(inputs.gaming, svg)})

    def text(source, timings=None):
        found = source if hasattr(source, "models") else read_inputs(source, **RUN)
        return render(replace(found, timings=timings), PRICE)

    return text
