"""The committed run in the audience world: what had to come out has a figure, an interval and a verdict, met or not."""

from operator import ge, gt, le, lt

import pytest

from polychrome.audience.exact import ideals
from polychrome.audience.world import World
from polychrome.files import read_json
from polychrome.reading import SettingsFile
from tests.reporting.page.tree import ROOT

RUN = ROOT / "results/audience"
HOLDS = {">": gt, ">=": ge, "<": lt, "<=": le}
PRIMARY, VARIETY = "pass_at_10", "distinct_k"


@pytest.fixture(scope="module")
def params():
    """As they were; today's params.yaml may have other keys."""
    return SettingsFile((RUN / "params.yaml").read_text(encoding="utf-8"), "params.yaml").values


@pytest.fixture(scope="module")
def judged():
    return read_json(RUN / "success_criteria.json")["criteria"]


@pytest.fixture(scope="module")
def means():
    return {model: {m: v and v["mean"] for m, v in of.items()} for model, of in comparison()["models"].items()}


def comparison():
    return read_json(RUN / "comparison.json")


def of_kind(params, judged, kind):
    """The criteria of a kind as params.yaml has them, each with its verdict."""
    both = zip(params["experiment"]["criteria"], judged, strict=True)
    return [(asked, found) for asked, found in both if asked["kind"] == kind]


def test_three_seeds_answered_sixty_posts_of_topics_that_nobody_was_trained_on(params):
    family = comparison()["family"]
    assert (family["seeds"], family["posts"], family["samples"]) == ([42, 123, 456], 60, 10)
    assert params["data"]["source"] == "audience"


def test_every_expectation_was_judged_and_the_verdict_follows_from_its_figure(params, judged):
    assert [one["level"] for one in params["experiment"]["criteria"]] == [one["level"] for one in judged]
    for one in judged:
        holds = HOLDS[one["comparison"]](one["value"], one["threshold"])
        assert one["verdict"] == ("pass" if holds and "holds zero" not in one.get("note", "") else "fail"), one["name"]


def test_a_difference_is_that_of_the_two_means_and_lies_in_its_interval(params, judged, means):
    asked = of_kind(params, judged, "above")
    assert {(c["a"], c["b"]) for c, _ in asked} >= {
        ("baseline_warmstart", "grpo_from_baseline"),
        ("set_best_from_baseline", "grpo_from_baseline"),
        ("set_poly_from_polychromic", "grpo_from_polychromic"),
        ("polychromic_warmstart", "baseline_warmstart"),
    }
    for c, found in asked:
        a, b = (means[c[side]][c.get("metric", PRIMARY)] for side in "ab")
        assert found["value"] == pytest.approx(a - b, abs=2e-5), found["name"]
        assert found["low"] <= found["value"] <= found["high"]


def test_the_share_of_the_ideal_is_the_mean_over_the_most_that_any_policy_reaches(params, judged, means):
    world = World.read(ROOT / params["data"]["path"])
    most = max(curve[-1] for curve in ideals(world.written, world.liked, 10).values())
    for c, found in of_kind(params, judged, "share_of_ideal"):
        assert found["value"] == pytest.approx(means[c["a"]][PRIMARY] / most, abs=2e-5)
        assert found["low"] <= found["value"] <= found["high"]


def test_grpo_collapses_onto_few_kinds_and_sets_do_not(means):
    """The claim of the README, from the figures alone."""
    for start in ("baseline", "polychromic"):
        grpo, warm = means[f"grpo_from_{start}"], means[f"{start}_warmstart"]
        assert grpo["pass_at_1"] > warm["pass_at_1"]
        assert grpo[VARIETY] < warm[VARIETY]
        assert means[f"set_poly_from_{start}"][PRIMARY] > max(grpo[PRIMARY], warm[PRIMARY])


def test_every_arm_has_its_sentence_against_decoding_alone(params):
    arms = {one["arm"]: one["sentence"] for one in read_json(RUN / "frontier/frontier.json")["arms"]}
    assert arms.keys() == set(params["models"]) - {*params["untouched"], params["frontier"]["baseline"]}
    page = (RUN / "README.md").read_text(encoding="utf-8")
    assert all(sentence.split(", ", 2)[2][:60] in page for sentence in arms.values())
