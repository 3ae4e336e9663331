"""Each part of the heuristic reward against values worked out by hand, and what their mean must keep to."""

import numpy as np
import pytest

from polychrome.errors import InputError
from polychrome.randomness import numpy_generator
from polychrome.rewards import heuristic
from polychrome.rewards.heuristic import Anchors, HeuristicReward, calibrate
from polychrome.rewards.settings import PARTS
from tests.encoders import Hashes, Table

EVEN = dict.fromkeys(PARTS, 1.0)
POSTS = [
    "What kind of stuff do you sew?",
    "I am stayed in Helaman Halls",
    "I just took a nap and now my head hurts",
    "Are you a big Harry Potter fan?",
    "What kind of stuff do you sew?",
]
REPLIES = [
    "I like to sew dresses, and right now a backpack.",
    "Yeah? Do you like Helaman Halls?",
    "oh no, did you go to bed late?",
    "yeah, who doesn't love harry potter",
    "Curtains, mostly. My mother has a machine.",
]


# --- the parts ---------------------------------------------------------------------------------------------------


def test_relevance_is_linear_between_the_anchors_and_flat_beyond():
    cosines = {"below chance": -0.3, "at low": 0.1, "a quarter up": 0.2, "at high": 0.5, "closer than people": 0.9}
    encoder = Table({text: (cosine, (1 - cosine**2) ** 0.5) for text, cosine in {"post": 1.0, **cosines}.items()})
    reward = HeuristicReward(EVEN, encoder, Anchors(low=0.1, high=0.5))
    assert reward.relevance(["post"] * 5, list(cosines)) == pytest.approx([0, 0, 0.25, 1, 1], abs=1e-6)


def test_length_rises_to_six_words_keeps_to_sixteen_and_falls_to_thirty_two():
    replies = [" ".join(["word"] * count) for count in (0, 1, 2, 6, 11, 16, 24, 32, 60)]
    assert heuristic.length(replies) == pytest.approx([0, 0, 0.2, 1, 1, 1, 0.5, 0, 0])


def test_sentiment_is_one_less_half_the_distance_of_the_valences():
    happy, sad, flat = "I love this wonderful day!", "I hate this horrible pain.", "The train leaves at noon."
    assert heuristic.valence(happy) > 0.5
    assert heuristic.valence(sad) < -0.5
    assert heuristic.valence(flat) == 0.0
    scores = heuristic.sentiment([happy, happy, happy], [happy, flat, sad])
    expected_flat = 1 - heuristic.valence(happy) / 2
    expected_sad = 1 - (heuristic.valence(happy) - heuristic.valence(sad)) / 2
    assert scores == pytest.approx([1, expected_flat, expected_sad])
    assert scores[0] > scores[1] > scores[2]


def test_variety_counts_distinct_words_above_a_half():
    replies = ["four words all differ", "two two one one", "a a b c", "a a a a a b", ""]
    assert heuristic.variety(replies) == pytest.approx([1, 0, 0.5, 0, 0])  # shares 1, 1/2, 3/4, 1/3, none


def test_punctuation_is_half_for_the_end_and_half_for_restraint():
    scores = {
        "It's a fine day.": 1.0,
        'She said "a fine day!"': 0.5 + 0.5 * (2 - 2 * 3 / 5),
        "a fine day \U0001f642": 1.0,
        "it was a fine day :)": 1.0,
        "a fine day": 0.5,
        "a, fine, day, out.": 0.5,  # four marks on four words: the end only
        "wait, what, no, you": 0.5 * (2 - 2 * 3 / 4),  # three marks on four words, and no end
        "Hi!!!!!!": 0.5,
        "...": 0.0,
    }
    assert heuristic.punctuation(list(scores)) == pytest.approx(list(scores.values()))


# --- the whole ---------------------------------------------------------------------------------------------------


def test_the_score_is_the_weighted_mean_of_the_parts_for_a_well_formed_reply_of_its_own():
    weights = {"relevance": 3.0, "length": 1.0, "genericness": 0.0, "punctuation": 4.0}
    reward = HeuristicReward(weights, Hashes())
    parts = reward.parts(POSTS, REPLIES)
    expected = (3 * parts["relevance"] + parts["length"] + 4 * parts["punctuation"]) / 8
    assert reward(POSTS, REPLIES) == pytest.approx(expected)
    assert list(parts) == list(PARTS)


def test_scores_do_not_change_when_all_weights_are_scaled():
    small = HeuristicReward(EVEN, Hashes())(POSTS, REPLIES)
    large = HeuristicReward({part: 10.0 for part in PARTS}, Hashes())(POSTS, REPLIES)
    assert small == pytest.approx(large)


def test_a_malformed_reply_and_a_copy_earn_nothing_whatever_their_parts_and_people_earn_more():
    reward = HeuristicReward(EVEN, Hashes())
    for replies in (
        ["", "Hi", "!!! :)", "no no no no", "<|im_start|>user I like it"],
        POSTS,
        [p.upper() for p in POSTS],
    ):
        assert reward(POSTS, replies).tolist() == [0.0] * len(POSTS)
    assert (reward(POSTS, REPLIES) > 0.2).all()


def test_scores_and_parts_of_any_text_are_finite_and_in_range():
    generator = numpy_generator(0, "random unicode")
    points = np.concatenate([np.arange(1, 0xD800), np.arange(0xE000, 0x20000)])  # all but the surrogates
    draw = lambda: "".join(map(chr, generator.choice(points, size=generator.integers(0, 40))))  # noqa: E731
    ascii_draw = lambda: "".join(map(chr, generator.integers(32, 127, size=generator.integers(0, 60))))  # noqa: E731
    posts = [draw() for _ in range(150)] + [ascii_draw() for _ in range(150)]
    replies = [draw() for _ in range(150)] + [ascii_draw() for _ in range(150)]
    reward = HeuristicReward(EVEN, Hashes())
    for name, scores in {"total": reward(posts, replies), **reward.parts(posts, replies)}.items():
        assert scores.shape == (300,), name
        assert scores.dtype == np.float64, name
        assert ((scores >= 0) & (scores <= 1)).all(), name


def test_a_batch_scores_as_one_at_a_time_and_in_any_order():
    whole = HeuristicReward(EVEN, Hashes())(POSTS, REPLIES)
    alone = [HeuristicReward(EVEN, Hashes())([post], [reply])[0] for post, reply in zip(POSTS, REPLIES, strict=True)]
    backwards = HeuristicReward(EVEN, Hashes())(POSTS[::-1], REPLIES[::-1])
    assert whole == pytest.approx(alone, abs=1e-5)
    assert whole == pytest.approx(backwards[::-1], abs=1e-5)


def test_no_replies_give_no_scores():
    assert HeuristicReward(EVEN, Hashes())([], []).shape == (0,)


# --- calibration and bad input -----------------------------------------------------------------------------------


def test_calibration_takes_chance_and_the_ninetieth_percentile_of_human_replies():
    encoder = Hashes()
    posts, replies = [f"post {i}" for i in range(200)], [f"reply {i}" for i in range(200)]
    anchors = calibrate(encoder, posts, replies)
    p, r = encoder.embed(posts).astype(float), encoder.embed(replies).astype(float)
    assert anchors.high == pytest.approx(np.quantile((p * r).sum(1), 0.9))
    assert anchors.low == pytest.approx(np.median([p[i] @ r[(i + 100) % 200] for i in range(200)]))


def test_anchors_that_do_not_rise_are_an_error():
    with pytest.raises(InputError, match=r"low .* high"):
        Anchors(low=0.5, high=0.5)
