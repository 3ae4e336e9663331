"""What is said of the ruler: no room left, cut replies, an untouched model that it likes best."""

import numpy as np
import pytest

from polychrome.engagement.ruler import FittedRuler
from polychrome.evaluation.results import Results
from polychrome.evaluation.warnings import cut_short, more_liked, saturation, shown, warnings
from polychrome.files import write_json, write_jsonl

from .fakes import length_judge, settings

ASKS, DULL = "which soup do you like then", "ok hm"


def reply(text, engagement=0.5, passes=True):
    return {"text": text, "engagement": engagement, "passes": passes}


@pytest.fixture
def told(tmp_path):
    """What is said of models, given Pass@1, Pass@10 and the share of cut replies of each."""

    def told(passes, untouched=("plain",), unread=()):
        values = {
            m: {"pass_at_1": np.full((1, 3), a), "pass_at_10": np.full((1, 3), b), "relevance": np.zeros((1, 3))}
            for m, (a, b, _) in passes.items()
        }
        for model in unread:
            values[model]["relevance"][0, :2] = np.nan
        for model, (_, _, cut) in passes.items():
            write_json(tmp_path / model / "seed-1/metrics.json", {"failures": {"truncated": cut}})
            text = ASKS if model in untouched else DULL
            lines = [
                {"post": f"post {i}", "replies": [reply(text, i / 20), reply(DULL, 0.9, False)]} for i in range(12)
            ]
            write_jsonl(tmp_path / model / "seed-1/replies.jsonl", lines)
        found = Results(tuple(passes), (1,), 10, 3, values, {}, {})
        return warnings(found, untouched, tmp_path, settings(), FittedRuler(length_judge()))

    return told


def test_nothing_is_said_of_a_ruler_that_has_room_and_tells_models_apart(told):
    assert told({"plain": (0.2, 0.5, 0.1), "tuned": (0.3, 0.6, 0.0)}) == {"sentences": [], "replies": []}


def test_a_saturated_ruler_and_one_that_tells_nobody_apart_are_reported():
    assert saturation({"a": 0.95, "b": 0.5}, "Pass@10") == []
    assert saturation({"a": 0.96, "b": 0.5}, "Pass@10") == ["The ruler is saturated: a has Pass@10 0.960, above 0.95."]
    (level,) = saturation({"a": 0.52, "b": 0.48}, "Pass@10")
    assert level.endswith("all lie within 0.05 on Pass@10 (0.480 to 0.520).")
    assert len(saturation({"a": 0.99, "b": 0.98}, "Pass@10")) == 2


def test_every_model_with_more_than_a_tenth_of_its_replies_cut_is_named():
    assert cut_short({"a": 0.1, "b": 0.0}) == []
    assert cut_short({"a": 0.11, "b": 0.1, "c": 0.84})[0].endswith("max_new_tokens: a (11%), c (84%).")


def test_models_with_replies_in_a_script_that_the_encoder_does_not_know_are_named_with_the_posts(told):
    (said,) = told({"plain": (0.2, 0.5, 0.1), "tuned": (0.3, 0.6, 0.0)}, unread=["tuned"])["sentences"]
    assert said.startswith("A pass does not ask whether replies are on topic")
    assert said.endswith("does not know the script of the post or of a reply: tuned (2 of 3 test posts).")


def test_an_untouched_model_that_passes_most_is_reported_with_what_the_judge_likes_about_it(told):
    said = told({"plain": (0.6, 0.8, 0.2), "tuned": (0.3, 0.6, 0.0), "other": (0.4, 0.5, 0.0)})
    cut, best = said["sentences"]
    assert cut.endswith("plain (20%).")
    assert best.startswith(
        "plain, untouched, passes more often (0.600) than every fine-tuned model (at most 0.400, other)"
    )
    assert best.count("(+") == 5
    assert [(one["post"], one["text"]) for one in said["replies"]] == [(f"post {i}", ASKS) for i in range(11, 1, -1)]
    assert told({"plain": (0.4, 0.8, 0.0), "tuned": (0.4, 0.6, 0.0)})["sentences"] == []


def test_contributions_add_up_to_the_difference_of_mean_predictions():
    ruler, posts = FittedRuler(length_judge()), ["a post"] * 2
    ours, theirs = [ASKS, "lovely day"], [DULL, ASKS]
    found = [sum(ruler.contributions(posts, replies).values()) for replies in (ours, theirs)]
    means = [ruler.predict(posts, replies).mean() for replies in (ours, theirs)]
    assert found[0] - found[1] == pytest.approx(means[0] - means[1])
    rows = [[{"post": "p", "text": text} for text in texts] for texts in (["lovely day"], [DULL])]
    expected = 1 / np.sqrt(2)  # of each of two known words
    assert more_liked(ruler, *rows) == [f"\u201c{word}\u201d (+{expected:.3f})" for word in ("day", "lovely")]


def test_a_post_shows_its_most_engaging_passing_reply_alone():
    rows = [{"post": p} | reply(t, e, ok) for p, t, e, ok in
            (("p", "a", 0.5, True), ("p", "b", 0.7, True), ("p", "c", 0.9, False), ("q", "d", 0.6, True))]  # fmt: skip
    assert [row["text"] for row in shown(rows)] == ["b", "d"]
