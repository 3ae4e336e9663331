"""`polychrome suggest`: many are drawn; what is no good or no different is dropped, and why is said."""

import io
import json
import os
import re
import shutil

import numpy as np
import pytest

from polychrome.commands.suggest import HOSTILE, choose, in_words
from polychrome.engine import sampler
from polychrome.engine.sampler import Completion
from tests.evaluation.fakes import WordEncoder
from tests.measures.test_languages import VARIED, English
from tests.pipeline.conftest import set_params

POST = "do you like cats"
GOOD = ["i love cats and dogs a lot", "my sister keeps three rabbits", "never had one but i would like to"]


def assert_told(said, message):
    assert re.search(message, said), said


def by_length(posts, replies):
    return np.array([len(reply) / 100 for reply in replies])


def chosen(drawn, k=5, variety=0.3):
    return choose(POST, [(text, True) for text in drawn], by_length, WordEncoder(), k, variety, near=0.6)


@pytest.fixture
def drawn(monkeypatch, chat):
    """What the sampler gives to every post; and the requests that it was asked."""
    texts, asked = [*GOOD, "you are such an idiot", "what is it"], []

    def sample(policy, requests, **how):
        asked.extend(requests)
        completions = [Completion(chat.reply(text), [0.0], text != "what is it") for text in texts]
        return [completions for _ in requests]

    monkeypatch.setattr(sampler, "sample", sample)
    return asked


@pytest.mark.parametrize(
    ("reply", "reason"),
    [("...", "malformed"), ("no no no no no", "malformed"), (POST, "copied"), ("you are such an idiot", HOSTILE)],
)
def test_a_reply_that_is_no_good_is_dropped_and_counted(reply, reason):
    found = chosen([*GOOD, reply, reply])
    assert {one["reply"] for one in found["suggestions"]} == set(GOOD)
    assert (found["drawn"], found["dropped"]) == (5, {reason: 2})


def test_a_reply_that_was_cut_is_dropped():
    found = choose(POST, [(GOOD[0], False), (GOOD[1], True)], by_length, WordEncoder(), 5, 0.3, near=0.6)
    assert [one["reply"] for one in found["suggestions"]] == [GOOD[1]]
    assert found["dropped"] == {"cut off": 1}


def test_of_near_identical_replies_the_one_with_the_higher_score_stays():
    better = f"{GOOD[0]}!!"
    found = chosen([GOOD[0], better, GOOD[1], GOOD[1]])
    assert {one["reply"] for one in found["suggestions"]} == {better, GOOD[1]}
    assert found["dropped"] == {"near-identical": 2}


def test_scores_are_the_rewards_and_the_best_stands_first():
    found = chosen(GOOD)["suggestions"]
    assert [one["score"] for one in found] == sorted((len(text) / 100 for text in GOOD), reverse=True)


def test_variety_gives_up_the_better_reply_for_the_more_different_one():
    """Of the same words in another order, which is not near-identical, the encoder sees no difference."""
    again = "a lot and dogs cats i love it"
    best, other, worst = f"{GOOD[0]} a lot i love it", again, "my hm"
    assert {one["reply"] for one in chosen([best, other, worst], k=2, variety=0)["suggestions"]} == {best, other}
    assert {one["reply"] for one in chosen([best, other, worst], k=2, variety=0.9)["suggestions"]} == {best, worst}


def test_variety_is_not_asked_of_a_script_that_the_encoder_does_not_know_and_that_is_said():
    drawn = [(text, True) for text in VARIED["Japanese"]]
    found = choose("週末は何をしますか", drawn, by_length, English(), 2, 0.9, near=0.6)
    best = sorted(VARIED["Japanese"], key=len, reverse=True)[:2]
    assert [len(one["reply"]) for one in found["suggestions"]] == [len(text) for text in best]
    assert found["unread"] == 5
    printed = in_words({"post": "p", "asked": 2, "model": "m", "reward": "r", **found})
    assert "variety is not defined for this language: 5 replies are taken by their score alone" in printed
    assert "unread" not in chosen(GOOD)


def test_no_reply_that_is_left_is_no_error():
    assert chosen(["..."])["suggestions"] == []


def test_what_is_printed_names_model_reward_and_what_was_dropped_and_that_it_was_by_a_word_list(
    project, polychrome, drawn
):
    printed = polychrome("suggest", POST, "hello there", "-k", 2, "--draw", 5).out
    first, second = printed.strip().split("\n\n")
    for post, part in ((POST, first), ("hello there", second)):
        lines = part.splitlines()
        assert (lines[0], len(lines)) == (f"> {post}", 4)
        scores = [float(line.split()[0]) for line in lines[1:3]]
        assert scores == sorted(scores, reverse=True)
        assert "5 drawn by grpo_from_polychromic/seed-42, scored by its reward (heuristic" in lines[3]
        assert "1 hostile (by a word list" in lines[3]
        assert "1 cut off" in lines[3]


def test_posts_of_a_file_or_of_standard_input_are_answered_in_order_an_object_a_line(
    project, polychrome, drawn, monkeypatch
):
    set_params(project / "params.yaml", {"reward.mix": {"heuristic": 1.0, "learned": 0.0}})
    (project / "posts.txt").write_text("one post\n\n  another one  \n", encoding="utf-8")
    from_file = polychrome("suggest", "--file", "posts.txt", "--json", "--model", "baseline/seed-42").out
    monkeypatch.setattr("sys.stdin", io.StringIO("one post\n\n  another one  \n"))
    assert polychrome("suggest", "--json", "--model", "models/baseline/").out == from_file
    rows = [json.loads(line) for line in from_file.splitlines()]
    assert [row["post"] for row in rows] == ["one post", "another one"]
    assert {row["model"] for row in rows} == {"baseline/seed-42"}
    assert all(set(one) == {"reply", "score"} for row in rows for one in row["suggestions"])
    assert "3 of the 5 asked for are left" in polychrome("suggest", "one post", "--model", "baseline").out


def test_turns_before_a_post_are_part_of_what_the_model_is_asked(project, polychrome, drawn, chat):
    rows = [{"post": POST}, {"post": POST, "context": [["user", "i have a dog"], ["assistant", "nice"]]}]
    (project / "posts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    polychrome("suggest", "--file", "posts.jsonl")
    alone, after = [chat.tokenizer.decode(request.prompt) for request in drawn]
    assert "i have a dog" in after
    assert "i have a dog" not in alone


def test_what_is_drawn_for_a_post_does_not_depend_on_the_others_and_is_the_same_again(project, polychrome):
    """By the model itself, whose replies are noise: what is looked at is how many were dropped, and why."""

    def answers(*posts, seed=0):
        printed = polychrome("suggest", *posts, "--json", "--draw", 40, "--seed", seed).out
        return {row["post"]: row for row in map(json.loads, printed.splitlines())}

    together = answers(POST, "what about rain", "sun")
    assert answers(POST) == {POST: together[POST]}
    assert together[POST]["drawn"] == 40
    assert sum(together[POST]["dropped"].values()) >= 30
    assert answers(POST, seed=1) != answers(POST)


def test_an_arm_without_a_reward_of_its_own_is_scored_by_hybrid(project, polychrome, drawn):
    set_params(project / "params.yaml", {"reward.mix": {"heuristic": 1.0, "learned": 0.0}})
    for model in ("baseline", "zero_shot"):
        assert json.loads(polychrome("suggest", POST, "--json", "--model", model).out)["reward"] == "hybrid"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "grpo_from_polychrome"), "the model: found grpo_from_polychrome; .*Did you mean grpo_from_pol"),
        (
            ("--model", "baseline/seed-7"),
            "a model in models/: baseline/seed-42, grpo_from_polychromic/seed-42",
        ),
        (("--model", "baseline/42"), "expected <arm>/seed-<n>"),
        (("--file", "gone.txt"), r"gone\.txt: found No such file or directory; expected a file of posts"),
        (("--file", "gone.jsonl"), r"gone\.jsonl: found no such file; expected posts"),
        (("--file", "."), r"\.: found Is a directory"),
        (("-k", 0), "-k: found 0; expected 1 or more"),
        (("--draw", 3), "--draw: found 3; expected as many as -k or more"),
        (("--variety", 2), "--variety: found 2.0"),
    ],
)
def test_bad_arguments_end_with_one_message(project, polychrome, arguments, message):
    assert_told(polychrome("suggest", POST, *arguments, fails=True).err, message)


def test_every_post_that_is_too_long_or_no_post_is_named_by_its_line(project, polychrome):
    (project / "posts.txt").write_text(f"short\n{'long ' * 100}\nfine\n{'longer ' * 100}\n", encoding="utf-8")
    said = polychrome("suggest", "--file", "posts.txt", fails=True).err
    assert [line.partition(": ")[0] for line in said.splitlines()[1:]] == ["posts.txt:2", "posts.txt:4"]
    (project / "posts.jsonl").write_text('{"post": ""}\n{"post": "a", "context": ["b"]}\n{"text": "c"}\n')
    said = polychrome("suggest", "--file", "posts.jsonl", fails=True).err
    places = [":".join(line.split(":")[:3]) for line in said.splitlines()[1:]]
    assert places == ["posts.jsonl:1:post", "posts.jsonl:2:context", "posts.jsonl:3:post"]
    (project / "empty.txt").write_text("\n")
    assert_told(
        polychrome("suggest", "--file", "empty.txt", fails=True).err, r"empty\.txt: found nothing; expected a post"
    )
    (project / "latin.txt").write_bytes("caf\xe9".encode("latin-1"))
    assert_told(polychrome("suggest", "--file", "latin.txt", fails=True).err, "found text that is not UTF-8")


def test_a_model_without_its_base_or_its_adapter_or_of_other_params_ends_with_one_message(project, polychrome):
    set_params(project / "params.yaml", {"arms.grpo_from_polychromic.beta": 0.5})
    assert_told(polychrome("suggest", POST, fails=True).err, "made by another recipe .*Train it again")
    (project / "models/baseline/seed-42/adapter_model.safetensors").unlink()
    assert_told(polychrome("suggest", POST, "--model", "baseline", fails=True).err, "found no adapter")
    (project / "assets/base").unlink()
    assert_told(polychrome("suggest", POST, "--model", "zero_shot", fails=True).err, "found no base model")
    shutil.rmtree(project / "models")
    assert_told(polychrome("suggest", POST, fails=True).err, "the folder is empty. Make them: `dvc repro`")


def test_a_disk_that_takes_no_output_is_one_message_and_a_closed_pipe_none(project, polychrome, drawn, monkeypatch):
    class Stdout(io.StringIO):
        def __init__(self, error):
            super().__init__()
            self.error = error

        def flush(self):
            raise self.error

        def fileno(self):
            return os.open(os.devnull, os.O_WRONLY)

    monkeypatch.setattr("sys.stdout", Stdout(OSError(28, "No space left on device")))
    assert_told(polychrome("suggest", POST, fails=True).err, "standard output: found No space left on device")
    monkeypatch.setattr("sys.stdout", Stdout(BrokenPipeError()))
    assert polychrome("suggest", POST).err == ""
