"""A reward keeps its word, or the wrapper says where it did not."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from polychrome import paths
from polychrome.engagement.learned import Head, features, save
from polychrome.errors import InputError
from polychrome.pairs.schema import Pair
from polychrome.rewards.heuristic import HeuristicReward, calibrate
from polychrome.rewards.interface import REWARDS, Setting, checked, make_reward
from polychrome.rewards.settings import PARTS
from tests.encoders import Letters

POSTS, REPLIES = ["a post here"] * 3, ["one reply here", "two replies here", "three replies here"]


def test_good_scores_pass_through_as_float64():
    scores = checked(lambda posts, replies: [0, 1, 0])(POSTS, REPLIES)
    assert (scores.tolist(), scores.dtype) == ([0.0, 1.0, 0.0], np.float64)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.001, 1.001])
def test_every_score_out_of_range_is_reported_with_its_index_and_reply(value):
    with pytest.raises(InputError, match=r"mine\[1\].*'two replies here'") as caught:
        checked(lambda posts, replies: [0.5, value, value], "mine")(POSTS, REPLIES)
    assert [problem.where for problem in caught.value.problems] == ["mine[1]", "mine[2]"]


@pytest.mark.parametrize("values", [[0.5, 0.5], [[0.5], [0.5], [0.5]], 0.5, ["good", "bad", "good"]])
def test_scores_that_are_not_one_number_per_reply_are_an_error(values):
    with pytest.raises(InputError, match=r"mine:f: found (scores of shape .*\(3,\)|ValueError.*expected numbers)"):
        checked(lambda posts, replies: values, "mine:f")(POSTS, REPLIES)


class Moody:
    """Whoever comes likes what they like: 1 for replies that start with the last word of their stream."""

    def __call__(self, posts, replies):
        return [0.5] * len(replies)

    def visited(self, posts, groups, streams):
        ask = zip(groups, streams, strict=True)
        return [[float(reply.startswith(stream[-1])) for reply in group] for group, stream in ask]


def test_a_reward_that_knows_who_reads_is_asked_for_whole_groups_and_held_to_its_word_likewise():
    reward, groups = checked(Moody(), "moody"), [["ab", "ba", "b"], ["a", "b", "ab"]]
    assert reward.visited(POSTS[:2], groups, [(1, "a"), (1, "b")]).tolist() == [[1, 0, 0], [0, 1, 0]]
    assert reward.visited([], [], []).size == 0
    assert not hasattr(checked(lambda posts, replies: [0.5] * len(posts)), "visited")
    bad = Moody()
    bad.visited = lambda *_: [[0.5, 0.5, 0.5], [0.5, 2.0, 0.5]]
    with pytest.raises(InputError, match=r"moody\[4\]: found 2.0 for 'b'"):
        checked(bad, "moody").visited(POSTS[:2], groups, [(), ()])
    bad.visited = lambda *_: [[0.5, 0.5, 0.5]]
    with pytest.raises(InputError, match=r"shape \(1, 3\).*\(2, 3\)"):
        checked(bad, "moody").visited(POSTS[:2], groups, [(), ()])


# --- by name --------------------------------------------------------------------------------------------------------

PAIRS = [Pair(f"c:{i}", "c", word, word * 2, 1.0, "someone") for i, word in enumerate(("an egg", "bad", "cage", "dad"))]


def made(name, mix=None):
    settings = SimpleNamespace(weights=dict.fromkeys(PARTS, 1.0), mix=mix or {"heuristic": 3.0, "learned": 1.0})
    return make_reward(name, Setting(settings, Letters(), PAIRS))


def test_the_heuristic_has_its_weights_and_anchors_of_the_arms_own_pairs():
    anchors = calibrate(Letters(), [pair.post for pair in PAIRS], [pair.reply for pair in PAIRS])
    own = HeuristicReward(dict.fromkeys(PARTS, 1.0), Letters(), anchors)
    assert made("heuristic")(POSTS, REPLIES).tolist() == own(POSTS, REPLIES).tolist()


@pytest.fixture
def learned(tmp_path, monkeypatch):
    """The folder of a project that has trained a learned reward."""
    monkeypatch.chdir(tmp_path)
    x = features(POSTS, REPLIES, *[Letters().embed(texts) for texts in (POSTS, REPLIES)])
    weights = np.random.default_rng(0).normal(size=x.shape[1])
    paths.REWARD.mkdir(parents=True)
    save(Head(x.mean(0), np.ones(x.shape[1]), weights, np.array([0.0, 1.0])), paths.REWARD, {}, "card")


def test_the_hybrid_is_the_weighted_mean_of_both_and_opens_none_without_weight(learned):
    parts = {name: made(name)(POSTS, REPLIES) for name in ("heuristic", "learned")}
    assert made("hybrid")(POSTS, REPLIES) == pytest.approx(0.75 * parts["heuristic"] + 0.25 * parts["learned"])
    assert not np.allclose(parts["heuristic"], parts["learned"])
    (paths.REWARD / "reward.json").unlink()
    alone = made("hybrid", mix={"heuristic": 2.0, "learned": 0.0})
    assert alone(POSTS, REPLIES) == pytest.approx(parts["heuristic"])


@pytest.mark.parametrize("name", [name for name in REWARDS if name != "audience"])  # which knows its own world alone
def test_no_reward_pays_for_the_malformed_or_a_copy_and_each_scores_a_reply_by_itself(learned, name):
    posts = ["a rainy day in the city"] * 9
    worthless = ["", "Hi", "!!! :)", "no no no no", "<|im_start|>user I like it", posts[0], posts[0].upper() + "!!"]
    replies = ["bad weather indeed", *worthless, "Good for ducks, and for dogs?"]
    scores = made(name)(posts, replies)
    assert np.flatnonzero(scores).tolist() == [0, 8]
    alone = [made(name)([post], [reply])[0] for post, reply in zip(posts, replies, strict=True)]
    assert scores == pytest.approx(alone, abs=1e-5)
    assert made(name)([], []).shape == (0,)


def test_an_unknown_reward_is_reported_with_the_known_ones():
    with pytest.raises(InputError, match=r"arms\.\*\.reward: found 'lernt'; expected heuristic, learned, hybrid, audi"):
        made("lernt")
    with pytest.raises(InputError, match=r"params.yaml:reward\.mix: found 'lernt'; expected heuristic, learned"):
        made("hybrid", mix={"lernt": 1.0})


OWN = """
def short(posts, replies): return [1 / len(reply) for reply in replies]
def nan(posts, replies): return [float('nan')] * len(replies)
def one(posts, replies): return [0.5]
def breaks(posts, replies): return [1 / 0 for reply in replies]
number = 3
"""


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (":nan", r"mine_for_the_test:nan\[0\]: found nan"),
        (":one", r"scores of shape \(1,\)"),
        (":breaks", "ZeroDivisionError"),
        (":absent", "has no function absent"),
        (":number", "has no function number"),
        (".not_there_at_all:f", "ModuleNotFoundError"),
    ],
)
def test_a_function_of_the_users_own_is_found_beside_params_yaml_and_what_is_wrong_with_it_is_reported(
    tmp_path, monkeypatch, function, found
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mine_for_the_test", raising=False)
    (tmp_path / "mine_for_the_test.py").write_text(OWN)
    assert made("mine_for_the_test:short")(POSTS, REPLIES) == pytest.approx([1 / len(reply) for reply in REPLIES])
    with pytest.raises(InputError, match=found):
        made(f"mine_for_the_test{function}")(POSTS, REPLIES)
