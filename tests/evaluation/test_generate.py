"""Answers to test posts: n replies per post, and how likely the model finds the human one."""

from dataclasses import replace

import pytest

from polychrome.engine.sampling import SamplingSettings
from polychrome.evaluation.evaluate import read_generations
from polychrome.evaluation.generate import answer, human_likelihoods
from polychrome.files import write_jsonl
from tests.engine.naive import naive_scores

SETTINGS = SamplingSettings(temperature=0.8, max_new_tokens=6)


def test_a_record_holds_the_pair_its_replies_and_the_likelihood_of_the_human_reply(policy, chat, pairs):
    records = answer(policy, chat, pairs[:3], 4, SETTINGS, seed=1, memory_mib=64)
    assert [(r["id"], r["post"], r["human"]) for r in records] == [(p.id, p.post, p.reply) for p in pairs[:3]]
    assert all(len(r["replies"]) == 4 for r in records)
    likelihoods = human_likelihoods(policy, chat, pairs[:3])
    assert [(r["human_nll"], r["human_tokens"]) for r in records] == [(round(nll, 6), n) for nll, n in likelihoods]


def test_turns_before_a_post_go_from_the_pair_into_its_record_and_back(policy, chat, pairs, tmp_path):
    said = (("user", "Hi."), ("assistant", "Hello."))
    some = [replace(pairs[0], context=said), pairs[1]]
    records = answer(policy, chat, some, 2, SETTINGS, seed=1, memory_mib=64)
    without = answer(policy, chat, pairs[:2], 2, SETTINGS, seed=1, memory_mib=64)
    assert records[0]["human_nll"] != without[0]["human_nll"]  # the model has read them
    assert records[1] == without[1]
    assert "context" not in records[1]
    write_jsonl(tmp_path / "seed-1.jsonl", records)
    assert [row.context for row in read_generations(tmp_path / "seed-1.jsonl")] == [said, ()]


def test_human_likelihoods_are_those_of_the_plain_forward_pass_however_many_are_scored_together(policy, chat, pairs):
    many = pairs * 3  # more than one batch of 16
    found = human_likelihoods(policy, chat, many)
    for pair, (nll, tokens) in zip(pairs, found, strict=False):
        reply = chat.reply(pair.reply)
        logps, _ = naive_scores(policy, chat.prompt(pair.post), reply)
        assert tokens == len(reply)
        assert nll == pytest.approx(-logps.sum().item(), abs=1e-3)
    assert [n for n, _ in found] == pytest.approx([n for n, _ in found[: len(pairs)]] * 3, abs=1e-3)


def test_a_posts_replies_depend_on_seed_and_pair_not_on_the_other_posts(policy, chat, pairs):
    def replies(some, seed=1):
        return {r["id"]: r["replies"] for r in answer(policy, chat, some, 3, SETTINGS, seed=seed, memory_mib=64)}

    together = replies(pairs[:4])
    assert replies(pairs[2:4]) == {p.id: together[p.id] for p in pairs[2:4]}
    assert replies(pairs[:4], seed=2) != together


def test_equal_posts_of_different_pairs_draw_apart(policy, chat, pairs):
    twins = [pairs[0], replace(pairs[0], id="twin")]
    first, second = answer(policy, chat, twins, 3, SETTINGS, seed=1, memory_mib=64)
    assert first["replies"] != second["replies"]
