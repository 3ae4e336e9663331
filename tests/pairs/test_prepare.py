import json
from pathlib import Path

import pytest

from polychrome.errors import InputError
from polychrome.pairs.cleaning import prepare
from polychrome.pairs.schema import read_pairs
from polychrome.pairs.settings import DataSettings
from polychrome.pairs.sources.tweets import FIELDS

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "data/example_tweets.jsonl"


def settings(path):
    return DataSettings(
        source="tweets", path=str(path), min_words=3, max_post_words=25, max_reply_words=18, near_duplicate=0.8, limit=0
    )


def test_the_example_file_is_prepared_and_shows_most_reasons_to_drop(tmp_path):
    report = prepare(settings(EXAMPLE), tmp_path)
    assert report["kept"] == len(read_pairs(tmp_path / "pairs.jsonl")) == 17
    assert json.loads((tmp_path / "cleaning_report.json").read_text()) == report
    assert sum(count > 0 for count in report["dropped"].values()) == 7


def test_the_page_explains_every_field_that_the_example_and_the_source_have():
    page = (ROOT / "data/README.md").read_text()
    in_example = {name for line in EXAMPLE.read_text().splitlines() for name in json.loads(line)}
    assert in_example == set(FIELDS)
    assert [name for name in FIELDS if f"| `{name}` |" not in page] == []


def test_the_same_input_gives_the_same_bytes_and_bad_input_leaves_them_untouched(tmp_path):
    bad = tmp_path / "bad.jsonl"
    prepare(settings(EXAMPLE), tmp_path / "out")
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    for content in ('{"tweet": 3, "reply": "a b c"}', '{"tweet": "a", "reply": "b"}', ""):
        bad.write_text(content)
        with pytest.raises(InputError):
            prepare(settings(bad), tmp_path / "out")
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before
    prepare(settings(EXAMPLE), tmp_path / "again")
    assert {file.name: file.read_bytes() for file in (tmp_path / "again").iterdir()} == before


def test_when_nothing_is_left_the_reasons_are_reported(tmp_path):
    (tmp_path / "short.jsonl").write_text('{"tweet": "a", "reply": "b", "reply_likes": 1}')
    with pytest.raises(InputError, match=r"no pair left of 1 \(dropped: \{'too short': 1\}\)"):
        prepare(settings(tmp_path / "short.jsonl"), tmp_path)
