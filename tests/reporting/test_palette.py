"""Colours: those of the figures, legible on both papers, apart from each other."""

import re

import pytest

from polychrome.reporting.names import HUMAN, MODELS, model_colour
from polychrome.reporting.palette import PAPERS, contrast, legible, palette_of, turned

KNOWN = [model for model in MODELS if model != HUMAN]
PAPER = {name: colours["--paper"] for name, colours in PAPERS.items()}


def test_contrast_is_that_of_wcag():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    assert contrast("#ff0000", "#00ff00") == contrast("#00ff00", "#ff0000")


@pytest.mark.parametrize("paper", PAPERS)
def test_words_in_a_models_colour_can_be_read_on_either_paper(paper):
    told = palette_of(KNOWN).css(paper)
    texts = re.findall(r"--text-\d+:(#[0-9a-f]{6});", told)
    assert len(texts) == len(MODELS)
    assert all(contrast(text, PAPER[paper]) >= 4.5 for text in texts)


def test_marks_on_dark_paper_can_be_seen_and_stay_apart():
    marks = re.findall(r"--mark-\d+:(#[0-9a-f]{6});", palette_of(KNOWN).css("dark"))
    assert len(set(marks)) == len(MODELS)
    assert all(contrast(mark, PAPER["dark"]) >= 3 for mark in marks)
    assert turned("#000000") == "#ffffff"
    assert turned(model_colour("grpo_from_baseline")) == model_colour("grpo_from_baseline")


def test_a_colour_that_is_legible_stays_as_it_is():
    assert legible("#0072B2", PAPER["light"], 4.5) == "#0072b2"
    assert contrast(legible("#E69F00", PAPER["light"], 4.5), PAPER["light"]) == pytest.approx(4.5, abs=0.2)


def test_every_stand_in_is_another_and_stands_for_one_property():
    palette = palette_of(KNOWN, ["control_beta_0"])
    names = [*(palette.mark(m) for m in palette.models), *(palette.text(m) for m in palette.models)]
    assert len(set(names)) == 2 * len(palette.models)
    assert palette.models[-2:] == ("control_beta_0", HUMAN)
    assert palette.properties[palette.mark("zero_shot")] == "--mark-0"
    assert set(palette.properties.values()) == palette.colours("light").keys() == palette.colours("dark").keys()


def test_added_models_take_spare_colours_apart_from_each_other():
    added = ["grpo_drgrpo_from_baseline", "an_arm"]
    colours = {model_colour(model, [*KNOWN, *added]) for model in added}
    assert len(colours) == 2
    assert not colours & {colour for _, colour in MODELS.values()}
    assert len({colour for _, colour in MODELS.values()}) == len({name for name, _ in MODELS.values()}) == len(MODELS)
