"""Colours: those of the figures, legible on both papers, apart from each other."""

import pytest

from polychrome.reporting.names import HUMAN, MODELS, model_colour
from polychrome.reporting.palette import PAPERS, contrast, legible, palette_of, turned

KNOWN = [model for model in MODELS if model != HUMAN]
PALETTE = palette_of(KNOWN, ["control_beta_0"])


def test_contrast_is_that_of_wcag():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    assert contrast("#ff0000", "#00ff00") == contrast("#00ff00", "#ff0000")


@pytest.mark.parametrize("paper", PAPERS)
def test_words_can_be_read_on_either_paper_and_marks_seen_on_dark_and_told_apart(paper):
    colours = PALETTE.colours(paper)
    assert PALETTE.css(paper) == "".join(f"{name}:{colour};" for name, colour in colours.items())
    marks, texts = ([colours[f"--{kind}-{i}"] for i in range(len(PALETTE.models))] for kind in ("mark", "text"))
    assert all(contrast(text, colours["--paper"]) >= 4.5 for text in texts)
    assert len(set(marks)) == len(marks)
    assert paper == "light" or all(contrast(mark, colours["--paper"]) >= 3 for mark in marks)


def test_a_colour_that_can_be_seen_stays_as_it_is_and_another_moves_no_farther_than_it_must():
    light = PAPERS["light"]["--paper"]
    assert legible("#0072B2", light, 4.5) == "#0072b2"
    assert contrast(legible("#E69F00", light, 4.5), light) == pytest.approx(4.5, abs=0.2)
    assert turned(model_colour("grpo_from_baseline")) == model_colour("grpo_from_baseline")
    assert turned("#000000") == "#ffffff"


def test_every_stand_in_is_another_and_stands_for_one_property():
    assert PALETTE.models == (*KNOWN, "control_beta_0", HUMAN)
    assert PALETTE.properties[PALETTE.mark("zero_shot")] == "--mark-0"
    assert len(PALETTE.properties) == len(set(PALETTE.properties.values())) == 4 + 2 * len(PALETTE.models)
    assert set(PALETTE.properties.values()) == PALETTE.colours("light").keys() == PALETTE.colours("dark").keys()


def test_every_model_has_a_name_and_colour_of_its_own_and_added_ones_take_spare_colours():
    colours, added = [colour for _, colour in MODELS.values()], ["grpo_drgrpo_from_baseline", "an_arm"]
    colours += [model_colour(model, [*KNOWN, *added]) for model in added]
    assert len(set(colours)) == len(colours)
    assert len({name for name, _ in MODELS.values()}) == len(MODELS)
