"""The engagement judge: n-grams, ridge regression against its definition, thresholds, files."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from polychrome.engagement.judge import PENALTIES, Judge, Thresholds, cross_validate, make_judge, n_grams
from polychrome.engagement.ranks import ranked
from polychrome.errors import InputError
from polychrome.pairs.schema import write_pairs
from tests.encoders import Letters

from .pairs import fitted_to, some_pairs, texts

SIGNAL = {"length": 1.0, "noise": 0.5}
SMALL = Judge(("rain",), ("no", "soup", "yes"), np.array([1.0, 2.0, 3.0, 4.0]), 0.5, Thresholds(0.1, 0.2, 0.3))


def test_the_n_grams_of_a_text_are_its_words_and_marks_alone_and_in_twos():
    alone, in_twos = ("^", "do", "you", "?", "no", "!", "$"), ("^ do", "do you", "you ?", "? no", "no !", "! $")
    assert n_grams("Do you?  No!") == {*alone, *in_twos}
    assert n_grams("I\u2019m") == n_grams("i'm")


def test_a_text_is_a_unit_vector_over_the_n_grams_that_the_judge_knows():
    given = ["rain rain", "sun"], ["no soup today", "maybe"]
    assert SMALL.design(*given).toarray() == pytest.approx(np.array([[1, 0.5**0.5, 0.5**0.5, 0], [0, 0, 0, 0]]))
    assert SMALL.predict(*given) == pytest.approx([0.5 + 1 + 5 * 0.5**0.5, 0.5])


def test_an_n_gram_that_few_pairs_have_is_not_looked_at():
    pairs = some_pairs(60, 12)
    pairs[:4] = [replace(pair, reply=f"{pair.reply} zebra") for pair in pairs[:4]]
    judge, _ = fitted_to(pairs, "judge")
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

    def best(keep):
        """The penalty with the least squared error over the folds in ``keep``, each predicted from the others."""

        def error(penalty):
            others = {f: np.isin(folds, [g for g in keep if g != f]) for f in keep}
            return sum(((predicted(others[f], folds == f, penalty) - y[folds == f]) ** 2).sum() for f in keep)

        return min(PENALTIES, key=error)

    penalty, held_out = cross_validate(sparse.csr_matrix(x), y, folds)
    assert penalty == best(range(4))
    for f in range(4):
        expected = predicted(folds != f, folds == f, best([g for g in range(4) if g != f]))
        assert held_out[folds == f] == pytest.approx(expected, abs=1e-4)


def test_predictions_lie_around_the_middle_of_the_pool_whatever_the_unit_of_engagement_also_with_ties():
    pairs = some_pairs(300, 40, **SIGNAL)
    judge, _ = fitted_to(pairs, "judge")
    assert judge.predict(*texts(pairs)).mean() == pytest.approx(0.5, abs=1e-9)
    stretched, _ = fitted_to([replace(pair, engagement=pair.engagement**3 * 100) for pair in pairs], "judge")
    assert np.array_equal(judge.weights, stretched.weights)
    tied, report = fitted_to([replace(pair, engagement=float(i % 3 == 0)) for i, pair in enumerate(pairs)], "judge")
    assert tied.predict(*texts(pairs)).mean() == pytest.approx(0.5, abs=1e-9)
    assert -1 <= report["spearman_low"] <= report["spearman_high"] <= 1


def test_thresholds_let_nine_human_replies_in_ten_be_on_topic_and_as_many_engage_as_the_quantile_leaves():
    phases = some_pairs(101, 20, seed=5, **SIGNAL)
    judge, report = fitted_to(some_pairs(100, 20, **SIGNAL), "judge", phases)
    p, r = (Letters().embed(each).astype(float) for each in texts(phases))
    on_topic = (p * r).sum(1) >= judge.thresholds.on_topic - 1e-12  # of 101: the 10th percentile itself is on topic
    assert on_topic.sum() == 91
    assert (judge.predict(*texts(phases)) >= judge.thresholds.engagement).sum() == 26  # of 101, at the quantile 0.75
    assert report["pass_quantile"] == 0.75
    lower, _ = fitted_to(some_pairs(100, 20, **SIGNAL), "judge", phases, pass_quantile=0.5)
    assert (lower.predict(*texts(phases)) >= lower.thresholds.engagement).sum() == 51


def test_replies_are_of_one_class_from_the_cosine_that_one_in_a_hundred_to_different_posts_exceeds():
    phases = some_pairs(60, 12, seed=5, **SIGNAL)
    judge, report = fitted_to(some_pairs(100, 20, **SIGNAL), "judge", phases)
    vectors = Letters().embed([pair.reply for pair in phases]).astype(float)
    apart = [
        vectors[i] @ vectors[j] for i, a in enumerate(phases) for j, b in enumerate(phases[:i]) if a.post != b.post
    ]
    assert np.mean(np.array(apart) > judge.thresholds.same_class) == pytest.approx(0.01, abs=2 / len(apart))
    reported = report["same_class_thresholds"]
    assert reported["1.0%"] == judge.thresholds.same_class
    assert reported["0.1%"] >= reported["1.0%"] > reported["5.0%"]


def test_a_conversation_that_an_arm_trains_on_may_not_teach_the_judge(tmp_path):
    write_pairs(tmp_path / "full.jsonl", some_pairs(30, 10, seed=4))
    own = ranked(some_pairs(60, 12), "judge", 20, 0.95)
    with pytest.raises(InputError, match=r"judge\.jsonl:conversation: found 10 conversations that"):
        make_judge(own, tmp_path / "full.jsonl", Letters(), tmp_path / "m", tmp_path / "j.json", 0.75)
    assert not (tmp_path / "m").exists()


def test_a_judge_is_read_back_as_it_was_saved_and_weights_that_do_not_fit_are_reported(tmp_path):
    SMALL.save(tmp_path / "judge")
    again, given = Judge.open(tmp_path / "judge"), (["rain"], ["yes"])
    assert np.array_equal(again.predict(*given), SMALL.predict(*given))
    assert again.thresholds == SMALL.thresholds
    about = tmp_path / "judge/judge.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"n_grams": {"post": [], "reply": ["a"]}}))
    with pytest.raises(InputError, match="judge: found 4 weights for 1 n-grams"):
        Judge.open(tmp_path / "judge")
