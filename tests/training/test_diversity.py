"""D of sampled texts by each of its names, against brute force, and the gate that keeps degenerate replies out."""

from dataclasses import replace
from itertools import combinations
from math import nan
from string import ascii_lowercase
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from polychrome.measures.encoder import ENOUGH
from polychrome.measures.sets import distinct_n, self_bleu
from polychrome.objectives.diversity import leave_one_out_advantages
from polychrome.pairs.schema import Pair
from polychrome.training.classes import Classes, distinct_share
from polychrome.training.diversity import Sets, Validity, make_diversity
from polychrome.training.methods.polychromic import elsewhere
from tests.encoders import Angles, Letters
from tests.measures.test_languages import English

KINDS = ("semantic", "self_bleu", "distinct_n")
SETS = [
    ["i like cats a lot", "dogs are much better", "tea in the rain", "i like cats a lot"],
    ["yes it is raining", "no it is not raining", "maybe it will rain", "who can say what comes"],
]
ALL = torch.ones(2, 4, dtype=torch.bool)
SOME = torch.tensor([[True, False, True, True], [False, True, False, True]])
ONE = torch.tensor([[False, True, False, False], [False] * 4])


def bag(texts):
    """Sets of replies, embedded by the letters in them."""
    return Sets(Letters(ascii_lowercase), texts)


EVERY = {f"post at {angle}": Angles().embed([f"at {angle}"])[0] for angle in (0, 10, 90)}


def brute(kind, texts, keep, undefined):
    """D of the valid texts by its definition."""
    kept = [text for text, good in zip(texts, keep, strict=True) if good]
    if len(kept) < 2:
        return undefined
    if kind == "semantic":
        vectors = Letters(ascii_lowercase).embed(kept).astype(float)
        return float(np.mean([1 - a @ b for a, b in combinations(vectors, 2)]))
    return 1 - self_bleu(kept) if kind == "self_bleu" else distinct_n(kept, 2)


@pytest.mark.parametrize("valid", [ALL, SOME, ONE], ids=["all valid", "some valid", "no two valid"])
@pytest.mark.parametrize("kind", KINDS)
def test_d_and_its_leave_one_out_baseline_equal_brute_force_and_an_invalid_reply_gains_exactly_nothing(kind, valid):
    diversity, without = make_diversity(kind)(bag(SETS), valid)
    for p, (texts, keep) in enumerate(zip(SETS, valid.tolist(), strict=True)):
        assert diversity[p].item() == pytest.approx(brute(kind, texts, keep, 0.0), abs=1e-6)
        others = [brute(kind, [*texts[:i], *texts[i + 1 :]], [*keep[:i], *keep[i + 1 :]], nan) for i in range(4)]
        assert without[p].tolist() == pytest.approx(others, abs=1e-6, nan_ok=True)
    advantages = leave_one_out_advantages(diversity, without)
    assert (advantages[~valid] == 0).all()
    assert valid is ONE or (advantages[valid] != 0).any()


PLACES = [["it is at 0", "near it 8", "not far 16", "off at 90"]]  # 8 bridges 0 and 16


def partition_of(texts, valid=None, degrees=10.0):
    classes = Classes("partition", Angles(), Validity(None), float(np.cos(np.radians(degrees))))
    valid = torch.ones(len(texts), len(texts[0]), dtype=torch.bool) if valid is None else valid
    return [part.tolist() for part in distinct_share(classes)(Sets(Angles(), texts), valid)]


def test_the_share_of_classes_is_that_of_the_set_and_its_baseline_that_of_the_others_alone():
    """With the bridge there are two classes of four replies; without it three among three."""
    diversity, without = partition_of(PLACES)
    assert diversity == [2 / 4]
    assert without[0] == pytest.approx([2 / 3, 3 / 3, 2 / 3, 1 / 3])
    others = [[PLACES[0][j] for j in range(4) if j != i] for i in range(4)]
    assert partition_of(others)[0] == pytest.approx(without[0])  # it reads nothing else


def test_an_invalid_reply_makes_no_class_and_one_valid_reply_is_a_class():
    diversity, without = partition_of(PLACES, torch.tensor([[True, False, True, False]]))
    assert diversity == [2 / 4]
    assert without[0] == pytest.approx([1 / 3, 2 / 3, 1 / 3, 2 / 3])
    assert partition_of(PLACES, torch.tensor([[False, False, False, True]])) == [[1 / 4], [[1 / 3] * 3 + [0.0]]]


def test_the_share_of_kinds_is_that_of_what_the_audience_recognises(monkeypatch):
    monkeypatch.setattr("polychrome.audience.grammar.kind_of", lambda post, reply: len(reply) % 3 - (post == "odd"))
    sets = Sets(Angles(), [["aa", "bbb", "cc"], ["aa", "bbb", "cc"]], ["even", "odd"])
    diversity, without = distinct_share(Classes("kind", Angles(), Validity(None), nan))(sets, ALL[:, :3])
    assert diversity.tolist() == [2 / 3, 1 / 3]
    assert without.tolist() == [[1.0, 0.5, 1.0], [0.5, 0.5, 0.5]]


def test_equal_replies_are_at_distance_zero_and_no_distance_is_negative():
    diversity, without = make_diversity("semantic")(bag([["i like cats a lot"] * 4]), ALL[:1])
    assert diversity.item() == pytest.approx(0, abs=1e-6)
    assert (diversity >= 0).all()
    assert (without >= 0).all()


def test_replies_without_a_single_bigram_or_word_are_not_diverse():
    texts, valid = [["a", "b", "c"]], torch.ones(1, 3, dtype=torch.bool)
    assert make_diversity("distinct_n")(bag(texts), valid)[0].item() == 0
    assert make_diversity("self_bleu")(bag([["", " ", ""]]), valid)[0].item() == 0


def pairs_at(angles):
    """Pairs whose reply stands so many degrees from its post."""
    return [Pair(str(i), str(i), "post at 0", f"reply at {angle}", 0.0, "a") for i, angle in enumerate(angles)]


def test_the_gate_is_the_tenth_percentile_of_how_near_human_replies_are_to_their_posts():
    angles = [10, 20, 30, 40, 50, 60, 70, 80, 85, 89, 90]  # the 10th percentile of 11 is the second least near
    validity = Validity.calibrated(Angles(), pairs_at(angles), gate=True)
    assert validity.threshold == pytest.approx(np.cos(np.radians(89)), abs=1e-6)
    every = replace(validity, posts=EVERY)
    replies = [["off topic at 91", "on topic at 88"], ["it is near 80", "far off 0"]]
    assert every(["post at 0", "post at 90"], Sets(Angles(), replies)).tolist() == [[False, True], [True, False]]
    malformed = [["fine words at 10", "no no no no no no 10", "<|im_end|> now 10", "10"]]  # however near
    assert every(["post at 10"], Sets(Angles(), malformed)).tolist() == [[True, False, False, False]]
    with pytest.raises(KeyError, match="another post 0"):  # of no pair of the arm
        validity(["another post 0"], Sets(Angles(), [["reply 0", "reply 1"]]))
    off = Validity.calibrated(Angles(), [], gate=False)
    assert off(["post at 0"], Sets(Angles(), [["", "no no no no no 180"]])).all()


def test_the_gate_asks_nothing_of_a_script_that_the_encoder_does_not_know_and_says_so():
    russian = [
        Pair(f"r{i}", "r", "привет", text, 0.0, "a") for i, text in enumerate(("я тоже очень рад", "нет, спасибо"))
    ]
    with pytest.warns(UserWarning, match="does not ask whether replies are on topic for 2 of 2 training pairs"):
        gate = Validity.calibrated(English(), russian, gate=True)
    sets = Sets(English(), [["я не знаю", "нет нет нет нет нет"]])
    assert gate(["привет"], sets).tolist() == [[True, False]]
    english = [Pair(f"e{i}", "e", "a cab", "a" + "h" * i, 0.0, "a") for i in range(ENOUGH)]
    with pytest.warns(UserWarning, match=f"for 2 of {ENOUGH + 2} training pairs"):
        mixed = Validity.calibrated(English(), [*russian, *english], gate=True)
    assert mixed.threshold == Validity.calibrated(English(), english, gate=True).threshold


def test_the_baseline_from_elsewhere_is_the_mean_of_the_other_sets_and_never_of_the_own():
    """Sets 0 and 2 have two valid replies, set 1 has one and counts for nobody."""
    valid = torch.tensor([[True, True, False], [True, False, False], [True, True, True]])
    alone = SimpleNamespace(total=float)  # one process: sums are its own
    found = elsewhere(alone, torch.tensor([0.4, 0.0, 0.8], dtype=torch.float64), valid)
    assert found.tolist() == pytest.approx([0.8, 0.6, 0.4])
    assert elsewhere(alone, torch.tensor([0.4], dtype=torch.float64), valid[:1]).tolist() == [0.0]


def test_gate_and_diversity_of_a_step_embed_its_replies_once_and_no_post():
    encoder = Letters(ascii_lowercase)
    validity = Validity.calibrated(encoder, pairs_at([10, 20]), gate=True)
    encoder.calls.clear()
    sets = Sets(encoder, SETS)
    valid = torch.from_numpy(validity(["post at 0", "post at 0"], sets))
    make_diversity("semantic")(sets, valid)
    make_diversity("semantic")(sets, ALL)
    assert encoder.calls == [[reply for one in SETS for reply in one]]
