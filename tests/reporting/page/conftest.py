"""The run that the report's tests look at."""

import shutil

import pytest
from markupsafe import Markup

from polychrome.reporting.page import view, write_report
from polychrome.reporting.page.inputs import read_inputs
from polychrome.reporting.settings import ReportSettings
from tests.reporting.page.tree import RUN, make_tree

PRICE = ReportSettings(price_per_hour=0.4, currency="EUR")


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A run to be looked at only."""
    return make_tree(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def page(run):
    """Its page, on disk."""
    return write_report(run, **RUN, settings=PRICE)


@pytest.fixture(scope="session")
def inputs(run):
    """What is read of it."""
    return read_inputs(run, **RUN)


@pytest.fixture
def tree(run, tmp_path):
    """A copy of it, without a page, that a test may damage."""
    return shutil.copytree(run, tmp_path / "tree", ignore=shutil.ignore_patterns("report.html"))


@pytest.fixture
def text_of(monkeypatch):
    """Renders a page without its drawings, which take most of the time."""
    names = ("contrasts", "predicted", "pass", "plane", "frontier", "training", "ranks", "calibration", "betas")
    drawn = dict.fromkeys(names, Markup("<svg></svg>"))
    monkeypatch.setattr(view, "drawings", lambda inputs, _: drawn | {"gaming": dict.fromkeys(inputs.gaming, "")})
    return lambda source: view.render(source if hasattr(source, "models") else read_inputs(source, **RUN), PRICE)
