"""Each part of the heuristic reward against values worked out by hand, and what their mean must keep to."""

import numpy as np
import pytest

from polychrome.errors import InputError
from polychrome.randomness import numpy_generator
from polychrome.rewards.heuristic import ENGLISH, HeuristicReward, calibrate, valence
from polychrome.rewards.settings import PARTS
from tests.encoders import Letters, Table

EVEN = dict.fromkeys(PARTS, 1.0)
ANCHORS = (0.09, 0.5)
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
BY_HAND = {
    "length": {" ".join(["word"] * n): score for n, score in ((0, 0), (1, 0), (2, 0.2), (6, 1), (16, 1), (24, 0.5))}
    | {" ".join(["word"] * n): 0.0 for n in (32, 60)},
    "variety": {"four words all differ": 1, "two two one one": 0, "a a b c": 0.5, "a a a a a b": 0, "": 0},
    "punctuation": {
        "It's a fine day.": 1.0,
        'She said "a fine day!"': 0.5 + 0.5 * (2 - 2 * 3 / 5),
        "a fine day \U0001f642": 1.0,
        "it was a fine day :)": 1.0,
        "a fine day": 0.5,
        "a, fine, day, out.": 0.5,  # four marks on four words: the end only
        "wait, what, no, you": 0.5 * (2 - 2 * 3 / 4),  # three marks on four words, and no end
        "Hi!!!!!!": 0.5,
        "...": 0.0,
    },
    "genericness": {"I don't know": 0.0, "I like dogs": 0.5, "My sister breeds dogs": 1.0},
}


def reward(weights=EVEN, encoder=None, anchors=ANCHORS):
    return HeuristicReward(weights, encoder or Letters(), anchors)


@pytest.mark.parametrize("part", BY_HAND)
def test_parts_by_hand(part):
    expected = BY_HAND[part]
    assert reward().parts(["a post"] * len(expected), list(expected))[part] == pytest.approx(list(expected.values()))


def test_relevance_is_linear_between_the_anchors_and_flat_beyond():
    cosines = {"below chance": -0.3, "at low": 0.1, "a quarter up": 0.2, "at high": 0.5, "closer than people": 0.9}
    encoder = Table({text: (cosine, (1 - cosine**2) ** 0.5) for text, cosine in {"post": 1.0, **cosines}.items()})
    parts = reward(encoder=encoder, anchors=(0.1, 0.5)).parts(["post"] * 5, list(cosines))
    assert parts["relevance"] == pytest.approx([0, 0, 0.25, 1, 1], abs=1e-6)


def test_sentiment_is_one_less_half_the_distance_of_the_valences():
    happy, flat, sad = "I love this wonderful day!", "The train leaves at noon.", "I hate this horrible pain."
    assert valence(sad) < -0.5 < 0 == valence(flat) < 0.5 < valence(happy)
    expected = [1, 1 - valence(happy) / 2, 1 - (valence(happy) - valence(sad)) / 2]
    assert reward().parts([happy] * 3, [happy, flat, sad])["sentiment"] == pytest.approx(expected)


def test_the_score_is_the_weighted_mean_of_the_parts_whatever_the_weights_sum_to():
    weights = {"relevance": 3.0, "length": 1.0, "genericness": 0.0, "punctuation": 4.0}
    parts = reward().parts(POSTS, REPLIES)
    expected = (3 * parts["relevance"] + parts["length"] + 4 * parts["punctuation"]) / 8
    for scale in (1, 10):
        scaled = reward({part: scale * weight for part, weight in weights.items()})
        assert scaled(POSTS, REPLIES) == pytest.approx(expected)
    assert tuple(parts) == PARTS


def test_people_earn_something():
    assert (reward()(POSTS, REPLIES) > 0.2).all()


def test_scores_and_parts_of_any_text_are_finite_and_in_range():
    generator = numpy_generator(0, "random unicode")
    anything = np.concatenate([np.arange(1, 0xD800), np.arange(0xE000, 0x20000)])  # all but the surrogates
    points = [anything] * 150 + [np.arange(32, 127)] * 150
    posts, replies = (
        ["".join(map(chr, generator.choice(among, size=generator.integers(0, 60)))) for among in points] for _ in "pr"
    )
    for name, scores in {"total": reward()(posts, replies), **reward().parts(posts, replies)}.items():
        assert (scores.shape, scores.dtype) == ((300,), np.float64), name
        known = scores[~np.isnan(scores)] if name in ENGLISH else scores  # the others know every text
        assert ((known >= 0) & (known <= 1)).all(), name


def test_calibration_takes_chance_and_the_ninetieth_percentile_of_human_replies():
    posts, replies, encoder = [f"post {i}" for i in range(200)], [f"reply {i**2}" for i in range(200)], Letters("12345")
    p, r = (encoder.embed(texts).astype(float) for texts in (posts, replies))
    low, high = np.median([p[i] @ r[(i + 100) % 200] for i in range(200)]), np.quantile((p * r).sum(1), 0.9)
    assert calibrate(encoder, posts, replies) == pytest.approx((low, high))


@pytest.mark.parametrize(("pairs", "message"), [(4, r"low .* high"), (1, "1 pairs; expected 2")])
def test_human_replies_no_nearer_than_chance_are_an_error(pairs, message):
    with pytest.raises(InputError, match=message):
        calibrate(Letters(), ["one post"] * pairs, ["one reply"] * pairs)
