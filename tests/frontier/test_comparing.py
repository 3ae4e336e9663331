"""Arms against decoding alone: a planted better arm beats it, its equal is not told apart, a worse one loses."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ttest_rel

from polychrome.bootstrap import draw_rows, percentiles
from polychrome.errors import InputError
from polychrome.evaluation.statistics import holm
from polychrome.files import read_json
from polychrome.frontier.comparing import BEATS, LOSES, OPEN, Contrast, attained, compare, contrast, verdict
from polychrome.frontier.points import Curve, points_file, read_curves
from polychrome.reporting.frontier import write_frontier
from tests.evaluation.fakes import settings
from tests.frontier.made import DECODINGS, POSTS, SAMPLES, TEMPERATURES, params_of, write_model

SEEDS = (1, 2, 3)
ARMS = {  # better, varied
    "baseline": (0.0, 0.0),
    "twin": (0.0, 0.0),
    "varied": (0.1, 0.2),
    "dull": (0.0, -0.2),
    "sharp": (3.0, -0.3),
    "wild": (-3.0, 0.5),
    "lost": (-3.0, -0.4),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """frontier.json of planted arms; the twin is the baseline itself."""
    root = tmp_path_factory.mktemp("frontier")
    for arm, (better, varied) in ARMS.items():
        for seed in SEEDS:
            write_model(root, arm, seed, better, varied, alone=arm == "baseline")
    for seed in SEEDS:
        shutil.copy(points_file("baseline", seed, root), points_file("twin", seed, root))
    compare(params_of(tuple(ARMS), SEEDS), root)
    write_frontier(root)
    assert (root / "frontier.svg").read_text().startswith("<svg ")
    return read_json(root / "frontier.json")


def outcomes(found, arm):
    return {(one["decoding"], one["metric"]): one for one in found["contrasts"] if one["arm"] == arm}


def said(found, arm):
    (one,) = [one for one in found["arms"] if one["arm"] == arm]
    return one["verdict"], one["sentence"]


def by_walking(at, quality, value, steps=4000):
    """The most of ``value`` where quality is ``at`` or better, of many places along the curve; else at its best."""
    walk = np.linspace(0, len(quality) - 1, steps)
    q, v = (np.interp(walk, range(len(quality)), along) for along in (quality, value))
    return v[q >= at].max() if (q >= at).any() else v[q.argmax()]


def test_what_a_curve_attains_is_the_most_of_all_its_points_that_are_good_enough():
    """Also of curves that turn back, as noise makes them."""
    generator = np.random.default_rng(0)
    for points in (1, 2, 5):
        quality, value = generator.random((2, points, 60))
        at = generator.random(60)
        for i, found in enumerate(attained(quality, value, at)):
            assert found == pytest.approx(by_walking(at[i], quality[:, i], value[:, i]), abs=2e-3)


def test_on_a_falling_curve_it_is_the_straight_line_between_two_temperatures():
    quality, value = np.array([[0.5], [0.3], [0.1]]), np.array([[0.2], [0.6], [0.7]])
    each = {0.4: 0.4, 0.3: 0.6, 0.25: 0.625, 0.05: 0.7, 0.9: 0.2}  # below all of it: the hottest; above: the coldest
    assert {at: attained(quality, value, np.array([at]))[0] for at in each} == pytest.approx(each)


def test_the_interval_is_that_of_the_whole_comparison_made_again_for_every_resample(tmp_path):
    """Against a plain loop over drawn posts and seeds: the arm's point, the baseline's curve, the difference."""
    for seed in SEEDS:
        write_model(tmp_path, "baseline", seed)
        write_model(tmp_path, "arm", seed, better=0.1)
    curves = read_curves(("baseline", "arm"), SEEDS, settings(), tmp_path)
    (baseline,), (arm,) = curves.of("baseline"), curves.of("arm")
    place, made = TEMPERATURES.index(0.8), []
    for rows in draw_rows((len(SEEDS), POSTS), 1500, np.random.default_rng(1)):
        mean = {}
        for curve in (baseline, arm):
            for name, values in curve.values.items():
                mean[curve.model, name] = [values[t][np.ix_(*rows)].mean() for t in range(len(TEMPERATURES))]
        at, own = (mean["arm", name][place] for name in ("pass_at_1", "semantic_diversity"))
        made.append(own - by_walking(at, mean["baseline", "pass_at_1"], mean["baseline", "semantic_diversity"]))
    one = contrast(arm, 0.8, baseline, "semantic_diversity", settings(3000))
    assert (one.low, one.high) == pytest.approx(percentiles(np.array(made), 0.95, POSTS), abs=0.005)
    assert one.low < one.difference < one.high
    assert one.reached == pytest.approx(one.value - one.difference)


def test_at_equal_quality_p_is_that_of_a_paired_t_test():
    """Five posts, of one seed and at one temperature: so few that the bootstrap's own error is too small by a tenth."""
    quality, own, other = np.full(5, 0.5), np.array([0.5, 0.9, 0.6, 0.8, 0.4]), np.array([0.4, 0.5, 0.7, 0.5, 0.3])
    arm, curve = (
        Curve(name, "temperature", (0.8,), {"pass_at_1": quality[None, None], "semantic_diversity": values[None, None]})
        for name, values in (("arm", own), ("baseline", other))
    )
    one = contrast(arm, 0.8, curve, "semantic_diversity", settings(20_000))
    assert one.difference == pytest.approx((own - other).mean())
    assert one.p == pytest.approx(ttest_rel(own, other).pvalue, rel=0.03)


def test_a_planted_arm_that_is_more_varied_at_equal_quality_beats_every_way_of_decoding(found):
    verdict, sentence = said(found, "varied")
    assert verdict == BEATS
    assert all(outcomes(found, "varied")[way, "semantic_diversity"]["outcome"] == BEATS for way in DECODINGS)
    assert sentence.startswith("At equal Pass@1, varied beats sampling baseline hotter (semantic diversity +0.")


def test_the_baseline_itself_is_not_told_apart_from_its_own_curve(found):
    verdict, sentence = said(found, "twin")
    assert verdict == OPEN
    hotter = outcomes(found, "twin")["temperature", "semantic_diversity"]
    assert (hotter["difference"], hotter["low"] <= 0 <= hotter["high"]) == (0, True)
    assert "is not told apart from sampling baseline hotter" in sentence


def test_a_planted_arm_that_is_less_varied_does_not_beat(found):
    assert said(found, "dull")[0] == LOSES
    assert said(found, "dull")[1].startswith("At equal Pass@1, dull does not beat sampling baseline hotter (semantic")


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ({("temperature", "variety"): 1, ("mmr", "variety"): 1}, BEATS),
        ({("temperature", "variety"): 1, ("mmr", "variety"): 0}, OPEN),
        ({("temperature", "variety"): 1, ("mmr", "variety"): -1}, LOSES),
        ({("temperature", "variety"): 1, ("temperature", "pass_at_10"): -1}, LOSES),
        ({("temperature", "variety"): 1, ("temperature", "pass_at_10"): 0}, BEATS),
    ],
)
def test_an_arm_beats_decoding_when_every_curve_is_below_it_on_a_metric_and_above_it_on_none(differences, expected):
    made = [
        Contrast("arm", *of, 0.5, 3.0, 3.0 - d, d, d - 0.5, d + 0.5, p=p, beyond=None, p_holm=p)
        for of, d in differences.items()
        for p in [0.001 if d else 1.0]
    ]
    assert verdict("arm", made, "baseline", settings())["verdict"] == expected


def test_beyond_the_curve_only_domination_counts(found):
    """More quality with less variety, and less quality with more variety, say nothing; less of both is a loss."""
    for arm, beyond, outcome in (("sharp", "higher", OPEN), ("wild", "lower", OPEN), ("lost", "lower", LOSES)):
        one = outcomes(found, arm)["temperature", "semantic_diversity"]
        assert (one["beyond"], one["outcome"]) == (beyond, outcome)
        assert one["p_holm"] < 0.05
    cold, *_, hot = (point["semantic_diversity"]["mean"] for point in found["curves"][0]["points"])
    assert outcomes(found, "wild")["temperature", "semantic_diversity"]["reached"] == pytest.approx(hot, abs=1e-5)
    assert outcomes(found, "sharp")["temperature", "semantic_diversity"]["reached"] == pytest.approx(cold, abs=1e-5)
    assert said(found, "sharp")[0] == OPEN
    assert "at higher quality than it reaches: neither dominates" in said(found, "sharp")[1]
    assert "at lower quality than it reaches" in said(found, "lost")[1]


def test_p_is_corrected_over_all_arms_curves_and_metrics(found):
    assert found["family"]["tests"] == len(found["contrasts"]) == (len(ARMS) - 1) * len(DECODINGS) * 2
    expected = holm([one["p"] for one in found["contrasts"]])
    assert [one["p_holm"] for one in found["contrasts"]] == pytest.approx(expected, rel=1e-4)


def test_an_arm_that_is_the_baseline_drawn_again_is_seldom_called_different(tmp_path):
    """Without Holm's correction, 30 comparisons that hold no difference: a test at 5% errs in 1.5 of them."""
    again = [f"again{arm}" for arm in range(15)]
    for model in ("baseline", *again):
        for seed in SEEDS:
            write_model(tmp_path, model, seed)
    curves = read_curves(("baseline", *again), SEEDS, settings(), tmp_path)
    made = [
        contrast(curves.of(model)[0], 0.8, curves.of("baseline")[0], metric, settings(400))
        for model in again
        for metric in ("semantic_diversity", "pass_at_10")
    ]
    assert sum(one.p < 0.05 and not one.low <= 0 <= one.high for one in made) <= 3


def test_variety_is_how_many_kinds_there_are_where_that_is_known(tmp_path):
    for seed in SEEDS:
        path = write_model(tmp_path, "baseline", seed)
        value = json.loads(path.read_text())
        for point in value["points"]:
            point["metrics"]["distinct_k"] = [3.0] * POSTS
        path.write_text(json.dumps(value))
    assert read_curves(("baseline",), SEEDS, settings(), tmp_path).variety == "distinct_k"


def without_variety(path, posts):
    """Nothing but Pass@k is defined for all but these first posts."""
    value = json.loads(path.read_text())
    for point in value["points"]:
        point["metrics"]["semantic_diversity"][posts:] = [None] * (POSTS - posts)
    path.write_text(json.dumps(value))


def test_where_variety_is_not_defined_for_the_language_pass_at_k_alone_is_compared(tmp_path):
    for model in ("baseline", "polychromic"):
        for seed in SEEDS:
            without_variety(write_model(tmp_path, model, seed, alone=model == "baseline"), posts=1)
    found = compare(params_of(("baseline", "polychromic"), SEEDS), tmp_path)
    assert found["variety"] is None
    assert {one["metric"] for one in found["contrasts"]} == {"pass_at_10"}
    assert found["text"].endswith("variety is not defined for this language")
    write_frontier(tmp_path)
    assert "semantic diversity" not in (tmp_path / "frontier.svg").read_text()
    alone = verdict("polychromic", [], "baseline", settings())
    assert alone["sentence"].endswith("is not compared with decoding alone: variety is not defined for this language.")


def test_posts_in_another_script_are_left_out_of_a_curve(tmp_path):
    for seed in SEEDS:
        without_variety(write_model(tmp_path, "baseline", seed), posts=POSTS)
        without_variety(write_model(tmp_path, "arm", seed), posts=POSTS - 5)
    curves = read_curves(("baseline", "arm"), SEEDS, settings(), tmp_path)
    assert curves.variety == "semantic_diversity"
    (arm,), (baseline,) = curves.of("arm"), curves.of("baseline")
    kept, whole = (
        Curve(one.model, one.decoding, one.temperatures, {k: v[..., : POSTS - 5] for k, v in one.values.items()})
        for one in (arm, baseline)
    )
    expected = contrast(kept, 0.8, whole, "semantic_diversity", settings())
    assert contrast(arm, 0.8, baseline, "semantic_diversity", settings()) == expected


def test_all_that_is_missing_or_of_other_posts_is_named(tmp_path):
    for model in ("baseline", "polychromic"):
        write_model(tmp_path, model, 1)
    params = params_of(("baseline", "polychromic", "prompted"), (1, 2))
    with pytest.raises(InputError) as caught:
        compare(params, tmp_path)
    wanted = [("baseline", 2), ("polychromic", 2), ("prompted", 1), ("prompted", 2)]
    assert [one.where for one in caught.value.problems] == [str(points_file(*one, tmp_path)) for one in wanted]
    value = json.loads(points_file("polychromic", 1, tmp_path).read_text())
    points_file("polychromic", 1, tmp_path).write_text(json.dumps(value | {"samples": SAMPLES + 1}))
    with pytest.raises(InputError, match="other posts, samples or temperatures"):
        compare(replace(params, models=("baseline", "polychromic"), seeds=(1,)), tmp_path)
