"""What `polychrome check` says of a file before anything is run."""

from dataclasses import replace
from pathlib import Path

import pytest

from polychrome.errors import InputError
from polychrome.pairs.check import check
from polychrome.params import load_params
from tests.pairs.containers import table

ROOT = Path(__file__).parents[2]
SIZES = {"phase1_pairs": 8, "phase2_pairs": 8, "test_pairs": 4, "validation_pairs": 4, "judge_pairs": 50}


@pytest.fixture
def params():
    params = load_params(ROOT / "params.yaml")
    return replace(params, split=replace(params.split, **SIZES, reward_pairs=50, min_p=0.0))


def rows(make_pool, count):
    pool = make_pool(count)
    return [{"title": pair.post, "body": pair.reply, "ups": n % 7, "author": n} for n, pair in enumerate(pool)]


def test_the_report_says_what_is_read_what_is_dropped_for_example_and_that_the_split_fits(make_pool, params, tmp_path):
    good = rows(make_pool, 300)
    short = [{"title": good[n]["title"], "body": f"no {n}", "ups": 1, "author": "x"} for n in range(5)]
    gone = [{"title": "[deleted]", "body": "@ann what was that about", "ups": 1, "author": "x"}]
    (tmp_path / "a.csv").write_bytes(table([*good, *short, *gone]))
    before = sorted(tmp_path.iterdir())
    lines = check(tmp_path / "a.csv", params).splitlines()
    assert lines[0] == f"{tmp_path}/a.csv: data.columns: {{post: title, reply: body, author: author, likes: ups}}"
    assert lines[1:3] == [f"{tmp_path}/a.csv: source replies, 306 replies", "300 become pairs, in 300 conversations"]
    assert f"    {tmp_path}/a.csv:307: post missing, reply 'what was that about'" in lines
    place = lines.index("5 dropped: too short")
    assert [line.split(":")[1] for line in lines[place + 1 : place + 4]] == ["302", "303", "304"]
    assert not lines[place + 4].startswith(" ")  # three examples are enough
    assert "1 texts mended: leading @handles" in lines
    sizes = "phase1 8, phase2 8, test 4, validation 4, judge 50, reward 50"
    assert lines[-1] == f"the split fits: {sizes}; 176 pairs are not needed"
    assert sorted(tmp_path.iterdir()) == before


def test_a_split_that_does_not_fit_is_said_with_what_to_do(make_pool, params, tmp_path):
    (tmp_path / "a.csv").write_bytes(table(rows(make_pool, 60)))
    report = check(tmp_path / "a.csv", params)
    assert "the split does not fit:\n" in report
    assert "found 60 pairs; expected at least 124 (all parts together). Lower split.*_pairs" in report


def test_conversations_are_checked_by_their_own_source_and_what_cannot_be_read_is_the_error(params, tmp_path):
    (tmp_path / "dataset.json").write_text('{"a": {"messages": [[{"text": "hi", "sender": "b"}]]}}')
    assert "source chitchat, 0 replies" in check(tmp_path / "dataset.json", params)
    with pytest.raises(InputError, match="no such file"):
        check(tmp_path / "nowhere.csv", params)


def test_what_is_wrong_with_the_very_file_of_a_source_is_said_by_that_source(params, tmp_path):
    path = tmp_path / "dataset.json"
    path.write_text('{"a": {"messages": [[{"text": "hi"}]]}}')
    with pytest.raises(InputError, match=r"dataset\.json:a:messages\[0\]\[0\]\.sender: found no such field"):
        check(path, replace(params, data=replace(params.data, path=str(path))))
