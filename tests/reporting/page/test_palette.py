"""Colours: those of the figures, legible on both papers, apart from each other."""

import re

import pytest

from polychrome.reporting.figures import COLOURS, HUMAN
from polychrome.reporting.page.palette import PAPERS, contrast, legible, palette_of, turned

MODELS = [model for model in COLOURS if model != HUMAN]


def test_contrast_is_that_of_wcag():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    assert contrast("#ff0000", "#00ff00") == contrast("#00ff00", "#ff0000")


@pytest.mark.parametrize("paper", PAPERS)
def test_words_in_a_models_colour_can_be_read_on_either_paper(paper):
    told = palette_of(MODELS).css(paper)
    texts = re.findall(r"--text-\d+:(#[0-9a-f]{6});", told)
    assert len(texts) == len(COLOURS)
    assert all(contrast(text, PAPERS[paper]) >= 4.5 for text in texts)


def test_marks_on_dark_paper_can_be_seen_and_stay_apart():
    marks = re.findall(r"--mark-\d+:(#[0-9a-f]{6});", palette_of(MODELS).css("dark"))
    assert len(set(marks)) == len(COLOURS)
    assert all(contrast(mark, PAPERS["dark"]) >= 3 for mark in marks)
    assert turned("#000000") == "#ffffff"
    assert turned(COLOURS["grpo_from_baseline"]) == COLOURS["grpo_from_baseline"]


def test_a_colour_that_is_legible_stays_as_it_is():
    assert legible("#0072B2", PAPERS["light"], 4.5) == "#0072b2"
    assert contrast(legible("#E69F00", PAPERS["light"], 4.5), PAPERS["light"]) == pytest.approx(4.5, abs=0.2)


def test_every_stand_in_is_another_and_stands_for_one_property():
    palette = palette_of(MODELS, ["control_beta_0"])
    names = [*(palette.mark(m) for m in palette.models), *(palette.text(m) for m in palette.models)]
    assert len(set(names)) == 2 * len(palette.models)
    assert palette.models[-2:] == ("control_beta_0", HUMAN)
    assert palette.variables[palette.mark("zero_shot")] == "var(--mark-0)"
