"""One model's replies measured: what passes, what is undefined, what is reported of a bad file."""

import json

import numpy as np
import pytest

from polychrome.errors import InputError
from polychrome.evaluation.evaluate import evaluate, read_generations, read_per_post

from .fakes import WordEncoder, length_judge, settings, write_rows

LONG, SHORT = "that sounds like a lovely day", "oh nice"
ROWS = [
    {
        "id": "a",
        "post": "I went hiking",
        "human": "where did you go hiking then",
        "replies": [LONG, SHORT, "same " * 12, ""],
    },
    {"id": "b", "post": "It rains a lot", "human": "yes it does", "replies": [LONG, LONG, LONG, SHORT]},
    {
        "id": "c",
        "post": "I like soup",
        "human": "me too, which kind of soup",
        "replies": [SHORT, "ok then", "hm well", "ah yes"],
    },
]


for row in ROWS:
    row |= {"human_nll": 12.0, "human_tokens": 4, "ended": [True] * len(row["replies"])}


@pytest.fixture
def judge(tmp_path):
    length_judge().save(tmp_path / "judge")
    return tmp_path / "judge"


def measure(tmp_path, judge, rows=ROWS, ks=(1, 4), encoder=None):
    path = write_rows(tmp_path / "seed-1.jsonl", rows)
    return evaluate(path, judge, encoder or WordEncoder(), tmp_path / "out", settings(ks=ks))


def test_a_reply_passes_when_it_is_well_formed_on_topic_and_engaging(tmp_path, judge):
    measure(tmp_path, judge)
    measured = read_per_post(tmp_path / "out" / "per_post.json")
    assert measured.posts == ("a", "b", "c")
    assert measured.passing.tolist() == [1, 3, 0]
    assert measured.metrics["pass_at_1"].tolist() == [0.25, 0.75, 0]
    assert measured.metrics["pass_at_4"].tolist() == [1, 1, 0]


def test_a_reply_that_is_off_topic_does_not_pass(tmp_path):
    length_judge(on_topic=0.999).save(tmp_path / "judge")
    rows = [{**row, "replies": [row["post"] + " " + row["post"], LONG], "ended": [True, True]} for row in ROWS]
    measure(tmp_path, tmp_path / "judge", rows, ks=(1, 2))
    relevance = read_per_post(tmp_path / "out" / "per_post.json").metrics["relevance"]
    assert (relevance < 0.999).all()
    assert read_per_post(tmp_path / "out" / "per_post.json").passing.tolist() == [0, 0, 0]


def test_the_human_replies_are_put_to_the_same_test(tmp_path, judge):
    measured = measure(tmp_path, judge)
    assert measured["human"]["pass_at_1"]["mean"] == pytest.approx(2 / 3)
    assert read_per_post(tmp_path / "out" / "per_post.json").human["pass_at_1"].tolist() == [1, 0, 1]


def test_means_are_over_posts_and_lie_inside_their_intervals(tmp_path, judge):
    measured = measure(tmp_path, judge)
    by_post = read_per_post(tmp_path / "out" / "per_post.json").metrics
    of_sets = {"self_bleu", "semantic_diversity", "distinct_1", "distinct_2", "distinct_3"}
    of_replies = {"rouge_1", "rouge_2", "rouge_l", "engagement", "relevance", "well_formed", "words"}
    assert set(by_post) == of_sets | of_replies | {"pass_at_1", "pass_at_4", "cross_entropy"}
    assert by_post["cross_entropy"].tolist() == [3.0] * 3  # 12 nats in 4 tokens
    for name, values in by_post.items():
        entry = measured["metrics"][name]
        assert entry["mean"] == pytest.approx(np.nanmean(values))
        assert entry["low"] <= entry["mean"] <= entry["high"]
    assert by_post["words"].tolist() == [5, 5, 2]
    assert by_post["well_formed"].tolist() == [0.5, 1, 1]


def test_a_metric_undefined_for_a_post_leaves_it_out_and_counts_it(tmp_path, judge):
    measured = measure(tmp_path, judge)
    assert measured["metrics"]["distinct_3"]["undefined_posts"] == 1  # post c has replies of two words only
    assert json.loads((tmp_path / "out" / "per_post.json").read_text())["metrics"]["distinct_3"][2] is None
    assert np.isnan(read_per_post(tmp_path / "out" / "per_post.json").metrics["distinct_3"][2])


def test_a_metric_undefined_for_every_post_is_null_and_never_zero(tmp_path, judge):
    measured = measure(tmp_path, judge, [{**row, "replies": ["", ""], "ended": [True, True]} for row in ROWS], ks=(1,))
    assert measured["metrics"]["self_bleu"] == {"mean": None, "low": None, "high": None, "undefined_posts": 3}
    assert measured["metrics"]["well_formed"]["mean"] == 0


def test_every_reply_is_kept_with_what_was_measured_of_it(tmp_path, judge):
    rows = [{**ROWS[0], "ended": [True, True, True, False]}, *ROWS[1:]]
    measure(tmp_path, judge, rows)
    lines = [json.loads(line) for line in (tmp_path / "out" / "replies.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == ["a", "b", "c"]
    assert [reply["text"] for reply in lines[0]["replies"]] == ROWS[0]["replies"]
    assert [reply["passes"] for reply in lines[0]["replies"]] == [True, False, False, False]
    assert [reply["well_formed"] for reply in lines[0]["replies"]] == [True, True, False, False]
    failures = [reply["failures"] for reply in lines[0]["replies"]]
    assert ["repeated" in each for each in failures] == [False, False, True, False]
    assert ["truncated" in each for each in failures] == [False, False, False, True]
    assert lines[0]["human"]["text"] == ROWS[0]["human"]
    assert lines[0]["human"]["engagement"] == pytest.approx(np.sqrt(6))  # the judge of these tests counts words
    per_post = read_per_post(tmp_path / "out" / "per_post.json")
    for name in ("engagement", "relevance"):
        means = [np.mean([reply[name] for reply in line["replies"]]) for line in lines]
        assert means == pytest.approx(per_post.metrics[name].tolist())


def test_failures_are_counted_by_kind_as_shares_of_the_replies(tmp_path, judge):
    rows = [
        {**row, "human": "shut up", "replies": [row["post"], "You are an idiot."], "ended": [False, True]}
        for row in ROWS
    ]
    measured = measure(tmp_path, judge, rows, ks=(1,))
    assert measured["failures"] == {
        "generic": 0.0,
        "off_topic": 0.0,
        "copied": 0.5,
        "repeated": 0.0,
        "truncated": 0.5,
        "hostile": 0.5,
    }
    assert measured["human_failures"]["hostile"] == 1.0
    assert measured["human_failures"]["truncated"] == 0.0


def test_each_text_is_embedded_once_and_posts_before_replies(tmp_path, judge):
    encoder = WordEncoder()
    measure(tmp_path, judge, encoder=encoder)
    assert len(encoder.computed) == len(set(encoder.computed))
    assert encoder.computed[:6] == [row["post"] for row in ROWS] + [row["human"] for row in ROWS]


def test_the_same_replies_give_the_same_bytes(tmp_path, judge):
    measure(tmp_path, judge)
    first = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    measure(tmp_path, judge)
    assert first == {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    assert set(first) == {"metrics.json", "per_post.json", "replies.jsonl"}


def test_every_k_beyond_n_is_reported_and_earlier_results_stay(tmp_path, judge):
    measure(tmp_path, judge)
    before = (tmp_path / "out" / "metrics.json").read_bytes()
    with pytest.raises(InputError) as caught:
        measure(tmp_path, judge, ks=(1, 5, 10))
    assert [problem.found for problem in caught.value.problems] == ["k = 5", "k = 10"]
    assert (tmp_path / "out" / "metrics.json").read_bytes() == before


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


@pytest.mark.parametrize("text", ["", json.dumps(ROWS[0]) + "\n"])
def test_a_file_too_small_to_measure_is_reported(tmp_path, text):
    path = tmp_path / "seed-1.jsonl"
    path.write_text(text)
    with pytest.raises(InputError):
        read_generations(path)


def test_one_reply_a_post_is_no_set(tmp_path):
    path = write_rows(tmp_path / "seed-1.jsonl", [{**row, "replies": [LONG], "ended": [True]} for row in ROWS])
    with pytest.raises(InputError, match="at least 2"):
        read_generations(path)


def test_a_line_separator_inside_a_reply_does_not_end_the_line(tmp_path):
    rows = [{**row, "replies": ["one\u2028two", "three"], "ended": [True, False]} for row in ROWS]
    path = tmp_path / "seed-1.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    assert read_generations(path)[0].replies == ("one\u2028two", "three")
    assert read_generations(path)[0].ended == (True, False)


def test_missing_files_are_reported(tmp_path, judge):
    with pytest.raises(InputError, match="no such file"):
        read_generations(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="no such file"):
        measure(tmp_path, tmp_path / "no-judge")


def test_a_per_post_file_that_does_not_line_up_is_reported(tmp_path, judge):
    measure(tmp_path, judge)
    path = tmp_path / "out" / "per_post.json"
    value = json.loads(path.read_text())
    value["metrics"]["relevance"].pop()
    path.write_text(json.dumps(value))
    with pytest.raises(InputError, match="relevance not aligned"):
        read_per_post(path)
