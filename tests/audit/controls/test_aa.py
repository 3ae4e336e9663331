"""A/A: the rule of compare passes, and every rule that is broken in a way one might break it fails."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import binom, mannwhitneyu

from polychrome.audit.controls.aa import (
    Population,
    family_control,
    measure,
    plain_control,
    population,
    rate_interval,
    simulate,
)
from polychrome.audit.controls.record import AS_EXPECTED, NOT_AS_EXPECTED, NOT_MEASURED
from polychrome.engagement.ruler import FittedRuler
from polychrome.evaluation.contrasts import Contrast, all_contrasts
from polychrome.evaluation.metrics import contrasted
from polychrome.evaluation.statistics import wilcoxon
from polychrome.measures.passk import pass_at_k
from tests.evaluation.fakes import EXPERIMENT, WordEncoder, length_judge, settings, write_rows
from tests.reported import places

SETTINGS = settings()
POSTS, SETS, REPLICATES = 30, 12, 150


def world(seeds=3, of_seeds=0.0, seed=0):
    """Sets of an arm whose posts differ much, and whose seeds differ by ``of_seeds`` standard deviations of noise."""
    generator = np.random.default_rng(seed)
    shape = (seeds, POSTS, SETS)
    common = 2.0 * generator.normal(size=(1, POSTS, 1)) + of_seeds * generator.normal(size=(seeds, 1, 1))
    own = {name: common + generator.normal(size=shape) for name in contrasted(SETTINGS) if name != "cross_entropy"}
    passing = generator.binomial(10, generator.beta(0.6, 1.2, size=(1, POSTS, 1)), size=shape)
    own |= {f"pass_at_{k}": pass_at_k(10, passing, k) for k in (1, 10)}
    own["cross_entropy"] = np.broadcast_to(generator.normal(size=(1, POSTS, 1)), shape)
    return Population("arm", own, own, dict.fromkeys(own, 1.0))


@pytest.fixture(scope="module")
def rates():
    return simulate([world(seed=1)], EXPERIMENT, SETTINGS, replicates=REPLICATES)


def test_the_rule_of_compare_passes_both_controls(rates):
    assert plain_control(rates, SETTINGS).verdict == AS_EXPECTED
    assert family_control(rates, "Q1 to Q4", 0.05, "replies").verdict == AS_EXPECTED
    assert rates.plain_test["engagement"] > 0  # it does err now and then
    assert rates.plain_test["cross_entropy"] == 0


def without_holm(results, pairs, settings):
    contrasts = all_contrasts(results, pairs, settings)
    for contrast in contrasts:
        contrast.p_holm = contrast.effect.p
    return contrasts


def first_pair_by(test):
    """A rule that looks at one pair of models alone, with p from ``test`` of a and b (seeds, posts)."""

    def rule(results, pairs, settings):
        polychromic, baseline = (results.values[model] for model in pairs[0])
        return [
            Contrast("a", "b", metric, SimpleNamespace(p=test(polychromic[metric], baseline[metric])))
            for metric in contrasted(settings)
        ]

    return rule


def test_a_rule_without_holms_correction_fails_the_family():
    found = simulate([world()], EXPERIMENT, SETTINGS, replicates=50, rule=without_holm)
    assert family_control(found, "Q1 to Q4", 0.05, "replies").verdict == NOT_AS_EXPECTED


def unpaired(a, b):
    return float(mannwhitneyu(a.mean(axis=0), b.mean(axis=0)).pvalue)


def posts_thrice(a, b):
    return wilcoxon(np.tile((a - b).mean(axis=0), 3))[0]


@pytest.mark.parametrize(("test", "errs"), [(unpaired, "seldom"), (posts_thrice, "often")])
def test_a_rule_whose_test_errs_too_seldom_or_too_often_fails(test, errs):
    found = simulate([world()], EXPERIMENT, SETTINGS, replicates=REPLICATES, rule=first_pair_by(test))
    control = plain_control(found, SETTINGS)
    assert control.verdict == NOT_AS_EXPECTED
    assert control.high < 0.05 if errs == "seldom" else control.low > 0.05


def test_seeds_that_matter_little_pass_and_a_rule_that_ignores_them_fails_where_they_matter_much():
    little = simulate([world(seeds=6, of_seeds=0.1)], EXPERIMENT, SETTINGS, replicates=60, own_seeds=True)
    assert family_control(little, "Q1 to Q4", 0.05, "seeds").verdict == AS_EXPECTED

    def ignoring(results, pairs, settings):
        flat = {
            model: {name: values.reshape(1, -1) for name, values in metrics.items()}
            for model, metrics in results.values.items()
        }
        return all_contrasts(replace(results, values=flat, seeds=(0,)), pairs, settings)

    much = simulate([world(of_seeds=1.0)], EXPERIMENT, SETTINGS, replicates=40, own_seeds=True, rule=ignoring)
    assert family_control(much, "Q1 to Q4", 0.05, "seeds").verdict == NOT_AS_EXPECTED


def test_the_interval_of_a_rate_is_exact():
    """Its ends are the rates at which a count so extreme has a chance of 1 in 40."""
    low, high = rate_interval(3 / 40, 40)
    assert (binom.sf(2, 40, low), binom.cdf(3, 40, high)) == pytest.approx((0.025, 0.025))
    assert (rate_interval(0.0, 20)[0], rate_interval(1.0, 20)[1]) == (0, 1)


def evaluation(folder, seed, posts=6, n=4):
    generator = np.random.default_rng(seed)
    words = ("a", "so", "much", "fun", "what", "where", "I", "you", "like", "hike")

    def reply():
        scores = {name: float(generator.uniform()) for name in ("engagement", "relevance")}
        of_gate = {"well_formed": True, "failures": [], "passes": bool(generator.uniform() < 0.5)}
        return {"text": " ".join(generator.choice(words, size=5))} | of_gate | scores

    rows = [{"post": f"post {i}", "human": reply(), "replies": [reply() for _ in range(n)]} for i in range(posts)]
    return write_rows(folder / "replies.jsonl", rows), rows


RULER = FittedRuler(length_judge())
SMALL = settings(50, ks=(1, 4))


def measured(root, arms, seeds, **sizes):
    folders = {arm: [root / arm / f"seed-{seed}" for seed in seeds] for arm in arms}
    return measure(folders, RULER, WordEncoder(), EXPERIMENT, SMALL, **sizes)


def test_sets_are_drawn_from_the_replies_to_the_same_post_by_the_same_seed(tmp_path):
    rows = [evaluation(tmp_path / f"seed-{seed}", seed)[1] for seed in (1, 2)]
    drawn = population("arm", [tmp_path / "seed-1", tmp_path / "seed-2"], RULER, WordEncoder(), SMALL, sets=5)
    assert drawn.own["engagement"].shape == (2, 6, 5)
    for seed, of_seed in enumerate(rows):
        for post, row in enumerate(of_seed):
            values = [reply["engagement"] for reply in row["replies"]]
            sets = drawn.own["engagement"][seed, post]
            assert ((sets >= min(values)) & (sets <= max(values))).all()
            passing = any(reply["passes"] for reply in row["replies"])
            assert set(drawn.own["pass_at_4"][seed, post]) <= ({0.0, 1.0} if passing else {0.0})
    assert all(0 <= weight <= 1 for weight in drawn.weights.values())


def test_the_seeds_own_sets_are_drawn_as_often_as_seeds_differ_beyond_noise(tmp_path):
    for seed in (1, 2, 3):
        _, rows = evaluation(tmp_path / "noise" / f"seed-{seed}", seed, posts=30)
        for reply in (reply for row in rows for reply in row["replies"]):
            reply["engagement"] += seed
        write_rows(tmp_path / "shift" / f"seed-{seed}" / "replies.jsonl", rows)
    weight = {
        name: population(
            "arm", [tmp_path / name / f"seed-{s}" for s in (1, 2, 3)], RULER, WordEncoder(), SMALL, 4
        ).weights
        for name in ("noise", "shift")
    }
    assert weight["shift"]["engagement"] == 1.0
    assert weight["noise"]["cross_entropy"] == 0.0


def test_one_seed_leaves_the_question_of_seeds_unmeasured(tmp_path):
    evaluation(tmp_path / "arm" / "seed-1", 1)
    controls, details = measured(tmp_path, ["arm"], [1], replicates=5, sets=3)
    assert controls[-1].verdict == NOT_MEASURED
    assert controls[-1].value is None
    assert details["replies"]["replicates"] == 5
    json.dumps(details, allow_nan=False)


def test_several_seeds_are_measured_and_repeat(tmp_path):
    for seed in (1, 2):
        evaluation(tmp_path / "arm" / f"seed-{seed}", seed)
    run = lambda: measured(tmp_path, ["arm"], [1, 2], replicates=2, sets=2)  # noqa: E731
    controls, details = run()
    assert [c.name for c in controls] == ["aa_replies_plain_test", "aa_replies_rule", "aa_seeds_rule"]
    assert (controls, details) == run()


def test_every_arm_and_seed_without_an_evaluation_is_named(tmp_path):
    evaluation(tmp_path / "arm" / "seed-1", 1)
    absent = [f"{tmp_path}/{run}" for run in ("arm/seed-2", "other/seed-1", "other/seed-2")]
    assert places(measured, tmp_path, ["arm", "other"], [1, 2]) == absent
