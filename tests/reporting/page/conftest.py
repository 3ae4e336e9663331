"""The invented run that the report's tests look at."""

from __future__ import annotations

import pytest
from markupsafe import Markup

from polychrome.reporting.page import read_inputs, render, view, write_report
from tests.reporting.page.tree import GRPO, KS, MODELS, SEEDS, UNTOUCHED, make_tree

PRICE = {"price_per_hour": 0.4, "currency": "EUR"}
NAMES = ("contrasts", "predicted", "pass", "plane", "training", "ranks", "calibration", "betas")


def read(root, **more):
    """The inputs of the run under ``root``."""
    wanted = {"models": MODELS, "untouched": UNTOUCHED, "seeds": SEEDS, "ks": KS} | more
    return read_inputs(root / "results", root / "data", **wanted)


def write(root, **more):
    """The page of the run under ``root``, on disk."""
    wanted = {"models": MODELS, "untouched": UNTOUCHED, "seeds": SEEDS, "ks": KS, "timings_dir": root / ".timings"}
    return write_report(root / "results", root / "data", root / "results/report.html", **(wanted | PRICE | more))


@pytest.fixture
def tree(tmp_path):
    """A fresh run that a test may damage."""
    return make_tree(tmp_path)


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A run of the default size, to be looked at only."""
    return make_tree(tmp_path_factory.mktemp("run"), posts=40)


@pytest.fixture(scope="session")
def page(run):
    """Its page, on disk."""
    return write(run)


@pytest.fixture
def text_of(monkeypatch):
    """Renders a page without its drawings, which take most of the time."""
    drawn = dict.fromkeys(NAMES, Markup("<svg></svg>")) | {"gaming": dict.fromkeys(GRPO, Markup("<svg></svg>"))}
    monkeypatch.setattr(view, "drawings", lambda inputs, palette: drawn)
    return lambda inputs, timings=None: render(inputs, timings=timings, **PRICE)
