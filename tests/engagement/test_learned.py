"""The learned reward as a reward: its formula, its gates, its files."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from polychrome.engagement.learned import SURFACE, Head, LearnedReward, features, save, surface
from polychrome.errors import InputError
from tests.encoders import Letters

POSTS = ["what did you eat today?", "a rainy day", "a rainy day"]
REPLIES = ["I had bread and cheese, you?", "bad weather indeed!", "good for ducks"]


@pytest.fixture
def head():
    x = features(POSTS, REPLIES, *[Letters().embed(texts) for texts in (POSTS, REPLIES)])
    generator = np.random.default_rng(0)
    m = x.shape[1]
    return Head(x.mean(0), np.full(m, 2.0), generator.normal(size=m), np.array([0.1, 2.0]))


def test_the_formula(head):
    p, r = (Letters().embed(texts).astype(float) for texts in (POSTS, REPLIES))
    x = np.hstack([p, r, p * r, abs(p - r), (p * r).sum(1)[:, None], surface(POSTS), surface(REPLIES)])
    s = np.clip((x - head.centre) / 2, -4, 4) @ head.weights
    reward, expected = LearnedReward(head, Letters()), pytest.approx(norm.cdf((s - 0.1) / 2.0), abs=1e-6)
    assert reward.predict(POSTS, REPLIES) == expected
    assert reward(POSTS, REPLIES) == expected  # well-formed replies, and no copies: the gates are open


def test_surface_features_are_what_their_names_say():
    rows = surface(["Do you like it, or not... haha!?", "I\u2019m fine", ""])
    row, says_i, empty = (dict(zip(SURFACE, of, strict=True)) for of in rows)
    expected = dict.fromkeys(SURFACE, 1) | {"log_words": np.log(8), "letters_a_word": 26 / 7, "says_i": 0}
    assert row == pytest.approx(expected)
    assert says_i["says_i"] == 1
    assert set(empty.values()) == {0.0}


def test_a_far_fetched_text_stays_below_one_and_can_still_be_improved(head):
    best = 4 * np.abs(head.weights).sum()  # features are held within 4 units
    far = replace(head, normal=np.array([0.0, best / 6]))
    x = head.centre + np.sign(head.weights) * np.array([[1.0], [2.0], [1e6]])
    scores = far.rank(x)
    assert far.score(x)[2] == pytest.approx(best)
    assert scores[0] < scores[1] < scores[2] < 1


def test_it_is_read_back_as_it_was_saved_and_needs_the_encoder_it_was_fitted_with(tmp_path, head):
    save(head, tmp_path, {"pairs": 3}, "# card")
    again = LearnedReward.open(tmp_path, Letters())
    assert np.array_equal(again(POSTS, REPLIES), LearnedReward(head, Letters())(POSTS, REPLIES))
    assert {file.name for file in tmp_path.iterdir()} == {"reward.safetensors", "reward.json", "README.md"}
    with pytest.raises(InputError, match=r"features; expected .* as of this encoder"):
        LearnedReward.open(tmp_path, Letters("abc"))
