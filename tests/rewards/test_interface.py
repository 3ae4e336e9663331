"""A reward keeps its word, or the wrapper says where it did not."""

import numpy as np
import pytest

from polychrome.errors import InputError
from polychrome.rewards.heuristic import PARTS, Anchors, HeuristicReward
from polychrome.rewards.interface import REWARDS, checked, make_reward


class LetterEncoder:
    """Counts of the letters a to h, one for luck, at unit length."""

    def embed(self, texts):
        counts = np.array([[1, *map(text.count, "abcdefgh")] for text in texts], dtype=np.float32)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


POSTS, REPLIES = ["a post here"] * 3, ["one reply here", "two replies here", "three replies here"]


def always(values):
    return lambda posts, replies: np.array(values)


def test_good_scores_pass_through_as_float64():
    scores = checked(always([0, 1, 0]))(POSTS, REPLIES)
    assert scores.tolist() == [0.0, 1.0, 0.0]
    assert scores.dtype == np.float64


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.001, 1.001])
def test_a_score_out_of_range_is_told_with_its_index_and_reply(value):
    with pytest.raises(InputError, match=r"mine\[1\].*'two replies here'"):
        checked(always([0.5, value, 0.5]), "mine")(POSTS, REPLIES)


def test_every_score_out_of_range_is_told():
    with pytest.raises(InputError) as caught:
        checked(always([2.0, 0.5, float("nan")]))(POSTS, REPLIES)
    assert [problem.where for problem in caught.value.problems] == ["reward[0]", "reward[2]"]


@pytest.mark.parametrize("values", [[0.5, 0.5], [[0.5], [0.5], [0.5]], 0.5])
def test_scores_of_the_wrong_shape_are_an_error(values):
    with pytest.raises(InputError, match=r"scores of shape.*expected \(3,\)"):
        checked(always(values))(POSTS, REPLIES)


def test_posts_and_replies_of_different_number_are_an_error():
    with pytest.raises(InputError, match="3 posts, 2 replies"):
        checked(always([0.5, 0.5]))(POSTS, REPLIES[:2])


def test_the_factory_makes_the_reward_that_the_registry_names():
    made = make_reward("heuristic", dict.fromkeys(PARTS, 1.0), LetterEncoder(), anchors=Anchors(0.0, 0.9))
    own = HeuristicReward(dict.fromkeys(PARTS, 1.0), LetterEncoder(), Anchors(0.0, 0.9))
    assert made(POSTS, REPLIES) == pytest.approx(own(POSTS, REPLIES))


def test_an_unknown_reward_is_told_with_the_known_ones():
    with pytest.raises(InputError, match=r"params.yaml:arms\.\*\.reward: found 'lernt'; expected one of heuristic"):
        make_reward("lernt", {}, LetterEncoder())


def test_a_new_reward_needs_one_line_in_the_registry(monkeypatch):
    monkeypatch.setitem(REWARDS, "constant", lambda weights, encoder: always([0.25] * 3))
    assert make_reward("constant", {}, LetterEncoder())(POSTS, REPLIES).tolist() == [0.25] * 3
