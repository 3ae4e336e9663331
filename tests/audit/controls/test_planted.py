"""Planted arms: what belongs to which post is planted, and what must win does; a blind ruler is caught."""

import json

import numpy as np
import pytest

from polychrome.audit.controls.planted import EXPECTED, OFF_TOPIC, PLANTED, RANDOM, REPEATED, measure, replies_of
from polychrome.audit.controls.record import AS_EXPECTED, NOT_AS_EXPECTED
from polychrome.errors import InputError
from polychrome.pairs.schema import Pair
from tests.evaluation.fakes import WordEncoder, length_judge, settings

SAMPLES = 6
SETTINGS = settings(ks=(1, SAMPLES))
TOPICS = ("tea", "birds", "music", "trains", "gardens")
SAID = ("a kind of it", "that is lovely ok", "oh yes it does too", "well same then", "hm which sounds nice like a day")


def pairs(count, prefix):
    """Pairs whose replies speak of their posts' topics; some engage the judge of the tests and some do not."""
    generator = np.random.default_rng(len(prefix))
    made = []
    for i in range(count):
        topic, said = TOPICS[i % len(TOPICS)], SAID[int(generator.integers(len(SAID)))]
        reply = f"{topic} {topic} {topic} {said} {prefix}{i}"
        engagement = float(len(said.split()))  # the judge of the tests counts known words
        made.append(Pair(f"{prefix}{i}", f"{prefix}c{i}", f"{topic} {topic} {topic} {i}", reply, engagement, ""))
    return made


TEST, POOL = pairs(40, "t"), pairs(200, "pool")


def test_each_arm_has_the_replies_that_are_planted_in_it():
    found = replies_of(TEST, POOL, WordEncoder(), SAMPLES)
    for i, pair in enumerate(TEST):
        topic = pair.post.split()[0]
        assert found[PLANTED][i][0] == pair.reply
        assert all(reply.startswith(topic) for reply in found[PLANTED][i])
        assert not any(reply.startswith(topic) for reply in found[OFF_TOPIC][i])
        assert found[REPEATED][i] == (pair.reply,) * SAMPLES
        assert len(set(found[RANDOM][i])) == SAMPLES
        assert {len(replies[i]) for replies in found.values()} == {SAMPLES}
    others = {pair.reply for pair in POOL}
    assert all(set(found[arm][i]) <= others for arm in (OFF_TOPIC, RANDOM) for i in range(len(TEST)))
    assert found == replies_of(TEST, POOL, WordEncoder(), SAMPLES)


def run(tmp_path, on_topic):
    length_judge(on_topic).save(tmp_path / "judge")
    return measure(TEST, POOL, WordEncoder(), tmp_path / "judge", tmp_path / "out", SETTINGS, SAMPLES)


def test_what_must_win_does(tmp_path):
    controls, details = run(tmp_path, on_topic=0.6)
    assert [c.verdict for c in controls] == [AS_EXPECTED] * (len(EXPECTED) + 1)
    assert details["means"][REPEATED]["semantic_diversity"] == pytest.approx(0, abs=1e-6)
    assert details["pool"] == 200
    json.dumps(details, allow_nan=False)
    assert (tmp_path / "out" / "evaluation" / PLANTED / "seed-0" / "replies.jsonl").is_file()


def test_a_ruler_that_is_blind_to_the_topic_is_caught(tmp_path):
    controls, _ = run(tmp_path, on_topic=-1.0)
    verdicts = {c.name: c.verdict for c in controls}
    assert verdicts["planted_planted_above_off_topic_pass_at_1"] == NOT_AS_EXPECTED
    assert verdicts["planted_planted_above_repeated_semantic_diversity"] == AS_EXPECTED


def test_a_pool_that_is_too_small_is_reported():
    with pytest.raises(InputError, match="at least 60, ten for each of the 6 samples"):
        replies_of(TEST, POOL[:30], WordEncoder(), SAMPLES)
