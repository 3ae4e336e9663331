"""Each objective does what it is for, and how a batch is cut into parts changes nothing."""

from dataclasses import replace
from functools import partial
from unittest import mock
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from polychrome.rewards.composite import GroupBonus
from polychrome.training.methods.cross_entropy import CrossEntropy
from polychrome.training.summary import reward_gain

from .tiny import KIN, LetterEncoder, grpo, kin, likes_ascii, polychromic, sets, tempered

LOSSES = ("grpo", "bnpo", "dr_grpo", "dapo")


def mean(history, name: str) -> float:
    return float(np.mean([row[name] for row in history]))


# --- what an objective is for -----------------------------------------------------------------------------------


def test_cross_entropy_falls(make_run):
    history = make_run(epochs=12).train().history
    assert mean(history[-3:], "cross_entropy") < 0.9 * mean(history[:3], "cross_entropy")


def test_grpo_climbs_its_reward_while_its_reference_stays_as_it_was_to_the_bit(make_run):
    run = make_run(grpo(num_generations=8), batch_size=12, epochs=16, learning_rate=0.1)
    before = {name: tensor.clone() for name, tensor in run.policy.named_parameters() if ".reference." in name}
    assert before
    history = run.train().history
    gain = reward_gain(history, seed=0)["reward_gain"]
    assert gain["low"] > 0.05
    assert mean(history[-4:], "reward") > mean(history[:4], "reward") + 0.05
    assert history[0]["kl"] < 1e-4 < 0.5 < history[-1]["kl"]  # the policy has left the reference behind
    assert all(torch.equal(before[name], tensor) for name, tensor in run.policy.named_parameters() if name in before)


def test_a_huge_beta_keeps_grpo_at_its_reference(make_run):
    free, held = (
        make_run(grpo(beta=beta), batch_size=12, epochs=10, learning_rate=3e-3).train().history for beta in (0.0, 1e4)
    )
    assert held[-1]["kl"] < 0.02 * free[-1]["kl"]


@pytest.mark.parametrize("kind", ["semantic", "partition"])
def test_polychromic_training_raises_the_diversity_of_sets(make_run, kind):
    method = polychromic(lambda_=1000.0, posts_per_step=12, samples=8, diversity=kind)
    run = make_run(method, batch_size=12, epochs=14, learning_rate=0.1)

    def diversity() -> float:  # always from the same random numbers
        of_many = polychromic(samples=24, posts_per_step=12, diversity=kind)
        return of_many.step(run.context, run.pairs, 0).metrics["diversity"]

    before = diversity()
    run.train()
    assert diversity() > before + 0.06


def test_every_polychromic_step_says_the_share_of_the_gradient_that_diversity_contributes(make_run):
    shares = [
        [row["diversity_gradient_share"] for row in make_run(polychromic(lambda_=lambda_)).train().history]
        for lambda_ in (0.01, 20.0)
    ]
    assert 0 < max(shares[0]) < 0.1 < 0.8 < min(shares[1]) < 1
    odds = [share[0] / (1 - share[0]) for share in shares]
    assert odds[1] == pytest.approx(2000 * odds[0], rel=1e-3)  # in proportion to lambda


def test_the_reference_is_scored_without_dropout(make_run, pairs):
    run = make_run(grpo(beta=1.0))
    for layer in (m for m in run.policy.modules() if hasattr(m, "lora_dropout")):
        layer.lora_dropout = torch.nn.ModuleDict({name: torch.nn.Dropout(0.5) for name in layer.lora_A})
    run.policy.train()
    piece = run.method.step(run.context, pairs, 0).pieces[0]
    run.policy.eval()
    _, metrics = piece.loss(*run.scorer(piece.packed, piece.temperature)[:2])
    assert float(metrics["kl"]) < 1e-4  # policy and reference are the same weights


# --- parts add up to the whole ----------------------------------------------------------------------------------


CUT = {"cross_entropy": CrossEntropy, "polychromic": polychromic, "tempered": tempered}
CUT |= {kind: partial(grpo, loss_type=kind, beta=0.1) for kind in LOSSES}
CUT |= {"set_poly": sets, "partition": partial(polychromic, diversity="partition")}
CUT |= {kind: partial(kin, kind) for kind in KIN}


@pytest.mark.parametrize("kind", CUT)
def test_micro_batches_add_up(make_run, pairs, kind):
    whole, *parts = (
        make_run(CUT[kind](), pairs=pairs[:10], gradient_accumulation=count, batch_size=5, learning_rate=1e-3)
        for count in (1, 2, 4)
    )
    expected = whole.train().history
    for part in parts:
        for row, wanted in zip(part.train().history, expected, strict=True):
            assert row.pop("rollouts", None) == wanted.get("rollouts")
            assert row == {name: pytest.approx(wanted[name], abs=1e-5, rel=1e-5) for name in row}
            assert wanted.keys() - row.keys() <= {"rollouts"}
        for name, tensor in whole.parameters.items():
            torch.testing.assert_close(part.parameters[name], tensor, rtol=1e-5, atol=1e-5)


def test_several_steps_on_one_batch_of_rollouts_move_the_ratio(make_run):
    state = make_run(grpo(num_iterations=3), batch_size=12, epochs=2, learning_rate=3e-2).train()
    assert state.step == 6
    clipped = [row["clip_fraction"] for row in state.history]
    assert clipped[0] == clipped[3] == 0  # the first step on fresh rollouts is on-policy
    assert min(clipped[2], clipped[5]) > 0
    assert state.history[0]["reward"] == state.history[2]["reward"] != state.history[3]["reward"]
    assert ["rollouts" in row for row in state.history] == [True, False, False] * 2  # counted once a rollout


# --- what is climbed ----------------------------------------------------------------------------------------------


def test_what_was_drawn_is_kept_with_its_rewards(make_run):
    first = make_run(grpo(), batch_size=4).train().history[0]
    for rollout in first["rollouts"]:
        assert rollout["rewards"] == pytest.approx(likes_ascii([""] * 4, rollout["replies"]), rel=1e-5)
        assert len(rollout["replies"]) == len(rollout["ended"]) == 4
    assert [r["id"] for r in first["rollouts"]] == sorted(r["id"] for r in first["rollouts"])
    assert np.mean([r["rewards"] for r in first["rollouts"]]) == pytest.approx(first["reward"], rel=1e-5)


def test_a_reward_that_knows_who_reads_gets_whole_groups_and_a_stream_a_post(make_run, pairs):
    asked = []

    class Visited:
        def visited(self, posts, groups, streams):
            asked.append((posts, groups, streams))
            return np.full((len(groups), 4), 0.25)

    run = make_run(grpo(Visited()))
    step = run.method.step(run.context, pairs[:2], 3)
    run.method.validate(run.context, pairs[:1])
    posts, groups, streams = asked[0]
    assert posts == [pair.post for pair in pairs[:2]]
    assert groups == [rollout["replies"] for rollout in step.rollouts]
    assert streams == [(11, "grpo", 3, pair.id) for pair in pairs[:2]]
    assert asked[1][2] == [(11, "validation", pairs[0].id)]
    assert step.metrics["reward"] == 0.25


def advantages_of(make_run, pairs, **changes):
    """What the method makes advantages of, (posts, 4), on one batch."""
    run = make_run(grpo(**changes))
    seen = []
    with mock.patch("polychrome.objectives.grpo.group_advantages", lambda r, scale: seen.append(r) or r * 0):
        run.method.step(run.context, pairs, 3)
    return seen[0]


def test_shuffled_rewards_are_the_same_numbers_dealt_out_at_random(make_run, pairs):
    true, dealt, again = (advantages_of(make_run, pairs, shuffle_rewards=on) for on in (False, True, True))
    assert sorted(true.flatten().tolist()) == sorted(dealt.flatten().tolist())
    assert not torch.equal(true, dealt)
    assert torch.equal(dealt, again)


def test_the_bonus_changes_what_is_climbed_and_not_what_is_logged(make_run, pairs):
    bonus = GroupBonus(LetterEncoder(), "additive", 1.0)
    plain, raised = (advantages_of(make_run, pairs, bonus=given) for given in (None, bonus))
    assert (raised >= plain).all()
    assert (raised > plain).any()
    runs = [make_run(grpo(bonus=given)).train().history[0] for given in (None, bonus)]
    assert runs[0]["reward"] == runs[1]["reward"]


# --- an empty part of a batch -----------------------------------------------------------------------------------


def test_a_process_without_posts_makes_no_pieces_and_still_adds_its_zeros_up(make_run, pairs):
    for method in (CrossEntropy(), polychromic(gate=0.0), tempered(), grpo(), sets(), *map(kin, KIN)):
        run = make_run(method)
        with_posts, without = (Mock(side_effect=lambda value: value or 1.0) for _ in range(2))  # others have some
        assert method.step(replace(run.context, total=with_posts), pairs, 0).pieces
        assert not method.step(replace(run.context, total=without), [], 0).pieces
        assert with_posts.call_count == without.call_count > 0


@pytest.mark.parametrize("processes", [2, 3, 5])
def test_the_posts_that_sets_are_drawn_for_do_not_depend_on_how_many_processes_share_a_batch(
    make_run, pairs, processes
):
    method, drawn = polychromic(max_new_tokens=2), []
    context = replace(make_run(method).context, processes=processes, total=lambda value: value or 1.0)

    def watch(posts, sets):
        drawn.extend(posts)
        return np.ones((len(posts), 4), dtype=bool)

    for rank in range(processes):
        replace(method, validity=watch).step(replace(context, rank=rank), pairs[rank::processes], 0)
    assert sorted(drawn) == sorted(pair.post for pair in pairs[:4])
