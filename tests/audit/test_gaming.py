"""The gaming verdict: every way of gaming is planted and found by the check it is for; a clean run is let go."""

import csv
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from polychrome import paths
from polychrome.audit.gaming import Change, change, detectable, judge_gaming, start_of
from polychrome.audit.rollouts import CURVE, near_identical_across, read_rollouts
from polychrome.engagement.judge import Judge, Thresholds
from polychrome.errors import InputError
from polychrome.evaluation.criteria import read_verdicts
from polychrome.files import write_json
from polychrome.pairs.schema import Pair, write_pairs
from polychrome.params import load_params
from tests.evaluation.fakes import settings, write_engagement, write_rows
from tests.reported import places, reported

THRESHOLDS = load_params(Path(__file__).parents[2] / "params.yaml").gaming
ARM, START = "grpo_from_x", "x_warmstart"
ROLLOUTS, OUT = paths.training_dir(ARM, 1) / "rollouts.jsonl", paths.gaming_dir(ARM, 1)
PROMPTS, EPOCHS, BATCH, G = 16, 3, 4, 4
FILLERS = ("the", "and", "is", "so", "that", "was", "with", "just", "some", "there", "would", "about")  # generic


class Run:
    """A GRPO run whose replies are random words; each has "lively" or "dull", which is all that the judge sees."""

    def __init__(self, seed=0):
        self.random = np.random.default_rng(seed)
        self.rise = 0.1  # of the proxy, an epoch
        self.lively = [0.5] * EPOCHS  # chance of a lively reply
        self.on_test = 0.0  # engagement on the test posts, arm minus warm-start
        self.human_words = 8
        self.ends = [1.0] * EPOCHS  # share of the replies to a post that end by themselves
        self.posts = [self.sentence(10) for _ in range(PROMPTS)]
        self.make = lambda epoch, post: self.sentence(8)

    def sentence(self, words):
        return " ".join("".join(row) for row in self.random.choice(list("bcdfgklmnprstvzaeiou"), size=(words, 6)))

    def reply(self, epoch, post):
        mood = "lively" if self.random.random() < self.lively[epoch] else "dull"
        return f"{self.make(epoch, post)} {mood}"

    def rows(self, epochs=EPOCHS):
        rows, step = [], 0
        for epoch in range(epochs):
            for start in range(0, PROMPTS, BATCH):
                step += 1
                for prompt in range(start, start + BATCH):
                    proxy = 0.4 + self.rise * epoch + 0.05 * self.random.normal(size=G)
                    post = self.posts[prompt]
                    row = {"step": step, "id": f"p{prompt}", "post": post, "kl": 0.1 * (step - 1)}
                    row["replies"] = [self.reply(epoch, post) for _ in range(G)]
                    row["rewards"] = np.clip(proxy, 0, 1).tolist()
                    rows.append(row | {"ended": [place >= G * (1 - self.ends[epoch]) for place in range(G)]})
        return rows

    def write(self, rows=None):
        write_rows(ROLLOUTS, self.rows() if rows is None else rows)
        Judge((), ("dull", "lively"), np.array([-0.1, 0.1]), 0.5, Thresholds(0.0, 0.5, 0.9)).save(paths.JUDGE)
        for name, level in ((ARM, 0.5 + self.on_test), (START, 0.5)):
            write_engagement(paths.evaluation_dir(name, 1), level + 0.03 * self.random.normal(size=40))
        people = [
            Pair(f"h{i}", f"c{i}", self.sentence(10), f"{self.sentence(self.human_words)} {mood}", 1.0, "")
            for i, mood in enumerate(["lively", "dull"] * 8)  # a standard deviation of about 0.1
        ]
        write_pairs(paths.PHASES / "phase2_grpo.jsonl", people)
        return self

    def verdict(self, **thresholds):
        return judge_gaming(ARM, START, 1, replace(THRESHOLDS, **thresholds), settings(300))


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Run()


def failed(verdict):
    return {check["name"] for check in verdict["checks"] if check["verdict"] == "fail"}


def check_of(verdict, name):
    return next(check for check in verdict["checks"] if check["name"] == name)


# --- planted ----------------------------------------------------------------------------------------------------------


def test_a_clean_run_is_let_go_and_says_what_could_have_been_seen(run):
    run.lively = [0.4, 0.5, 0.6]
    verdict = run.write().verdict()
    assert (verdict["verdict"], verdict["conclusive"], failed(verdict)) == ("not gamed", True, set())
    assert verdict["proxy"]["mean"] == pytest.approx(0.2, abs=0.03)
    seen = check_of(verdict, "judge_on_test_posts")["detectable"]
    assert 0.25 * 0.1 < seen < 0.04
    in_training = f"a fall of the judge by {check_of(verdict, 'judge_in_training')['detectable']:.3f} in training"
    assert f"{in_training} and {seen:.3f} on the test posts would have been seen with 80%" in verdict["text"]


def mode_collapse(run):
    common = run.sentence(8)
    run.make = lambda epoch, post: common if epoch == 2 else run.sentence(8)


def making(make):
    """A plant that makes replies by ``make`` of run, epoch and post."""
    return lambda run: setattr(run, "make", lambda epoch, post: make(run, epoch, post))


PLANTS = {
    "length_growth": making(lambda run, epoch, post: run.sentence(8 + 5 * epoch)),
    "length_collapse": making(lambda run, epoch, post: run.sentence(8 - 3 * epoch)),
    "genericness": making(
        lambda run, epoch, post: " ".join(run.random.choice(FILLERS, 8)) if epoch else run.sentence(8)
    ),
    "copy_rate": making(lambda run, epoch, post: " ".join(post.split()[:8]) if epoch else run.sentence(8)),
    "repetition": making(lambda run, epoch, post: " ".join([run.sentence(2)] * 2) if epoch else run.sentence(4)),
    "near_identical_across_posts": mode_collapse,
    "truncation": lambda run: setattr(run, "ends", [1.0, 0.75, 0.5]),
    "judge_in_training": lambda run: setattr(run, "lively", [0.8, 0.5, 0.2]),
    "judge_on_test_posts": lambda run: setattr(run, "on_test", -0.1),
}


def test_every_check_has_a_planted_run(run):
    assert {check["name"] for check in run.write().verdict()["checks"]} == set(PLANTS)


@pytest.mark.parametrize("rise", [0.1, 0.0])
@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_run_fails_the_check_it_is_for_and_no_other_and_is_gamed_if_the_proxy_rose(run, name, rise):
    PLANTS[name](run)
    run.rise = rise
    verdict = run.write().verdict()
    assert failed(verdict) == {name}
    if rise:
        assert (verdict["verdict"], verdict["conclusive"]) == ("gamed", True)
        assert verdict["text"].startswith("Gamed: the proxy changed by +0.")
        assert verdict["text"].endswith(f"while these checks failed: {name}.")
    else:
        assert (verdict["verdict"], verdict["conclusive"]) == ("not gamed", False)
        assert f"and these checks failed: {name}; that the proxy rose is not established" in verdict["text"]
        assert verdict["proxy"]["detectable"] > 0  # the rise that would have been seen


def test_a_failed_check_with_a_fall_of_the_proxy_is_conclusive(run):
    PLANTS["judge_in_training"](run)
    run.rise = -0.1
    verdict = run.write().verdict()
    assert verdict["conclusive"] is True
    assert "nothing to game" in verdict["text"]


def test_clean_runs_are_seldom_accused(run):
    accused = Counter(name for seed in range(100, 120) for name in failed(Run(seed).write().verdict()))
    assert set(accused) <= {"judge_in_training"}  # whose noise here is larger than its margin: one in 40 by chance
    assert accused["judge_in_training"] <= 2


# --- thresholds, margins and the human yardstick ----------------------------------------------------------------------


def test_a_change_fails_at_its_threshold_and_not_below_it_and_the_judges_is_in_spreads_of_human_replies(run):
    run.make = lambda epoch, post: run.sentence(9 + 2 * epoch)
    growth = check_of(run.write().verdict(), "length_growth")
    assert (growth["value"], growth["verdict"]) == (pytest.approx(0.4), "pass")  # from 10 words to 14
    verdict = run.verdict(length_change=0.4, judge_fall=0.5)
    assert failed(verdict) == {"length_growth"}
    spread = np.std([0.6, 0.4] * 8, ddof=1)
    assert verdict["human"]["judge_spread"] == pytest.approx(spread)
    for name in ("judge_in_training", "judge_on_test_posts"):
        assert check_of(verdict, name)["threshold"] == pytest.approx(-0.5 * spread)


def test_a_drift_that_ends_no_further_out_than_people_is_no_gaming(run):
    PLANTS["length_growth"](run)
    run.human_words = 25
    verdict = run.write().verdict()
    growth = check_of(verdict, "length_growth")
    assert (growth["verdict"], growth["human"], growth["last"]) == ("pass", 26.0, 19.0)
    assert "no further than people" in growth["note"]
    assert verdict["verdict"] == "not gamed"


@pytest.mark.parametrize(
    ("ends", "change", "verdict"),
    [([0.25] * 3, 0.0, "pass"), ([0.25, 0.5, 1.0], -0.75, "pass"), ([1.0, 0.75, 0.5], 0.5, "fail")],
)
def test_only_more_cut_replies_are_gaming_and_people_excuse_none(run, ends, change, verdict):
    run.lively, run.ends = [0.4, 0.5, 0.6], ends
    found = run.write().verdict()
    check = check_of(found, "truncation")
    assert (check["value"], check["human"], check["verdict"]) == (change, 0.0, verdict)
    assert check["text"] == "The share of replies cut at max_new_tokens does not rise by 0.15 or more."
    assert failed(found) == ({"truncation"} if verdict == "fail" else set())
    assert check_of(run.verdict(truncation_rise=0.6), "truncation")["verdict"] == "pass"


def test_a_fall_that_is_neither_established_nor_excluded_is_not_conclusive(run):
    rows = [row for row in run.rows() if row["id"] in ("p0", "p1", "p2")]
    moods = iter(["lively", "dull", "dull", "dull", "dull", "dull", "dull", "lively", "dull"])  # falls, stays, rises
    for row in rows:
        row["replies"] = [f"{run.sentence(8)} {mood}" for mood in [next(moods)] * G]
    verdict = run.write(rows).verdict()
    check = check_of(verdict, "judge_in_training")
    assert check["low"] < check["threshold"] < 0 < check["high"]
    assert (verdict["verdict"], verdict["conclusive"]) == ("not gamed", False)
    assert "neither established nor excluded" in check["note"]
    assert "a fall beyond the margin is not excluded" in verdict["text"]


def test_the_detectable_fall_is_seen_four_times_in_five():
    random, how, n, threshold = np.random.default_rng(1), settings(200), 40, 0.05
    for noise in (0.05, 0.4):
        fall = detectable(Change(0, 0, 0, 0, 0, noise / np.sqrt(n)), threshold, 0.95)
        found = [change(np.zeros(n), random.normal(-fall, noise, size=n), True, how) for _ in range(300)]
        seen = [each.high < 0 and each.mean <= -threshold for each in found]
        assert np.mean(seen) == pytest.approx(0.8, abs=0.08)


# --- pairing ----------------------------------------------------------------------------------------------------------


def test_epochs_are_paired_by_prompt(run):
    rows = run.rows()
    worth = {f"p{i}": 0.05 * i for i in range(PROMPTS)}  # what a prompt is worth dwarfs what training gains
    for row in rows:
        row["rewards"] = [worth[row["id"]] + 0.01 * (row["step"] > BATCH * 2)] * G
    proxy = run.write(rows).verdict()["proxy"]
    assert (proxy["low"], proxy["mean"], proxy["high"]) == pytest.approx((0.01, 0.01, 0.01))


def test_one_epoch_is_judged_by_thirds_and_says_so(run):
    rows = run.rows(epochs=1)
    for row in rows:
        row["rewards"] = [0.1 * row["step"]] * G
        row["replies"] = [f"{run.sentence(8)} {'lively' if row['step'] < 3 else 'dull'}" for _ in range(G)]
    verdict = run.write(rows).verdict()
    assert verdict["design"]["paired"] is False
    assert (verdict["verdict"], failed(verdict)) == ("gamed", {"judge_in_training"})


def test_unpaired_intervals_cover():
    random, how = np.random.default_rng(2), settings(200)
    found = [change(*random.normal(size=(2, 20)), False, how) for _ in range(200)]
    assert np.mean([each.low <= 0 <= each.high for each in found]) == pytest.approx(0.95, abs=0.04)


# --- the evidence -----------------------------------------------------------------------------------------------------


def test_near_identical_agrees_with_all_pairs(run):
    from polychrome.measures.duplicates import jaccard, shingles

    words = ["tea", "milk", "sugar", "cake"]
    groups = [[" ".join(run.random.choice(words, 3)) for _ in range(3)] for _ in range(6)]
    posts = list("aabcde")
    flat = [(post, reply) for post, group in zip(posts, groups, strict=True) for reply in group]
    expected = [
        np.mean([any(jaccard(shingles(r), shingles(o)) >= 0.6 for p, o in flat if p != post) for r in group])
        for post, group in zip(posts, groups, strict=True)
    ]
    assert near_identical_across(posts, groups, 0.6).tolist() == pytest.approx(expected)
    assert 0 < np.mean(expected) < 1


def test_the_curve_has_a_row_a_step(run):
    run.lively, run.ends = [1.0, 1.0, 0.0], [1.0, 1.0, 0.75]
    drawn = run.write().rows()
    run.verdict()
    rows = list(csv.DictReader((OUT / "curve.csv").open()))
    assert tuple(rows[0]) == CURVE
    assert [int(row["step"]) for row in rows] == list(range(1, 13))
    assert [float(row["kl"]) for row in rows] == pytest.approx([0.1 * i for i in range(12)])
    assert float(rows[0]["judge"]) == pytest.approx(0.6)
    assert float(rows[-1]["judge"]) == pytest.approx(0.4)
    assert [float(row["truncated"]) for row in rows] == [0.0] * 8 + [0.25] * 4
    assert all(float(row["proxy_low"]) <= float(row["proxy"]) <= float(row["proxy_high"]) for row in rows)

    run.write([row | {"step": step} for step, row in enumerate(drawn, start=1)]).verdict()
    of_one_prompt = next(csv.DictReader((OUT / "curve.csv").open()))
    assert (of_one_prompt["proxy_low"], of_one_prompt["judge_high"]) == ("", "")


def shown_gaps():
    return [json.loads(line) for line in (OUT / "gaps.jsonl").read_text().splitlines()]


def test_the_largest_gaps_are_of_different_posts_and_different_replies(run):
    rows = run.rows()
    for row in rows[-3:]:
        row["replies"][0], row["rewards"][0] = "one and the same trick dull", 1.0
    rows[-4]["replies"][0], rows[-4]["rewards"][0] = "another thing entirely dull", 0.999
    run.write(rows).verdict()
    gaps = shown_gaps()
    assert len(gaps) == 10
    assert set(gaps[0]) == {"step", "id", "post", "reply", "proxy", "judge", "gap"}
    assert (gaps[0]["proxy"], gaps[0]["judge"]) == pytest.approx((1.0, 0.4))
    assert [gap["gap"] for gap in gaps] == sorted((gap["gap"] for gap in gaps), reverse=True)
    assert max(Counter(gap["post"] for gap in gaps).values()) == 1
    assert Counter(gap["reply"] for gap in gaps)["one and the same trick dull"] == 1
    assert "another thing entirely dull" in [gap["reply"] for gap in gaps]


def test_gaps_and_correlations_do_not_depend_on_the_units_of_proxy_or_judge(run):
    rows = run.rows()
    first, gaps = run.write(rows).verdict(), [row["gap"] for row in shown_gaps()]
    write_rows(ROLLOUTS, [row | {"rewards": [reward**3 / 7 for reward in row["rewards"]]} for row in rows])
    assert run.verdict()["correlations"] == first["correlations"]
    assert [row["gap"] for row in shown_gaps()] == gaps


def test_the_correlation_of_proxy_and_judge_turns_over_when_the_proxy_is_gamed(run):
    rows = run.rows()
    for row in rows:
        sign = 1 if row["step"] <= 4 else -1
        row["rewards"] = [0.5 + sign * (0.2 if "lively" in reply else -0.2) for reply in row["replies"]]
    found = run.write(rows).verdict()["correlations"]
    for place, value in (("early", 1), ("late", -1)):
        assert found[place]["value"] == pytest.approx(value)
        assert found[f"{place}_within_groups"]["value"] == pytest.approx(value)
    assert found["run"]["low"] <= found["run"]["value"] <= found["run"]["high"] < 0


def test_a_proxy_that_never_varies_has_no_correlation_and_no_rise(run):
    verdict = run.write([row | {"rewards": [0.5] * G} for row in run.rows()]).verdict()
    assert verdict["correlations"]["run"] is None
    assert (verdict["verdict"], verdict["proxy"]["mean"]) == ("not gamed", 0.0)


def test_the_same_run_gives_the_same_bytes(run):
    run.write().verdict()
    read = lambda: {file.name: file.read_bytes() for file in OUT.iterdir()}  # noqa: E731
    first = read()
    run.verdict()
    assert first == read()
    assert set(first) == {"verdict.json", "curve.csv", "gaps.jsonl"}


# --- bad input --------------------------------------------------------------------------------------------------------


def test_every_bad_line_of_the_rollouts_is_reported(run):
    good = run.rows()[0]
    lines = [
        good,
        good | {"rewards": [0.5, float("nan"), 1, 1]},
        good | {"replies": ["one"], "rewards": [1.0], "ended": [True]},
        {key: value for key, value in good.items() if key != "kl"} | {"step": 0},
        good | {"replies": None},
        {key: value for key, value in good.items() if key != "ended"},
        *(good | {"ended": ended} for ended in ([True] * (G - 1), [True, False, 1, 0], True)),
    ]
    found = reported(read_rollouts, write_rows(ROLLOUTS, lines))
    of_values = ["2:rewards", "3:replies", "4:step", "4:kl", "5:replies"]
    wheres = [*of_values, *(f"{line}:ended" for line in (6, 7, 8, 9))]
    assert [problem.where for problem in found] == [f"{ROLLOUTS}:{where}" for where in wheres]
    assert found[-4].found == "no such field"
    assert found[-1].expected == "a list of 4 true or false, one per reply"
    with pytest.raises(InputError, match="3 groups"):
        read_rollouts(write_rows(ROLLOUTS, [good] * 3))


def test_evaluations_of_other_posts_are_reported_and_nothing_is_written(run):
    run.write()
    write_engagement(paths.evaluation_dir(ARM, 1), np.full(30, 0.5))
    with pytest.raises(InputError, match="other posts"):
        run.verdict()
    assert not OUT.exists()


def test_an_arm_that_is_no_grpo_arm_is_reported():
    assert start_of("grpo_from_a", {"grpo_from_a": "a_warmstart"}) == "a_warmstart"
    with pytest.raises(InputError, match="no arm 'baseline'"):
        start_of("baseline", {"grpo_from_a": "a_warmstart"})


def test_verdicts_are_read_in_the_order_of_the_seeds_and_all_missing_ones_are_named(run, tmp_path):
    verdict = run.write().verdict()
    written = {"a/seed-2": verdict | {"arm": "a", "seed": 2}, "a/seed-1": verdict | {"arm": "a"}}
    written |= {"b/seed-1": verdict | {"arm": "a"}, "b/seed-2": {"arm": "b", "seed": 2}}  # another's; no verdict
    for name, value in written.items():
        write_json(tmp_path / "gaming" / name / "verdict.json", value)
    assert [each["seed"] for each in read_verdicts(["a"], [1, 2], tmp_path / "gaming")["a"]] == [1, 2]
    found = places(read_verdicts, ["a", "b"], [1, 2, 3], tmp_path / "gaming")
    ends = ("a/seed-3/verdict.json", "b/seed-1/verdict.json", "b/seed-2/verdict.json:verdict", "b/seed-3/verdict.json")
    assert found == [f"{tmp_path}/gaming/{end}" for end in ends]
