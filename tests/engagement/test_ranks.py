"""What the judge and the learned reward have in common: ranks, folds, honest held-out figures, files."""

import json
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import spearmanr

from polychrome.engagement import ranks
from polychrome.engagement.fitting import make_reward_model
from polychrome.engagement.judge import make_judge
from polychrome.engagement.ranks import FOLDS, ranked, spearman
from polychrome.errors import InputError
from polychrome.pairs.schema import write_pairs
from tests.encoders import Letters

from .pairs import SETTINGS, fitted_to, some_pairs, texts


def of(pairs, name="judge"):
    return ranked(pairs, name, resamples=200, confidence=0.95)


def test_ranks_are_shares_of_the_pool_and_ties_share_theirs():
    pairs = [replace(pair, engagement=float(e)) for pair, e in zip(some_pairs(6, 6), (5, 1, 1, 9, 3, 3), strict=True)]
    assert (of(pairs).target * 12).tolist() == pytest.approx([9, 2, 2, 11, 6, 6])


def test_a_conversation_is_in_one_fold_only_and_folds_are_even():
    own = of(sorted(some_pairs(60, 20), key=lambda pair: pair.reply))
    assert all(len(set(own.folds[own.conversations == number])) == 1 for number in range(20))
    assert np.bincount(own.folds).tolist() == [12] * FOLDS


def test_pairs_that_cannot_carry_a_fit_are_reported():
    with pytest.raises(InputError, match=r"reward\.jsonl:engagement: found 1\.0 throughout"):
        of([replace(pair, engagement=1.0) for pair in some_pairs(60, 12)], "reward")
    with pytest.raises(InputError, match=r"4 conversations; expected at least 5.*split\.judge_pairs"):
        of(some_pairs(60, FOLDS - 1))


def test_spearman_is_scipys_and_an_error_where_there_is_none():
    x, y = np.random.default_rng(0).integers(0, 5, size=(2, 50))
    assert spearman(x, y, "f") == pytest.approx(spearmanr(x, y).statistic)
    with pytest.raises(InputError, match="hardly vary"):
        spearman(np.ones(5), np.arange(5), "f")


def test_intervals_resample_conversations_not_pairs():
    """Ten copies of a pair in each conversation: were pairs resampled, the interval would be far too narrow."""
    copies = [replace(pair, id=f"{pair.id}-{i}") for pair in some_pairs(60, 60, length=1.0) for i in range(10)]
    cut = [replace(pair, conversation=pair.id) for pair in copies]
    predicted = np.array([len(pair.post) + 3 * len(pair.reply) for pair in copies])
    whole, parted = (of(pairs).measured(predicted)[0] for pairs in (copies, cut))
    assert whole["spearman"] == parted["spearman"]
    assert whole["spearman_low"] < whole["spearman"] < whole["spearman_high"]
    assert whole["spearman_high"] - whole["spearman_low"] > 2 * (parted["spearman_high"] - parted["spearman_low"])


@pytest.mark.parametrize(
    ("name", "signal", "at_least", "said"),
    [
        ("judge", {"length": 1.0, "noise": 0.5}, 0.15, ": the judge ranks unseen replies better than chance"),
        ("reward", {"asking": 2.0, "length": 0.3}, 0.45, ": better than the reply's length"),
    ],
)
def test_a_signal_is_found_and_what_is_reported_holds_on_fresh_conversations(name, signal, at_least, said):
    found, report = fitted_to(some_pairs(400, 80, **signal), name)
    low, high = report["spearman_low"], report["spearman_high"]
    assert at_least < low < report["spearman"] < high
    assert said in report["verdict"]
    fresh = some_pairs(400, 80, seed=9, **signal)
    again = spearmanr(found.predict(*texts(fresh)), [pair.engagement for pair in fresh]).statistic
    assert low - 0.1 < again < high + 0.1


@pytest.mark.parametrize(("name", "said"), [("judge", "no better than chance is"), ("reward", "not established to be")])
def test_a_conversation_never_predicts_itself_and_where_nothing_is_found_that_is_said(name, said):
    """Five copies of one pair per conversation and no signal: folds that cut conversations would find the copies."""
    pairs = [replace(pair, id=f"{pair.id}-{copy}") for pair in some_pairs(80, 80) for copy in range(5)]
    _, report = fitted_to(pairs, name, penalty=0.0)
    assert report["spearman"] < 0.25
    assert report["spearman_low"] < 0.05
    assert said in report["verdict"]


@pytest.mark.parametrize(("name", "files"), [("reward", 4), ("judge", 3)])
def test_the_stage_writes_the_same_bytes_twice(tmp_path, name, files):
    pairs, phases = some_pairs(60, 12, length=1.0), some_pairs(30, 10, seed=4, prefix="phase")
    write_pairs(tmp_path / "own.jsonl", pairs)
    write_pairs(tmp_path / "full.jsonl", phases)
    own = ranked(pairs, name, 20, 0.95, tmp_path / "own.jsonl")
    made = []
    for out in (tmp_path / "one", tmp_path / "two"):
        if name == "reward":
            make_reward_model(own, Letters(), out / "m", out / "report.json", replace(SETTINGS, epochs=3))
        else:
            make_judge(own, tmp_path / "full.jsonl", Letters(), out / "m", out / "report.json", 0.75)
        made.append({str(file.relative_to(out)): file.read_bytes() for file in out.rglob("*.*")})
    assert len(made[0]) == files
    assert made[0] == made[1]
    assert b'"file": "own.jsonl"' in made[0]["report.json"]
    assert name == "judge" or b"60 pairs of 12 conversations" in made[0]["m/README.md"]


def test_a_fit_is_read_back_as_it_was_saved_and_what_is_missing_or_damaged_is_reported(tmp_path):
    def opened():
        return ranks.opened(tmp_path, "judge", ["p"], lambda about, tensors: (about["bias"], *tensors["weights"]))

    about, tensors = tmp_path / "judge.json", tmp_path / "judge.safetensors"
    with pytest.raises(InputError, match=r"judge\.json: found no such file"):
        opened()
    ranks.save(tmp_path, "judge", {"weights": np.arange(3.0)}, sound := {"features": ["p"], "bias": 7})
    assert opened() == (7, 0, 1, 2)
    assert {file.name for file in tmp_path.iterdir()} == {about.name, tensors.name}  # no pickle
    for damage, found in ({"features": ["p", "r"]}, "other features"), ({"bias": None}, "bias"), ({}, "header"):
        about.write_text(json.dumps({key: value for key, value in (sound | damage).items() if value}))
        if not damage:
            tensors.write_bytes(b"not tensors")
        with pytest.raises(
            InputError, match=f"{found}.*; expected a judge with the features of this version, p"
        ) as caught:
            opened()
        assert caught.value.problems[0].where == str(tmp_path)
    tensors.unlink()
    with pytest.raises(InputError, match=r"judge\.safetensors: found no such file"):
        opened()


def test_accuracies_count_pairs_any_far_within_a_post_and_within_a_person():
    generator = np.random.default_rng(0)
    pairs = [
        replace(pair, id=f"k{i // 6}:{i % 6}", conversation=f"k{i // 6}", post=f"post {i % 9}", engagement=float(e))
        for i, (pair, e) in enumerate(zip(some_pairs(60, 10), generator.integers(0, 8, size=60), strict=True))
    ]
    own, predicted = of(pairs), generator.integers(0, 6, size=60).astype(float)
    found = own.measured(predicted)[0]
    allowed = {
        "pairwise_accuracy": lambda i, j: True,
        "pairwise_accuracy_far": lambda i, j: abs(own.target[i] - own.target[j]) >= 0.5,
        "pairwise_accuracy_within_post": lambda i, j: pairs[i].post == pairs[j].post,
        "pairwise_accuracy_within_person": lambda i, j: i // 6 == j // 6 and j - i == 2,
    }
    for name, may in allowed.items():
        two = [(i, j) for i, j in combinations(range(60), 2) if own.target[i] != own.target[j] and may(i, j)]
        signs = [np.sign((predicted[i] - predicted[j]) * (own.target[i] - own.target[j])) for i, j in two]
        assert found[name] == pytest.approx((np.array(signs) / 2 + 0.5).mean())
        assert found[f"{name}_low"] < found[name] < found[f"{name}_high"]
    rows = generator.integers(60, size=60)  # rows drawn twice count twice
    every = np.array([(i, j) for i, j in combinations(range(60), 2) if own.target[i] != own.target[j]])
    drawn = [np.sign((predicted[i] - predicted[j]) * (own.target[i] - own.target[j])) for i, j in combinations(rows, 2)
             if own.target[i] != own.target[j]]  # fmt: skip
    assert ranks.accuracy(every, predicted, own.target)(rows) == pytest.approx((np.array(drawn) / 2 + 0.5).mean())


def test_what_a_source_does_not_have_is_not_compared_and_the_judge_says_that_it_has_no_ceiling():
    _, report = fitted_to(some_pairs(100, 20, length=1.0), "judge")
    assert {name for name in report if name.startswith("pairwise") and not name.endswith(("low", "high"))} == {
        "pairwise_accuracy", "pairwise_accuracy_far",
    }  # fmt: skip
    assert report["ceiling"].keys() == {"neighbours", "note"}
