"""The engagement judge: ridge regression against its definition, honest held-out figures, thresholds, files."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import spearmanr

from polychrome.engagement.judge import PENALTIES, Judge, Thresholds, cross_validate, fit, make_judge, n_grams
from polychrome.engagement.ranks import ranked
from polychrome.errors import InputError
from polychrome.pairs.schema import write_pairs
from tests.encoders import Letters

from .pairs import some_pairs

SIGNAL = {"length": 1.0, "noise": 0.5}


def fitted_to(pairs, phases=None):
    return fit(ranked(pairs, "judge", 200, 0.95), phases or pairs, Letters())


@pytest.fixture(scope="module")
def fitted():
    """The pairs, the judge and its report."""
    return (pairs := some_pairs(300, 40, **SIGNAL)), *fitted_to(pairs)


def test_the_n_grams_of_a_text_are_its_words_and_marks_alone_and_in_twos():
    assert n_grams("Do you?  No!") == {
        *("^", "do", "you", "?", "no", "!", "$"),
        *("^ do", "do you", "you ?", "? no", "no !", "! $"),
    }
    assert n_grams("I\u2019m") == n_grams("i'm")


def test_a_text_is_a_unit_vector_over_the_n_grams_that_the_judge_knows():
    judge = Judge(("rain",), ("no", "soup", "yes"), np.array([1.0, 2.0, 3.0, 4.0]), 0.5, Thresholds(0, 0))
    design = judge.design(["rain rain", "sun"], ["no soup today", "maybe"])
    assert design.toarray() == pytest.approx(np.array([[1, 0.5**0.5, 0.5**0.5, 0], [0, 0, 0, 0]]))
    predicted = judge.predict(["rain rain", "sun"], ["no soup today", "maybe"])
    assert predicted == pytest.approx([0.5 + 1 + 5 * 0.5**0.5, 0.5])


def test_an_n_gram_that_few_pairs_have_is_not_looked_at():
    pairs = some_pairs(60, 12)
    pairs[:4] = [replace(pair, reply=f"{pair.reply} zebra") for pair in pairs[:4]]
    judge, _ = fitted_to(pairs)
    assert "rain" in judge.reply_grams
    assert "zebra" not in judge.reply_grams


def test_cross_validation_equals_fitting_fold_by_fold():
    generator = np.random.default_rng(2)
    x = generator.normal(size=(60, 8))
    y = x[:, 0] + generator.normal(size=60)
    folds = np.arange(60) % 4

    def predicted(train, test, penalty):
        mean_x, mean_y = x[train].mean(0), y[train].mean()
        c = x[train] - mean_x
        return (x[test] - mean_x) @ np.linalg.solve(c.T @ c + penalty * np.eye(8), c.T @ (y[train] - mean_y)) + mean_y

    def error(keep, penalty):
        """Squared error over the folds in ``keep``, each predicted from the others in ``keep``."""
        return sum(
            ((predicted(np.isin(folds, [g for g in keep if g != f]), folds == f, penalty) - y[folds == f]) ** 2).sum()
            for f in keep
        )

    penalty, held_out = cross_validate(sparse.csr_matrix(x), y, folds)
    assert penalty == min(PENALTIES, key=lambda p: error(range(4), p))
    for f in range(4):
        chosen = min(PENALTIES, key=lambda p: error([g for g in range(4) if g != f], p))
        assert held_out[folds == f] == pytest.approx(predicted(folds != f, folds == f, chosen), abs=1e-4)


def test_a_conversation_never_predicts_itself():
    """Five copies of one pair per conversation and no signal: folds that cut conversations would find the copies."""
    pairs = [replace(pair, id=f"{pair.id}-{copy}") for pair in some_pairs(40, 40) for copy in range(5)]
    _, report = fitted_to(pairs)
    assert report["spearman"] < 0.2
    assert report["spearman_low"] < 0
    assert "no better than chance is established" in report["verdict"]


def test_a_real_signal_is_found_and_holds_on_fresh_conversations(fitted):
    _, judge, report = fitted
    assert report["spearman_low"] > 0.15
    assert report["verdict"].endswith("the judge ranks unseen replies better than chance")
    fresh = some_pairs(300, 40, seed=9, **SIGNAL)
    predicted = judge.predict([p.post for p in fresh], [p.reply for p in fresh])
    low, high = report["spearman_low"], report["spearman_high"]
    assert low - 0.1 < spearmanr(predicted, [p.engagement for p in fresh]).statistic < high + 0.1


def test_predictions_lie_around_the_middle_of_the_pool_whatever_the_unit_of_engagement(fitted):
    pairs, judge, _ = fitted
    assert judge.predict([p.post for p in pairs], [p.reply for p in pairs]).mean() == pytest.approx(0.5, abs=1e-9)
    stretched, _ = fitted_to([replace(pair, engagement=pair.engagement**3 * 100) for pair in pairs])
    assert np.array_equal(judge.weights, stretched.weights)


def test_thresholds_let_nine_human_replies_in_ten_be_on_topic_and_half_engage():
    phases = some_pairs(101, 20, seed=5, **SIGNAL)
    judge, _ = fitted_to(some_pairs(100, 20, **SIGNAL), phases)
    posts, replies = [p.post for p in phases], [p.reply for p in phases]
    cosine = np.sum(Letters().embed(posts).astype(float) * Letters().embed(replies), axis=1)
    assert (cosine >= judge.thresholds.on_topic - 1e-12).sum() == 91  # of 101: the 10th percentile itself is on topic
    assert (judge.predict(posts, replies) >= judge.thresholds.engagement).sum() == 51


def test_ties_in_engagement_are_no_obstacle():
    pairs = [replace(pair, engagement=float(i % 3 == 0)) for i, pair in enumerate(some_pairs(80, 40))]
    _, report = fitted_to(pairs)
    assert -1 <= report["spearman_low"] <= report["spearman_high"] <= 1


def test_a_conversation_that_an_arm_trains_on_may_not_teach_the_judge(tmp_path):
    own, phases = tmp_path / "judge.jsonl", tmp_path / "full.jsonl"
    write_pairs(own, some_pairs(60, 12))
    write_pairs(phases, some_pairs(30, 10, seed=4))
    with pytest.raises(InputError, match="10 conversations that"):
        make_judge(own, phases, Letters(), tmp_path / "m", tmp_path / "j.json", resamples=20, confidence=0.95)
    assert not (tmp_path / "m").exists()


def test_a_judge_is_read_back_as_it_was_saved_and_no_pickle_is_written(tmp_path, fitted):
    pairs, judge, _ = fitted
    judge.save(tmp_path / "judge")
    again = Judge.open(tmp_path / "judge")
    posts, replies = [p.post for p in pairs], [p.reply for p in pairs]
    assert np.array_equal(again.predict(posts, replies), judge.predict(posts, replies))
    assert again.thresholds == judge.thresholds
    assert sorted(file.name for file in (tmp_path / "judge").iterdir()) == ["judge.json", "judge.safetensors"]


def test_a_damaged_file_is_reported(tmp_path, fitted):
    fitted[1].save(tmp_path / "judge")
    about, tensors = tmp_path / "judge/judge.json", tmp_path / "judge/judge.safetensors"
    sound = json.loads(about.read_text())
    for damage in ({"features": ["p", "r"]}, {"n_grams": {"post": [], "reply": ["a"]}}, {}):
        about.write_text(json.dumps(sound | damage))
        if not damage:
            tensors.write_bytes(b"not tensors")
        with pytest.raises(InputError, match="judge: found"):
            Judge.open(tmp_path / "judge")
    tensors.unlink()
    with pytest.raises(InputError, match="no such file"):
        Judge.open(tmp_path / "judge")
