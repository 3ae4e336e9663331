"""Drawings: every number is drawn, says whose it is, and the same numbers give the same bytes."""

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from polychrome.reporting import names
from polychrome.reporting.charts import pass_chart, plane_chart, running_mean
from polychrome.reporting.page.charts import contrasts_chart
from polychrome.reporting.palette import palette_of
from polychrome.reporting.svg import in_page

MODELS = [model for model in names.MODELS if model != names.HUMAN]
UNTOUCHED = MODELS[:2]
NAMES = {names.model_name(model) for model in MODELS}
PALETTE = palette_of(MODELS)
SVG = "{http://www.w3.org/2000/svg}"


def curves(models):
    found = {m: [{"k": k, "value": 0.5 + 0.03 * k, "low": 0.4, "high": 0.9} for k in (1, 5, 10)] for m in models}
    return found | {"human": [{"k": 1, "value": 0.5, "low": 0.4, "high": 0.6}]}


@pytest.fixture(scope="module")
def passes():
    """Pass@k of every model, as it goes into the page."""
    return in_page(pass_chart(curves(MODELS), UNTOUCHED, PALETTE), "pass", PALETTE)


def drawn(markup):
    """The two drawings: for a desktop and for a phone."""
    return ElementTree.fromstring(f"<both>{markup}</both>")


def words_in(svg):
    return {"".join(text.itertext()) for text in svg.iter(f"{SVG}text")}


def told(svg):
    return {element.attrib["data-words"] for element in svg.iter() if "data-words" in element.attrib}


def test_pass_at_k_has_every_value_of_every_model_at_the_pointer_and_its_name_at_its_line(passes):
    for svg in drawn(passes):
        assert "baseline \u2192 GRPO: Pass@5 0.650, 0.400 to 0.900" in told(svg)
        assert len([words for words in told(svg) if "Pass@" in words]) == 3 * len(MODELS)
        assert NAMES | {"one human reply"} <= words_in(svg)
        assert {e.attrib["data-model"] for e in svg.iter() if "data-model" in e.attrib} == {*MODELS, "human"}


def test_names_at_line_ends_stand_apart_even_when_the_lines_do_not(passes):
    for svg in drawn(passes):
        ends = [t for t in svg.iter(f"{SVG}text") if "".join(t.itertext()) in NAMES]
        places = sorted((float(t.attrib["x"]), float(t.attrib["y"])) for t in ends)
        assert len(places) == len(MODELS)
        near = [b[1] - a[1] for a, b in pairwise(places) if a[0] == b[0]]
        assert min(near) >= 14


def test_drawings_are_in_properties_of_the_page_and_carry_no_style_or_date_of_their_own(passes):
    assert "var(--mark-0)" in passes
    assert "var(--ink)" in passes
    assert not re.search(r"<style|<metadata|<\?xml|#0[12]0[134]|matplotlib", passes)


def test_the_plane_names_every_model_and_draws_an_arrow_from_each_warm_start():
    ends = {"semantic_diversity_low": 0.6, "semantic_diversity_high": 0.85, "pass_at_1_low": 0.2, "pass_at_1_high": 0.8}
    across, up = (0.7, 0.74, 0.7, 0.72, 0.79, 0.8, 0.65, 0.65), (0.69, 0.61, 0.62, 0.63, 0.38, 0.34, 0.67, 0.68)
    places = zip(MODELS, across, up, strict=True)
    plane = {model: ends | {"semantic_diversity": x, "pass_at_1": y} for model, x, y in places}
    for svg in drawn(in_page(plane_chart(plane, PALETTE), "plane", PALETTE)):
        own = [g for g in svg.iter(f"{SVG}g") if "data-model" not in g.attrib]
        bends = [path for g in own for path in g.findall(f"{SVG}path") if "Q" in path.attrib["d"]]
        assert len(bends) == 2
        assert words_in(svg) >= NAMES
        assert "zero-shot: Pass@1 0.690, semantic diversity 0.700" in told(svg)
        words = [t for t in svg.iter(f"{SVG}text") if "".join(t.itertext()) in NAMES]
        boxes = [box_of(name) for name in words]
        assert len(boxes) == len(MODELS)
        assert not [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if overlap(a, b)]


def box_of(text):
    """left, right, top, bottom of a name, in pixels: a letter of a page's font is about 6.4 wide and 11 high."""
    x, y = (float(text.attrib[name]) for name in ("x", "y"))
    width = 6.4 * len("".join(text.itertext()))
    anchor = re.search(r"text-anchor: (\w+)", text.attrib["style"])[1]
    left = x - {"start": 0, "middle": width / 2, "end": width}[anchor]
    return left, left + width, y - 9, y + 2


def overlap(a, b):
    return a[0] < b[1] and b[0] < a[1] and a[2] < b[3] and b[2] < a[3]


def test_a_difference_is_filled_only_where_it_is_established():
    rows = [
        {"a": "polychromic", "b": "baseline", "metric": "m", "difference": 0.1, "low": 0.0, "high": 0.2, "different": d}
        for d in (True, False)
    ]
    wide, _ = drawn(in_page(contrasts_chart(rows, "m", PALETTE), "contrasts", PALETTE))
    text = ElementTree.tostring(wide, encoding="unicode")
    mark = f"var(--mark-{MODELS.index('polychromic')})"
    assert len(re.findall(rf"fill: {re.escape(mark)}; stroke: {re.escape(mark)}", text)) == 1
    assert len(re.findall(rf"fill: var\(--paper\); stroke: {re.escape(mark)}", text)) == 1


def test_a_running_mean_is_of_a_tenth_of_the_values_and_fewer_at_the_ends():
    assert running_mean([1.0, 2.0, 3.0]) == [1.0, 2.0, 3.0]
    values = [float(i % 2) for i in range(40)]
    assert running_mean(values)[10] == pytest.approx(2 / 5)
    assert running_mean(values)[0] == pytest.approx(1 / 3)
