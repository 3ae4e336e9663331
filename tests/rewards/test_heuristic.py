"""Each part of the heuristic reward against values worked out by hand, and what their mean must keep to."""

import hashlib

import numpy as np
import pytest

from polychrome.errors import InputError
from polychrome.measures.validity import problems_of
from polychrome.randomness import numpy_generator
from polychrome.rewards import heuristic
from polychrome.rewards.heuristic import PARTS, Anchors, HeuristicReward, calibrate


class HashEncoder:
    """A fixed pseudo-random unit vector a text; remembers what it was asked to embed."""

    def __init__(self, dimension=8):
        self.dimension = dimension
        self.asked = []

    def embed(self, texts):
        self.asked += texts
        return np.stack([self._vector(text) for text in texts])

    def _vector(self, text):
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
        vector = np.random.default_rng(seed).normal(size=self.dimension)
        return (vector / np.linalg.norm(vector)).astype(np.float32)


class AngleEncoder:
    """Unit vectors in the plane whose cosine to the first text ("post") is given by hand."""

    def __init__(self, cosines):
        self.cosines = {"post": 1.0, **cosines}

    def embed(self, texts):
        cosines = np.array([self.cosines[text] for text in texts], dtype=np.float32)
        return np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1)


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
    reward = HeuristicReward(EVEN, AngleEncoder(cosines), Anchors(low=0.1, high=0.5))
    scores = reward.relevance(["post"] * 5, list(cosines))
    assert scores == pytest.approx([0, 0, 0.25, 1, 1], abs=1e-6)


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


def test_genericness_counts_content_words_outside_stock_phrases():
    scores = {
        "I don't know": 0.0,
        "That\u2019s great!": 0.0,
        "oh yeah, me too": 0.0,
        "it is what it is and so are we": 0.0,
        "I like dogs": 0.5,  # dogs, of the two asked for
        "My sister breeds dogs": 1.0,  # sister, breeds, dogs
        "Thank you for sharing your dogs": 0.5,
        "well you see I was at the dogs and then it was over": 1 / (13 / 3),  # 13 words ask for 13 / 3
    }
    assert heuristic.genericness(list(scores)) == pytest.approx(list(scores.values()))


def test_originality_lets_half_of_the_bigrams_pass_and_nothing_of_a_copy():
    post = "we went to the lake house today"
    replies = {
        "we went to the lake house today": 0.0,
        "The lake house, today!": 0.0,
        "the lake house rocks": 2 - 2 * 2 / 3,
        "to the station or home": 1.0,  # one bigram of four
        "nothing of the kind": 1.0,
    }
    scores = heuristic.originality([post] * len(replies), list(replies))
    assert scores == pytest.approx(list(replies.values()))


# --- the whole ---------------------------------------------------------------------------------------------------


def test_the_score_is_the_weighted_mean_of_the_parts_for_a_well_formed_reply_of_its_own():
    weights = {"relevance": 3.0, "length": 1.0, "genericness": 0.0, "punctuation": 4.0}
    reward = HeuristicReward(weights, HashEncoder())
    parts = reward.parts(POSTS, REPLIES)
    expected = (3 * parts["relevance"] + parts["length"] + 4 * parts["punctuation"]) / 8
    assert reward(POSTS, REPLIES) == pytest.approx(expected)
    assert list(parts) == list(PARTS)


def test_scores_do_not_change_when_all_weights_are_scaled():
    small = HeuristicReward(EVEN, HashEncoder())(POSTS, REPLIES)
    large = HeuristicReward({part: 10.0 for part in PARTS}, HashEncoder())(POSTS, REPLIES)
    assert small == pytest.approx(large)


@pytest.mark.parametrize(
    "reply", ["", " ", "Hi", "!!! :)", "no no no no", "<|im_start|>user I like it", "https://example.org/cats"]
)
def test_a_malformed_reply_earns_nothing_whatever_its_parts(reply):
    assert problems_of(reply)
    assert HeuristicReward(EVEN, HashEncoder())([POSTS[0]], [reply]).tolist() == [0.0]


def test_a_copy_of_the_post_earns_nothing_and_less_than_a_human_reply():
    reward = HeuristicReward(EVEN, HashEncoder())
    assert reward(POSTS, POSTS).tolist() == [0.0] * len(POSTS)
    assert reward(POSTS, [post.upper() + "!!" for post in POSTS]).tolist() == [0.0] * len(POSTS)
    assert (reward(POSTS, REPLIES) > 0.2).all()


def test_scores_and_parts_of_any_text_are_finite_and_in_range():
    generator = numpy_generator(0, "random unicode")
    points = np.concatenate([np.arange(1, 0xD800), np.arange(0xE000, 0x20000)])  # all but the surrogates
    draw = lambda: "".join(map(chr, generator.choice(points, size=generator.integers(0, 40))))  # noqa: E731
    ascii_draw = lambda: "".join(map(chr, generator.integers(32, 127, size=generator.integers(0, 60))))  # noqa: E731
    posts = [draw() for _ in range(150)] + [ascii_draw() for _ in range(150)]
    replies = [draw() for _ in range(150)] + [ascii_draw() for _ in range(150)]
    reward = HeuristicReward(EVEN, HashEncoder())
    for name, scores in {"total": reward(posts, replies), **reward.parts(posts, replies)}.items():
        assert scores.shape == (300,), name
        assert scores.dtype == np.float64, name
        assert ((scores >= 0) & (scores <= 1)).all(), name


def test_a_batch_scores_as_one_at_a_time_and_in_any_order():
    whole = HeuristicReward(EVEN, HashEncoder())(POSTS, REPLIES)
    alone = [
        HeuristicReward(EVEN, HashEncoder())([post], [reply])[0] for post, reply in zip(POSTS, REPLIES, strict=True)
    ]
    backwards = HeuristicReward(EVEN, HashEncoder())(POSTS[::-1], REPLIES[::-1])
    assert whole == pytest.approx(alone, abs=1e-5)
    assert whole == pytest.approx(backwards[::-1], abs=1e-5)


def test_no_replies_give_no_scores():
    assert HeuristicReward(EVEN, HashEncoder())([], []).shape == (0,)


def test_each_distinct_text_is_embedded_once_and_posts_once_for_good():
    encoder = HashEncoder()
    reward = HeuristicReward(EVEN, encoder)
    reward([POSTS[0], POSTS[0], POSTS[1]], [REPLIES[0], REPLIES[0], REPLIES[1]])
    assert sorted(encoder.asked) == sorted([POSTS[0], POSTS[1], REPLIES[0], REPLIES[1]])
    encoder.asked.clear()
    reward([POSTS[0], POSTS[1]], [REPLIES[2], REPLIES[1]])
    assert sorted(encoder.asked) == sorted([REPLIES[1], REPLIES[2]])


def test_posts_are_embedded_alone_so_that_their_bits_never_depend_on_what_came_before():
    class Company(HashEncoder):
        def embed(self, texts):
            self.asked.append(list(texts))
            return super().embed(texts)

    encoder = Company()
    HeuristicReward(EVEN, encoder)(POSTS, REPLIES)
    assert [POSTS[0]] in encoder.asked
    assert [POSTS[1]] in encoder.asked


# --- calibration and bad input -----------------------------------------------------------------------------------


def test_calibration_takes_chance_and_the_ninetieth_percentile_of_human_replies():
    rng = np.random.default_rng(0)
    posts = rng.normal(size=(200, 16))
    replies = posts + rng.normal(size=(200, 16))
    table = {f"post {i}": v / np.linalg.norm(v) for i, v in enumerate(posts)}
    table |= {f"reply {i}": v / np.linalg.norm(v) for i, v in enumerate(replies)}

    class Table:
        def embed(self, texts):
            return np.stack([table[text] for text in texts])

    anchors = calibrate(Table(), [f"post {i}" for i in range(200)], [f"reply {i}" for i in range(200)])
    own = [table[f"post {i}"] @ table[f"reply {i}"] for i in range(200)]
    others = [table[f"post {i}"] @ table[f"reply {(i + 100) % 200}"] for i in range(200)]
    assert anchors.high == pytest.approx(np.quantile(own, 0.9))
    assert anchors.low == pytest.approx(np.median(others))


def test_anchors_that_do_not_rise_are_an_error():
    with pytest.raises(InputError, match=r"low .* high"):
        Anchors(low=0.5, high=0.5)


def test_every_bad_weight_is_told():
    weights = {
        "relevance": 1.0,
        "lenght": 1.0,
        "sentiment": -1.0,
        "variety": float("nan"),
        "punctuation": "much",
        "length": float("inf"),
    }
    with pytest.raises(InputError) as caught:
        HeuristicReward(weights, HashEncoder())
    told = str(caught.value)
    for part in ("lenght", "sentiment", "variety", "punctuation", "length"):
        assert f"params.yaml:reward.weights.{part}: " in told
    assert "weights.relevance" not in told


@pytest.mark.parametrize("weights", [{}, {"relevance": 0.0}, dict.fromkeys(PARTS, 0)])
def test_weights_that_are_all_zero_are_an_error(weights):
    with pytest.raises(InputError, match="a positive weight"):
        HeuristicReward(weights, HashEncoder())


def test_posts_and_replies_of_different_number_are_an_error():
    with pytest.raises(InputError, match="2 posts, 1 replies"):
        HeuristicReward(EVEN, HashEncoder())(POSTS[:2], REPLIES[:1])
