"""The reward of the audience world: one reader for a group, drawn by how many like each kind."""

import numpy as np
import pytest

from polychrome import paths
from polychrome.audience.grammar import FORMS, KINDS
from polychrome.audience.world import World
from polychrome.rewards.audience import AudienceReward
from polychrome.rewards.interface import make_reward

POST = "The old piano is back and I have mixed feelings."
REPLIES = [*(forms[0].format("old piano") for forms in FORMS.values()), "No kind of reply."]
W = np.array([0.25, 0.06, 0.08, 0.04, 0.12, 0.15, 0.20, 0.10])
SHARES = dict(zip(KINDS, W.tolist(), strict=True))
WORLD = World(seed=1, topics=1, posts=1, replies=1, visitors=1.0, writers=SHARES, readers=SHARES)


def test_a_reply_is_worth_the_readers_of_its_kind():
    assert AudienceReward(WORLD)([POST] * 9, REPLIES) == pytest.approx([*W, 0.0])


def test_the_malformed_and_a_copy_are_worth_nothing():
    worthless = ["", "Why", "!!!", POST, POST.upper(), "Why why why why the old piano?", "Why <|im_end|> old piano?"]
    assert AudienceReward(WORLD)([POST] * 7, worthless).tolist() == [0.0] * 7


def test_one_reader_visits_a_group_and_likes_one_kind():
    streams = [(42, "grpo", 3, f"post-{i}") for i in range(2000)]
    visits = AudienceReward(WORLD).visited([POST] * 2000, [REPLIES] * 2000, streams)
    assert visits.shape == (2000, 9)
    assert (visits.sum(axis=1) == 1).all()
    assert (visits[:, 8] == 0).all()
    assert visits.mean(axis=0)[:8] == pytest.approx(W, abs=0.04)


def test_who_visits_depends_on_the_stream_alone():
    reward, streams = AudienceReward(WORLD), [(42, "grpo", 3, f"post-{i}") for i in range(20)]
    visits = reward.visited([POST] * 20, [REPLIES] * 20, streams)
    backwards = reward.visited([POST] * 20, [REPLIES[::-1]] * 20, streams[::-1])
    assert (backwards == visits[::-1, ::-1]).all()
    assert (reward.visited([POST] * 20, [REPLIES] * 20, [(43, *rest) for _, *rest in streams]) != visits).any()
    assert (reward.visited([POST] * 20, [REPLIES] * 20, [(s, p, 4, i) for s, p, _, i in streams]) != visits).any()


def test_of_no_groups_it_makes_nothing():
    assert AudienceReward(WORLD).visited([], [], []).shape == (0, 0)


def test_it_is_made_by_name_from_the_world_that_stage_reward_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "REWARD", tmp_path)
    WORLD.keep(tmp_path)
    reward = make_reward("audience", None)
    assert reward([POST] * 9, REPLIES) == pytest.approx([*W, 0.0])
    assert reward.visited([POST], [REPLIES], [(1, "grpo", 0, "a")]).sum() == 1
