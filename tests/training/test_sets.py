"""Arms that climb the score of a set: what their advantages are made of, and that they do what they are for."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from polychrome.errors import InputError
from polychrome.measures.encoder import known
from polychrome.measures.partition import same_class_threshold
from polychrome.objectives.sets import set_advantages
from polychrome.pairs.schema import Pair
from polychrome.training.classes import Classes, Remembering
from polychrome.training.diversity import Sets, Validity
from polychrome.training.methods import METHODS, method_of
from polychrome.training.methods.grpo import Rewarded
from polychrome.training.methods.sets import SCORE, SetArm
from tests.encoders import Angles

from .tiny import likes_ascii, sets, train_arm

POSTS = ["post at 0", "post at 90"]
REPLIES = [["it is at 0", "near it 5", "not quite 14", "far off 100"], ["fine at 80", "0", "it is at 85", "wide of 88"]]
PAIRS = [Pair(str(i), str(i), post, "a reply 0", 0.0, "a") for i, post in enumerate(POSTS)]
REWARDS = torch.tensor([[0.1, 0.2, 0.3, 0.9], [0.5, 0.0, 0.4, 0.7]], dtype=torch.float64)


def classes(threshold=10.0, gate=None):
    """Replies are alike within ``threshold`` degrees; the gate is in degrees from the post."""
    vectors = {post: Angles().embed([post])[0].astype(float) for post in POSTS}
    validity = Validity(None if gate is None else float(np.cos(np.radians(gate))), vectors)
    return Classes("partition", Angles(), validity, float(np.cos(np.radians(threshold))))


def asked(method, posts=slice(None), number=0, total=lambda value: value, batches=1):
    """What ``method`` makes of the rewards of POSTS' replies."""
    context = SimpleNamespace(total=total, seed=11, batches=batches)
    of = Rewarded(context, PAIRS[posts], number, SimpleNamespace(texts=REPLIES[posts]), *[REWARDS[posts]] * 2)
    return method.advantages(of)


def method_with(found, objective="set_poly", **changes):
    method = sets(objective, **changes)
    method.classes = found
    return method


# --- classes ------------------------------------------------------------------------------------------------------


def test_a_chain_of_near_replies_is_alike_two_by_two_and_a_reply_that_fails_the_gate_is_alike_to_none():
    first, second = classes(gate=20)(POSTS, REPLIES)
    assert first.tolist() == [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]  # 100 is off the topic at 0
    assert second.tolist() == [[1, 0, 1, 1], [0, 0, 0, 0], [1, 0, 1, 1], [1, 0, 1, 1]]  # "0" is malformed
    assert classes()([], []) == []


def test_the_threshold_and_the_gate_are_those_of_the_arms_own_human_replies():
    pairs = [Pair(str(i), str(i), f"post at {i % 3}", f"some reply {7 * i}", 0.0, "a") for i in range(12)]
    made = Classes.calibrated("partition", Angles(), pairs)
    vectors = Angles().embed([pair.reply for pair in pairs])
    assert made.threshold == same_class_threshold(vectors, [pair.post for pair in pairs])
    assert made.validity.threshold == Validity.calibrated(Angles(), pairs, gate=True).threshold
    with pytest.raises(InputError, match="1 replies to one post"):
        Classes.calibrated("partition", Angles(), pairs[:1])


def test_kinds_are_asked_of_the_audience_and_cost_no_encoder(monkeypatch):
    kind_of = "polychrome.audience.grammar.kind_of"
    monkeypatch.setattr(kind_of, lambda post, reply: -1 if "off" in reply else len(reply) % 8)
    encoder = Angles()
    made = Classes.calibrated("kind", encoder, PAIRS)
    assert [one.tolist() for one in made(POSTS, REPLIES)] == [[2, 1, 4, -1], [2, 1, 3, 2]]
    assert encoder.calls == []
    valid = np.array([[True, False, True, True]] * 2)
    assert [one.tolist() for one in made.of(Sets(encoder, REPLIES, POSTS), valid)] == [[2, -1, 4, -1], [2, -1, 3, 2]]


def test_what_was_embedded_for_classes_is_not_embedded_again_and_always_afresh_for_them():
    encoder = Angles()
    remembering = Remembering(encoder)
    first = remembering.embed(["at 10", "at 20", "at 10"])
    assert remembering.again(["at 20", "at 10"]).tolist() == first[[1, 0]].tolist()
    assert len(encoder.calls) == 1
    remembering.again(["at 20", "at 30"])
    remembering.embed(["at 20"])
    assert encoder.calls[1:] == [["at 20", "at 30"], ["at 20"]]


def test_the_gate_asks_the_encoder_behind_the_memory_which_scripts_it_knows():
    encoder = Angles()
    encoder.knows = lambda text: "far" not in text
    for asked in (encoder, Remembering(encoder)):
        assert known(asked, ["it is at 0", "far off 100"]).tolist() == [True, False]
    found = replace(classes(gate=20), encoder=Remembering(encoder))
    assert np.diagonal(found(POSTS, REPLIES)[0]).tolist() == [1, 1, 1, 1]  # 100 is not asked whether it is on topic


# --- advantages ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", SCORE)
def test_advantages_are_those_of_the_sets_over_the_root_mean_square_of_the_batch(objective):
    found, logged = asked(method_with(classes(gate=20), objective, set_size=3))
    alike = classes(gate=20)(POSTS, REPLIES)
    raw = np.stack([set_advantages(r, c, SCORE[objective], 3) for r, c in zip(REWARDS.numpy(), alike, strict=True)])
    rms = np.sqrt((raw**2).mean())
    assert found.numpy() == pytest.approx(raw / rms)
    assert logged["advantage_rms"] == pytest.approx(rms)
    assert (logged["classes"], logged["unclassed_share"], logged["set_size"]) == (1.0, 0.25, 3.0)


def test_what_is_logged_as_set_score_is_the_mean_over_all_sets():
    _, best = asked(method_with(classes(), "set_best"), posts=slice(1))  # maxima: .2 .3 .9 .3 .9 .9
    assert best["set_score"] == pytest.approx(3.5 / 6)
    _, poly = asked(method_with(classes(), "set_poly"), posts=slice(1))
    pairs = (0.15 * 0.5, 0.2, 0.5, 0.25 * 0.5, 0.55, 0.6)  # 0 and 5, 5 and 14 are one class; 0 and 14 two
    assert poly["set_score"] == pytest.approx(sum(pairs) / 6)


def test_parts_of_a_batch_have_the_advantages_of_the_whole():
    whole, logged = asked(method_with(classes()))
    sums = []
    asked(method_with(classes()), posts=slice(1, 2), total=lambda value: sums.append(value) or 1.0)
    others = iter(sums)
    part, again = asked(method_with(classes()), posts=slice(1), total=lambda value: value + next(others))
    torch.testing.assert_close(part[0], whole[0])
    assert again == pytest.approx(logged)


def test_groups_without_spread_teach_nothing():
    method = method_with(classes(), "set_best")
    context, level = SimpleNamespace(total=float, seed=1, batches=1), 0 * REWARDS + 0.7
    of = Rewarded(context, PAIRS, 0, SimpleNamespace(texts=REPLIES), level, REWARDS)
    assert (method.advantages(of)[0] == 0).all()


def test_the_size_of_a_set_goes_to_its_end_in_equal_steps():
    method = sets(num_generations=8, set_size=4, set_size_end=1)
    assert [method.size(number, 7) for number in range(7)] == [4, 4, 3, 3, 2, 2, 1]
    assert method.size(0, 1) == 4
    assert {sets(set_size=3).size(number, 7) for number in range(7)} == {3}
    late = method_with(classes(), set_size=3, set_size_end=1)
    assert [asked(late, number=number, batches=5)[1]["set_size"] for number in (0, 2, 4)] == [3, 2, 1]


# --- an arm -------------------------------------------------------------------------------------------------------


def test_a_set_must_leave_a_reply_out():
    assert not list(sets(set_size=3).arm.disagreements())
    whole = sets(set_size=4, set_size_end=9).arm
    assert [(problem.where, problem.found) for problem in whole.disagreements()] == [
        ("set_size", "4"), ("set_size_end", "9"),
    ]  # fmt: skip


def test_an_arm_trains_as_params_have_it_from_a_start_that_raised_the_share_of_classes(params_of, workspace):
    params = params_of({"arms.polychromic_warmstart.diversity": "partition"})
    sizes = {
        "objective": "set_best",
        "scale_rewards": "batch",
        "set_size": 3,
        "set_size_end": 1,
        "classes": "partition",
    }
    arm = SetArm(**vars(params.arms["grpo_from_polychromic"]) | sizes)
    params = replace(params, arms={**params.arms, "grpo_from_polychromic": arm})
    for name in ("polychromic_warmstart", "grpo_from_polychromic"):
        train_arm(params, name)
    logs = workspace / "results/training/grpo_from_polychromic/seed-1/plots/metrics/train"
    for name in ("set_score", "classes", "unclassed_share", "advantage_rms"):
        assert len((logs / f"{name}.tsv").read_text().splitlines()) > 2
    logged = [float(line.split("\t")[1]) for line in (logs / "set_size.tsv").read_text().splitlines()[1:]]
    assert (logged[0], logged[-1]) == (3, 1)


def test_every_set_objective_is_a_method():
    assert {objective for objective in METHODS if method_of(objective) is type(sets())} == set(SCORE)


@pytest.mark.parametrize(("objective", "name"), [("set_best", "set_score"), ("set_poly", "set_score")])
def test_an_arm_climbs_its_score(make_run, objective, name):
    method = sets(objective, num_generations=8, set_size=4, loss_type="dr_grpo")
    history = make_run(method, batch_size=12, epochs=16, learning_rate=0.1).train().history
    first, last = (np.mean([row[name] for row in rows]) for rows in (history[:4], history[-4:]))
    assert last > first + 0.05


def test_a_set_score_of_its_own_reply_alone_teaches_what_grpo_teaches_without_its_std(make_run, pairs):
    """n = 1 of set_best: advantages in proportion to r - mean r."""
    run = make_run(sets("set_best", set_size=1))
    step = run.method.step(run.context, pairs[:4], 0)
    rewards = np.array([likes_ascii([""] * 4, rollout["replies"]) for rollout in step.rollouts])
    centred = rewards - rewards.mean(-1, keepdims=True)
    assert step.metrics["advantage_rms"] == pytest.approx(np.sqrt(((centred / 3) ** 2).mean()), rel=1e-6)
    assert step.metrics["set_score"] == pytest.approx(rewards.mean())
