"""Ranks of engagement, folds and correlations, against their definitions."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from polychrome.engagement import fitting, judge
from polychrome.engagement.ranks import FOLDS, ranked, spearman
from polychrome.engagement.settings import FitSettings
from polychrome.errors import InputError
from polychrome.pairs.schema import write_pairs
from tests.encoders import Letters

from .pairs import some_pairs


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


@pytest.mark.parametrize(("stage", "files"), [("reward", 4), ("judge", 3)])
def test_the_stage_writes_the_same_bytes_twice(tmp_path, stage, files):
    write_pairs(tmp_path / "own.jsonl", some_pairs(60, 12, length=1.0))
    write_pairs(tmp_path / "full.jsonl", some_pairs(30, 10, seed=4, prefix="phase"))
    settings = FitSettings(learning_rate=1e-3, penalty=0.01, epochs=3, patience=6)
    how = {"resamples": 20, "confidence": 0.95}
    made = []
    for name in ("one", "two"):
        out, own = tmp_path / name, tmp_path / "own.jsonl"
        if stage == "reward":
            fitting.make_reward_model(own, Letters(), out / "m", out / "report.json", settings, **how)
        else:
            judge.make_judge(own, tmp_path / "full.jsonl", Letters(), out / "m", out / "report.json", **how)
        made.append({str(file.relative_to(out)): file.read_bytes() for file in out.rglob("*.*")})
    assert len(made[0]) == files
    assert made[0] == made[1]
    assert b'"file": "own.jsonl"' in made[0]["report.json"]
    assert stage == "judge" or b"60 pairs of 12 conversations" in made[0]["m/README.md"]
