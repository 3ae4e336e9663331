"""One model's replies measured: what passes, what is undefined, what is reported of a bad file."""

import json

import numpy as np
import pytest

from polychrome.errors import InputError
from polychrome.evaluation.evaluate import evaluate, read_generations, read_per_post
from polychrome.files import write_json, write_jsonl
from polychrome.measures.metrics import declared
from polychrome.measures.novelty import utility
from polychrome.measures.people import SHOWN

from .fakes import WordEncoder, length_judge, settings, write_rows

LONG, SHORT = "that sounds like a lovely day", "oh nice"
ROWS = [
    {"id": id, "post": post, "human": human, "replies": replies}
    | {"human_nll": 12.0, "human_tokens": 4, "ended": [True] * 4}
    for id, post, human, replies in (
        ("a", "I went hiking", "where did you go hiking then", [LONG, SHORT, "same " * 12, ""]),
        ("b", "It rains a lot", "yes it does", [LONG, LONG, LONG, SHORT]),
        ("c", "I like soup", "me too, which kind of soup", [SHORT, "ok then", "hm well", "ah yes"]),
    )
]


def of_two(first, second, **changes):
    """Each post with two replies, the first made from the row."""
    return [row | {"replies": [first(row), second], "ended": [True, True]} | changes for row in ROWS]


@pytest.fixture
def measure(tmp_path):
    """Evaluates rows; returns metrics.json and per_post.json, which lie in ``out``."""

    def measure(rows=ROWS, ks=(1, 4), encoder=None, on_topic=-1.0, **more):
        length_judge(on_topic).save(tmp_path / "judge")
        path = write_rows(tmp_path / "seed-1.jsonl", rows)
        found = evaluate(path, tmp_path / "judge", encoder or WordEncoder(), tmp_path / "out", settings(ks=ks), **more)
        return found, read_per_post(tmp_path / "out" / "per_post.json")

    return measure


def test_a_reply_passes_when_it_is_well_formed_on_topic_and_engaging_and_so_do_the_human_replies(measure):
    measured, by_post = measure()
    assert by_post.posts == ("a", "b", "c")
    assert (by_post.pass_curve[:, 0] * 4).tolist() == [1, 3, 0]
    assert by_post.metrics["pass_at_1"].tolist() == [0.25, 0.75, 0]
    assert by_post.metrics["pass_at_4"].tolist() == [1, 1, 0]
    assert by_post.human["pass_at_1"].tolist() == [1, 0, 1]
    assert measured["human"]["pass_at_1"]["mean"] == pytest.approx(2 / 3)


def test_a_reply_that_is_off_topic_does_not_pass(measure):
    _, by_post = measure(of_two(lambda row: f"{row['post']} {row['post']}", LONG), ks=(1, 2), on_topic=0.999)
    assert (by_post.metrics["relevance"] < 0.999).all()
    assert by_post.pass_curve.tolist() == [[0, 0]] * 3


def test_means_are_over_posts_lie_inside_their_intervals_and_leave_out_undefined_posts(measure, tmp_path):
    measured, by_post = measure()
    of_sets = {*declared("CONTRASTED"), *declared("SHOWN")} - {"rouge_1", "rouge_2", "rouge_l"}
    of_replies = {"rouge_1", "rouge_2", "rouge_l", "engagement", "relevance", "well_formed", "words"}
    assert set(by_post.metrics) == of_sets | of_replies | {"pass_at_1", "pass_at_4", "cross_entropy"}
    for name, values in by_post.metrics.items():
        entry = measured["metrics"][name]
        if np.isnan(values).all():
            assert (entry["mean"], entry["undefined_posts"]) == (None, 3)
            continue
        assert entry["mean"] == pytest.approx(np.nanmean(values))
        assert entry["low"] <= entry["mean"] <= entry["high"]
        assert entry["undefined_posts"] == np.isnan(values).sum()
    assert by_post.metrics["cross_entropy"].tolist() == [3.0] * 3  # 12 nats in 4 tokens
    assert by_post.metrics["words"].tolist() == [5, 5, 2]
    assert by_post.metrics["well_formed"].tolist() == [0.5, 1, 1]
    assert measured["metrics"]["distinct_3"]["undefined_posts"] == 1  # post c has replies of two words only
    assert json.loads((tmp_path / "out" / "per_post.json").read_text())["metrics"]["distinct_3"][2] is None


def test_a_metric_undefined_for_every_post_is_null_and_never_zero(measure):
    measured, _ = measure(of_two(lambda row: "", ""), ks=(1,))
    assert measured["metrics"]["self_bleu"] == {"mean": None, "low": None, "high": None, "undefined_posts": 3}
    assert measured["metrics"]["well_formed"]["mean"] == 0


def test_new_replies_count_by_their_classes_and_are_worth_nothing_where_they_could_not_pass(measure):
    _, by_post = measure()  # the malformed make no class; every other reply engages above 1, which counts as 1
    assert by_post.metrics["distinct_k"].tolist() == [2, 2, 4]
    expected = [utility([0, 1, -1, -1], [1] * 4), utility([0, 0, 0, 1], [1] * 4), 1]
    assert by_post.metrics["utility_k"] == pytest.approx(expected)
    _, cut = measure([row | {"ended": [False] * 4} for row in ROWS])
    assert cut.metrics["utility_k"].tolist() == cut.metrics["distinct_k"].tolist() == [0, 0, 0]
    _, by_post = measure(on_topic=2.0)
    assert by_post.metrics["distinct_k"].tolist() == [2, 2, 4]
    assert by_post.metrics["utility_k"].tolist() == [0, 0, 0]


def test_posts_with_five_human_replies_say_how_near_to_people_the_replies_come(measure, tmp_path):
    others = {"a": [LONG, LONG, "birds sing at dawn", "no idea"], "b": [LONG, "ok", "no"], "c": []}
    lines = [{"id": id, "replies": replies, "engagement": [0.0] * len(replies)} for id, replies in others.items()]
    path = write_rows(tmp_path / "references.jsonl", lines)
    measured, by_post = measure(references=path)
    found = {name: by_post.metrics[name] for name in SHOWN}
    assert {name: values[0] for name, values in found.items()} == {
        "precision": 0.25,  # LONG, of four replies
        "coverage": 0.4,  # of five people two said so
        "precision_of_people": 0.4,  # these two
        "coverage_of_people": 0.4,
    }
    assert all(np.isnan(values[1:]).all() for values in found.values())  # four people, and one
    assert measured["metrics"]["precision"]["undefined_posts"] == 2
    _, cut = measure([row | {"ended": [False] * 4} for row in ROWS], references=path)
    assert [cut.metrics[name][0] for name in SHOWN] == [0, 0, 0.4, 0.4]  # a cut reply is near nobody
    with pytest.raises(InputError, match="no line for c; expected a line for each test post"):
        measure(references=write_rows(path, lines[:2]))


def test_every_reply_is_kept_with_what_was_measured_of_it(measure, tmp_path):
    _, by_post = measure([ROWS[0] | {"ended": [True, True, True, False]}, *ROWS[1:]])
    lines = [json.loads(line) for line in (tmp_path / "out" / "replies.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == ["a", "b", "c"]
    replies, human = lines[0]["replies"], lines[0]["human"]
    assert [reply["text"] for reply in replies] == ROWS[0]["replies"]
    assert [reply["passes"] for reply in replies] == [True, False, False, False]
    assert [reply["well_formed"] for reply in replies] == [True, True, False, False]
    assert ["repeated" in reply["failures"] for reply in replies] == [False, False, True, False]
    assert ["truncated" in reply["failures"] for reply in replies] == [False, False, False, True]
    assert human["text"] == ROWS[0]["human"]
    assert human["engagement"] == pytest.approx(np.sqrt(6))  # the judge of these tests counts words
    for name in ("engagement", "relevance"):
        means = [np.mean([reply[name] for reply in line["replies"]]) for line in lines]
        assert means == pytest.approx(by_post.metrics[name].tolist())


def test_failures_are_counted_by_kind_as_shares_of_the_replies(measure):
    rows = of_two(lambda row: row["post"], "You are an idiot.", human="shut up", ended=[False, True])
    measured, _ = measure(rows, ks=(1,))
    none = dict.fromkeys(("generic", "off_topic", "repeated"), 0.0)
    assert measured["failures"] == none | dict.fromkeys(("copied", "truncated", "hostile"), 0.5)
    assert (measured["human_failures"]["hostile"], measured["human_failures"]["truncated"]) == (1.0, 0.0)


def test_each_text_is_embedded_once_and_posts_before_replies(measure):
    encoder = WordEncoder()
    measure(encoder=encoder)
    assert len(encoder.computed) == len(set(encoder.computed))
    assert encoder.computed[:6] == [row["post"] for row in ROWS] + [row["human"] for row in ROWS]


def test_the_same_replies_give_the_same_bytes_and_a_k_beyond_n_leaves_them(measure, tmp_path):
    read = lambda: {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}  # noqa: E731
    measure()
    first = read()
    measure()
    assert first == read()
    assert set(first) == {"metrics.json", "per_post.json", "replies.jsonl"}
    with pytest.raises(InputError) as caught:
        measure(ks=(1, 5, 10))
    assert [problem.found for problem in caught.value.problems] == ["k = 5", "k = 10"]
    assert first == read()


def test_every_bad_line_is_reported_with_its_number_and_field(tmp_path):
    path = tmp_path / "seed-1.jsonl"
    good = ROWS[0]
    lines = [
        json.dumps(good),
        "{not json",
        json.dumps({"id": "b", "human": 3, "replies": [1]}),
        json.dumps({**good, "id": "d", "replies": ["only one"], "ended": [True]}),
        json.dumps([1]),
        json.dumps({**good, "id": "e", "ended": [True, 1, None, False]}),
        json.dumps({**good, "id": "f", "ended": True}),
        json.dumps({**good, "id": "g", "ended": [True]}),
        json.dumps(good),
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_generations(path)
    places = [problem.where.removeprefix(f"{path}:") for problem in caught.value.problems]
    of_line_3 = [f"3:{name}" for name in ("post", "human", "human_nll", "human_tokens", "replies")]
    assert places == ["2", *of_line_3, "4:replies", "5", "6:ended", "7:ended", "8:ended", "9:id"]


def test_a_file_too_small_to_measure_is_reported(tmp_path):
    path = tmp_path / "seed-1.jsonl"
    for rows in ([], ROWS[:1]):
        with pytest.raises(InputError):
            read_generations(write_rows(path, rows))
    with pytest.raises(InputError, match="at least 2"):  # one reply per post is no set
        read_generations(write_rows(path, [row | {"replies": [LONG], "ended": [True]} for row in ROWS]))


def test_a_line_separator_inside_a_reply_does_not_end_the_line(tmp_path):
    path = tmp_path / "seed-1.jsonl"
    write_jsonl(path, of_two(lambda row: "one\u2028two", "three", ended=[True, False]))
    assert read_generations(path)[0].replies == ("one\u2028two", "three")
    assert read_generations(path)[0].ended == (True, False)


def test_missing_files_and_a_per_post_file_that_does_not_line_up_are_reported(measure, tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_generations(tmp_path / "none.jsonl")
    measure()
    path = tmp_path / "out" / "per_post.json"
    value = json.loads(path.read_text())
    value["metrics"]["relevance"].pop()
    write_json(path, value)
    with pytest.raises(InputError, match="relevance not aligned"):
        read_per_post(path)
