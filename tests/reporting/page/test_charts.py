"""Drawings: every number is drawn, says whose it is, and the same numbers give the same bytes."""

import re
from itertools import combinations, pairwise
from xml.etree import ElementTree

import pytest
from matplotlib.transforms import Bbox

from polychrome.reporting import names
from polychrome.reporting.charts import pass_chart, plane_chart, running_mean
from polychrome.reporting.page.charts import DRAWN, contrasts_chart, gaming_chart
from polychrome.reporting.palette import palette_of
from polychrome.reporting.svg import in_page

MODELS = [model for model in names.MODELS if model != names.HUMAN]
NAMES = {names.model_name(model) for model in MODELS}
PALETTE = palette_of(MODELS)
SVG = "{http://www.w3.org/2000/svg}"


def drawn(drawing):
    """The drawing as it goes into the page: for a desktop and for a phone."""
    return ElementTree.fromstring(f"<both>{in_page(drawing, 'name', PALETTE)}</both>")


@pytest.fixture(scope="module")
def passes():
    """Pass@k of every model."""
    curves = {m: [{"k": k, "value": 0.5 + 0.03 * k, "low": 0.4, "high": 0.9} for k in (1, 5, 10)] for m in MODELS}
    curves["human"] = [{"k": 1, "value": 0.5, "low": 0.4, "high": 0.6}]
    return drawn(pass_chart(curves, MODELS[:2], PALETTE))


def words_in(svg):
    """What is written -> the elements that write it."""
    found = {}
    for text in svg.iter(f"{SVG}text"):
        found.setdefault("".join(text.itertext()), []).append(text)
    return found


def told(svg):
    return {element.attrib["data-words"] for element in svg.iter() if "data-words" in element.attrib}


def test_pass_at_k_has_every_value_at_the_pointer_and_names_apart_at_line_ends_even_where_the_lines_are_not(passes):
    for svg in passes:
        assert "baseline \u2192 GRPO: Pass@5 0.650, 0.400 to 0.900" in told(svg)
        assert len([words for words in told(svg) if "Pass@" in words]) == 3 * len(MODELS)
        assert NAMES | {"one human reply"} <= words_in(svg).keys()
        assert {e.attrib["data-model"] for e in svg.iter() if "data-model" in e.attrib} == {*MODELS, "human"}
        ends = [text for name in NAMES for text in words_in(svg)[name]]
        places = sorted((float(text.attrib["x"]), float(text.attrib["y"])) for text in ends)
        assert len(places) == len(MODELS)
        assert min(b[1] - a[1] for a, b in pairwise(places) if a[0] == b[0]) >= 14


def test_drawings_are_in_properties_of_the_page_and_carry_no_style_or_date_of_their_own(passes):
    text = ElementTree.tostring(passes, encoding="unicode")
    assert "var(--mark-0)" in text
    assert "var(--ink)" in text
    assert not re.search(r"style>|metadata|<\?xml|#0[12]0[134]|matplotlib", text)


def test_the_plane_names_every_model_apart_and_draws_an_arrow_from_each_warm_start():
    ends = {"semantic_diversity_low": 0.6, "semantic_diversity_high": 0.85, "pass_at_1_low": 0.2, "pass_at_1_high": 0.8}
    across, up = (0.7, 0.74, 0.7, 0.72, 0.79, 0.8, 0.65, 0.65), (0.69, 0.61, 0.62, 0.63, 0.38, 0.34, 0.67, 0.68)
    places = zip(MODELS, across, up, strict=True)
    plane = {model: ends | {"semantic_diversity": x, "pass_at_1": y} for model, x, y in places}
    for svg in drawn(plane_chart(plane, PALETTE)):
        own = [g for g in svg.iter(f"{SVG}g") if "data-model" not in g.attrib]
        assert len([path for g in own for path in g.findall(f"{SVG}path") if "Q" in path.attrib["d"]]) == 2
        assert "zero-shot: Pass@1 0.690, semantic diversity 0.700" in told(svg)
        boxes = [box_of(text) for name in NAMES for text in words_in(svg)[name]]
        assert len(boxes) == len(MODELS)
        assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))


def box_of(text):
    """Where a name stands, in pixels: a letter of a page's font is about 6.4 wide and 11 high."""
    x, y = (float(text.attrib[name]) for name in ("x", "y"))
    width = 6.4 * len("".join(text.itertext()))
    anchor = re.search(r"text-anchor: (\w+)", text.attrib["style"])[1]
    return Bbox.from_bounds(x - {"start": 0, "middle": width / 2, "end": width}[anchor], y - 9, width, 11)


def test_a_difference_is_filled_only_where_it_is_established():
    row = {"a": "polychromic", "b": "baseline", "metric": "m", "difference": 0.1, "low": 0.0, "high": 0.2}
    wide, _ = drawn(contrasts_chart([row | {"different": different} for different in (True, False)], "m", PALETTE))
    mark = f"var(--mark-{MODELS.index('polychromic')})"
    discs = re.findall(rf"fill: (var\S+); stroke: {re.escape(mark)}", ElementTree.tostring(wide, encoding="unicode"))
    assert sorted(discs) == [mark, "var(--paper)"]


def test_of_a_long_run_evenly_spaced_steps_are_drawn_so_that_many_arms_fit_on_a_page():
    def dots(steps):
        row = {"proxy": 0.5, "judge": 0.5} | {f"{n}_{end}": 0.5 for n in ("proxy", "judge") for end in ("low", "high")}
        curve = [row | {"step": step, "kl": step / 9} for step in range(steps)]
        run = {"verdict": {"human": {"judge": 0.5}}, "curve": curve}
        wide, _ = drawn(gaming_chart("grpo_from_baseline", [run], PALETTE))
        return len([use for use in wide.iter(f"{SVG}use") if "fill: var(--mark" in use.attrib.get("style", "")])

    assert dots(DRAWN) - dots(DRAWN // 2) == 2 * DRAWN // 2  # against step and against KL
    assert dots(3 * DRAWN) == dots(DRAWN)


def test_a_running_mean_is_of_a_tenth_of_the_values_and_fewer_at_the_ends():
    assert running_mean([1.0, 2.0, 3.0]) == [1.0, 2.0, 3.0]
    values = running_mean([float(i % 2) for i in range(40)])
    assert (values[0], values[10]) == pytest.approx((1 / 3, 2 / 5))
