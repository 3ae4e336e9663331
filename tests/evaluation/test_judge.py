"""The engagement judge: ridge regression against its definition, honest held-out figures, thresholds, files."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from polychrome.errors import InputError
from polychrome.evaluation.judge import (
    FOLDS,
    PENALTIES,
    SURFACE,
    Judge,
    Moments,
    cross_validate,
    fit,
    make_judge,
    ridge_path,
    spearman_interval,
    surface,
)
from polychrome.pairs.schema import Pair, write_pairs

from .fakes import WIDTH, WordEncoder

WORDS = ["hiking", "music", "rain", "lunch", "work", "dogs", "sleep", "exams", "travel", "soup", "chess", "snow"]
HOW = {"resamples": 200, "confidence": 0.95}


def some_pairs(count, conversations, seed=0, prefix="c", signal=1.0):
    """Pairs whose engagement rises with the reply's number of words, plus noise."""
    generator = np.random.default_rng(seed)
    pairs = []
    for i in range(count):
        post, reply = (" ".join(generator.choice(WORDS, size=generator.integers(3, 15))) for _ in range(2))
        engagement = float(np.exp(signal * np.log1p(len(reply.split())) + 0.5 * generator.normal()))
        pairs.append(Pair(f"{prefix}-{i}", f"{prefix}{i % conversations}", post, reply, engagement, "someone"))
    return pairs


def test_ridge_solves_its_normal_equations_for_every_penalty():
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(30, 5)) + 3, generator.normal(size=30) - 7
    weights, intercepts = ridge_path(Moments.of(x, y), PENALTIES)
    centred = x - x.mean(0)
    for column, penalty in enumerate(PENALTIES):
        direct = np.linalg.solve(centred.T @ centred + penalty * np.eye(5), centred.T @ (y - y.mean()))
        assert weights[:, column] == pytest.approx(direct, abs=1e-10)
        assert intercepts[column] == pytest.approx(y.mean() - x.mean(0) @ direct, abs=1e-9)


def test_moments_of_a_fold_are_taken_away_as_if_its_rows_had_never_been_there():
    generator = np.random.default_rng(1)
    x, y = generator.normal(size=(30, 5)), generator.normal(size=30)
    left = Moments.of(x, y) - Moments.of(x[20:], y[20:])
    assert ridge_path(left, [3.0])[0] == pytest.approx(ridge_path(Moments.of(x[:20], y[:20]), [3.0])[0], abs=1e-12)


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

    penalty, held_out = cross_validate(x, y, folds)
    assert penalty == min(PENALTIES, key=lambda p: error(range(4), p))
    for f in range(4):
        chosen = min(PENALTIES, key=lambda p: error([g for g in range(4) if g != f], p))
        assert held_out[folds == f] == pytest.approx(predicted(folds != f, folds == f, chosen), abs=1e-9)


def test_a_conversation_never_predicts_itself():
    """Five copies of a pair a conversation and no signal: folds that cut conversations would find the copies."""
    alone = some_pairs(40, 40, signal=0.0)
    pairs = [replace(pair, id=f"{pair.id}-{copy}") for pair in alone for copy in range(5)]
    _, report = fit(pairs, pairs, WordEncoder(width=64), **HOW)
    assert report["spearman"] < 0.2
    assert report["spearman_low"] < 0
    assert "no better than chance is established" in report["verdict"]


def test_a_real_signal_is_found_and_its_interval_excludes_zero():
    pairs = some_pairs(300, 40)
    encoder = WordEncoder()
    judge, report = fit(pairs, pairs, encoder, **HOW)
    assert report["spearman_low"] > 0.4
    assert "better than chance" in report["verdict"]
    assert "no better" not in report["verdict"]
    fresh = some_pairs(300, 40, seed=9)
    predicted = judge.predict([p.post for p in fresh], [p.reply for p in fresh], encoder)
    low, high = report["spearman_low"], report["spearman_high"]
    assert low - 0.1 < spearmanr(predicted, [p.engagement for p in fresh]).statistic < high + 0.1


def test_predictions_do_not_depend_on_the_unit_of_engagement():
    pairs = some_pairs(100, 20)
    stretched = [replace(pair, engagement=pair.engagement**3 * 100) for pair in pairs]
    (one, _), (other, _) = (fit(p, pairs, WordEncoder(), **HOW) for p in (pairs, stretched))
    assert np.array_equal(one.weights, other.weights)


def test_the_predicted_rank_lies_around_the_middle_of_the_pool():
    pairs = some_pairs(100, 20)
    encoder = WordEncoder()
    judge, _ = fit(pairs, pairs, encoder, **HOW)
    predicted = judge.predict([p.post for p in pairs], [p.reply for p in pairs], encoder)
    assert predicted.mean() == pytest.approx(0.5, abs=1e-9)


def test_thresholds_let_nine_human_replies_in_ten_be_on_topic_and_half_engage():
    own, phases = some_pairs(100, 20), some_pairs(101, 20, seed=5)
    encoder = WordEncoder()
    judge, _ = fit(own, phases, encoder, **HOW)
    posts, replies = [p.post for p in phases], [p.reply for p in phases]
    cosine = np.sum(encoder.embed(posts).astype(float) * encoder.embed(replies), axis=1)
    assert (cosine >= judge.thresholds.on_topic).sum() == 91  # of 101: the 10th percentile itself is on topic
    assert (judge.predict(posts, replies, encoder) >= judge.thresholds.engagement).sum() == 51


def test_a_reply_longer_than_any_that_was_seen_earns_no_more_than_the_longest():
    pairs = some_pairs(200, 20)
    encoder = WordEncoder()
    judge, _ = fit(pairs, pairs, encoder, **HOW)
    column = SURFACE.index("log_reply_words")
    assert judge.weights[2 * WIDTH + column] > 0
    texts = ["rain " * 14, "rain " * 500]
    vectors = encoder.embed(texts)
    raw = surface(texts, texts, vectors, vectors)
    features = judge._features(["a"] * 2, texts, vectors, vectors)
    assert raw[1, column] > raw[0, column]
    assert features[1, 2 * WIDTH + column] == features[0, 2 * WIDTH + column]


def test_surface_features_are_what_their_names_say():
    posts, replies = ["are you ok?", "fine"], ["yes I am", "really?"]
    p, r = np.eye(2), np.array([[1.0, 0], [0.6, 0.8]])
    expected = [[1, np.log(4), 0, np.log(4), 1], [0.8, np.log(2), 1, np.log(2), 0]]
    assert surface(posts, replies, p, r) == pytest.approx(np.array(expected))


def test_the_interval_of_spearman_resamples_conversations_not_pairs():
    generator = np.random.default_rng(3)
    per_conversation = generator.normal(size=(20, 2))
    x, y = np.repeat(per_conversation, 10, axis=0).T  # ten copies of a pair in each of twenty conversations
    value, low, high = spearman_interval(x, y, np.repeat(np.arange(20), 10), 400, 0.95, 0)
    _, low_pairs, high_pairs = spearman_interval(x, y, np.arange(200), 400, 0.95, 0)
    assert value == pytest.approx(spearmanr(x, y).statistic)
    assert high - low > 2 * (high_pairs - low_pairs)


def test_a_judge_is_read_back_as_it_was_saved_and_no_pickle_is_written(tmp_path):
    pairs = some_pairs(60, 12)
    encoder = WordEncoder()
    judge, _ = fit(pairs, pairs, encoder, **HOW)
    judge.save(tmp_path / "judge")
    again = Judge.open(tmp_path / "judge")
    posts, replies = [p.post for p in pairs], [p.reply for p in pairs]
    assert np.array_equal(again.predict(posts, replies, encoder), judge.predict(posts, replies, encoder))
    assert again.thresholds == judge.thresholds
    assert sorted(file.name for file in (tmp_path / "judge").iterdir()) == ["judge.json", "judge.safetensors"]


def test_the_stage_writes_the_same_bytes_twice(tmp_path):
    write_pairs(tmp_path / "judge.jsonl", some_pairs(60, 12))
    write_pairs(tmp_path / "full.jsonl", some_pairs(30, 10, seed=4, prefix="phase"))
    made = []
    for name in ("one", "two"):
        out = tmp_path / name
        make_judge(
            tmp_path / "judge.jsonl", tmp_path / "full.jsonl", WordEncoder(), out / "m", out / "judge.json", **HOW
        )
        made.append([file.read_bytes() for file in sorted(out.rglob("*.*"))])
    assert len(made[0]) == 3
    assert made[0] == made[1]


def test_a_conversation_that_an_arm_trains_on_may_not_teach_the_judge(tmp_path):
    write_pairs(tmp_path / "judge.jsonl", some_pairs(60, 12))
    write_pairs(tmp_path / "full.jsonl", some_pairs(30, 10, seed=4))
    with pytest.raises(InputError, match="10 conversations that"):
        make_judge(
            tmp_path / "judge.jsonl", tmp_path / "full.jsonl", WordEncoder(), tmp_path / "m", tmp_path / "j.json", **HOW
        )
    assert not (tmp_path / "m").exists()


def test_pairs_that_cannot_carry_a_fit_are_told():
    pairs = some_pairs(60, 12)
    flat = [replace(pair, engagement=1.0) for pair in pairs]
    with pytest.raises(InputError, match=r"judge\.jsonl:engagement: found 1\.0 throughout"):
        fit(flat, pairs, WordEncoder(), **HOW)
    with pytest.raises(InputError, match=f"at least {FOLDS}"):
        fit(some_pairs(60, FOLDS - 1), pairs, WordEncoder(), **HOW)


def test_ties_in_engagement_are_no_obstacle():
    pairs = [replace(pair, engagement=float(i % 3 == 0)) for i, pair in enumerate(some_pairs(80, 40))]
    _, report = fit(pairs, pairs, WordEncoder(), **HOW)
    assert -1 <= report["spearman_low"] <= report["spearman_high"] <= 1


def test_another_encoder_or_a_damaged_file_is_told(tmp_path):
    pairs = some_pairs(60, 12)
    judge, _ = fit(pairs, pairs, WordEncoder(), **HOW)
    with pytest.raises(InputError, match="embeddings of 7 numbers"):
        judge.predict(["a"], ["b"], WordEncoder(width=7))
    judge.save(tmp_path / "judge")
    (tmp_path / "judge" / "judge.safetensors").write_bytes(b"not tensors")
    with pytest.raises(InputError, match="judge: found"):
        Judge.open(tmp_path / "judge")
    (tmp_path / "judge" / "judge.safetensors").unlink()
    with pytest.raises(InputError, match="no such file"):
        Judge.open(tmp_path / "judge")
