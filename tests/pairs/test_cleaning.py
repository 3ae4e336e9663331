import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from polychrome.errors import InputError
from polychrome.pairs import cleaning
from polychrome.pairs.cleaning import REASONS, clean, prepare
from polychrome.pairs.schema import read_pairs
from polychrome.pairs.settings import DataSettings
from polychrome.pairs.sources import Candidate
from polychrome.pairs.sources.tweets import FIELDS
from polychrome.pairs.text import is_links_only, letter_share

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "data/example_tweets.jsonl"

SETTINGS = DataSettings(
    source="tweets", path="", min_words=3, max_post_words=6, max_reply_words=6, near_duplicate=0.8, limit=0
)


def candidate(name="x", **changes) -> Candidate:
    usual = Candidate(
        id=name,
        conversation=f"talk {name}",
        post="How was your day?",
        reply=f"It was {name} and long.",
        engagement=1.0,
        author="bob",
        post_author="ann",
    )
    return replace(usual, **changes)


def distinct(count: int) -> list[Candidate]:
    """Candidates whose replies have nothing in common."""
    rng = np.random.default_rng(1)
    words = ["".join(rng.choice(list("abcdefghijklmnop"), 7)) for _ in range(3 * count)]
    return [candidate(str(n), reply=" ".join(words[3 * n : 3 * n + 3])) for n in range(count)]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"post": None}, "missing field"),
        ({"reply": " \n"}, "missing field"),
        ({"author": "ann"}, "reply to oneself"),
        ({"engagement": None}, "no engagement measured"),
        ({"reply": "https://a.example www.b.example https://c.example"}, "URL only"),
        ({"post": "https://a.example"}, "URL only"),
        ({"reply": "12 34 56 :) :) a"}, "non-text"),
        ({"reply": "\U0001f602 \U0001f602 \U0001f602"}, "non-text"),
        ({"reply": "too few"}, "too short"),
        ({"post": "Hm well?"}, "too short"),
        ({"post": "one two three four five six seven"}, "too long"),
        ({"reply": "one two three four five six seven"}, "too long"),
    ],
)
def test_a_candidate_is_dropped_for_its_reason_and_counted(changes, reason):
    good = candidate("good")
    pairs, report = clean([good, candidate("odd", **changes)], SETTINGS)
    assert [pair.id for pair in pairs] == ["good"]
    assert {name: count for name, count in report["dropped"].items() if count} == {reason: 1}


@pytest.mark.parametrize(
    "changes",
    [{"post": "one two three", "reply": "one two three four five six"}, {"author": "", "post_author": ""}],
)
def test_a_candidate_at_the_thresholds_or_of_unknown_authors_is_kept(changes):
    assert len(clean([candidate(**changes)], SETTINGS)[0]) == 1


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [("Oh that is lovely", "oh  THAT is lovely", "exact duplicate"), ("abcd efg h", "abcd efg hi", "near duplicate")],
)
def test_of_the_same_or_nearly_the_same_replies_one_is_kept(first, second, reason):
    copies = [candidate("a", reply=first), candidate("b", reply=second)]
    assert clean(copies, SETTINGS)[1]["dropped"][reason] == 1
    above = replace(SETTINGS, near_duplicate=0.9)  # than the similarity of the second two, 6 / 7
    assert clean(copies, above)[1]["dropped"][reason] == (reason == "exact duplicate")


def test_the_limit_keeps_a_seeded_sample_in_the_order_of_the_source():
    candidates = distinct(50)
    samples = {seed: clean(candidates, replace(SETTINGS, limit=20), seed) for seed in (1, 2)}
    kept = {seed: [int(pair.id) for pair in pairs] for seed, (pairs, _) in samples.items()}
    assert samples[1][1]["dropped"]["beyond limit"] == 30
    assert len(kept[1]) == 20
    assert kept[1] == sorted(kept[1])
    assert kept[1] != kept[2]
    assert kept[1] != list(range(20))


def test_the_limit_counts_kept_pairs_so_that_duplicates_do_not_use_it_up():
    candidates = [*distinct(10), *[candidate(f"copy {n}", reply="the very same words") for n in range(40)]]
    assert len(clean(candidates, replace(SETTINGS, limit=11))[0]) == 11


def test_candidates_are_kept_plus_dropped_and_every_reason_is_listed():
    candidates = [*distinct(20), candidate("a", reply=None), candidate("b", engagement=None)]
    report = clean(candidates, replace(SETTINGS, limit=5))[1]
    assert list(report["dropped"]) == list(REASONS)
    assert report["candidates"] == 22 == report["kept"] + sum(report["dropped"].values())


def test_a_drop_that_is_not_counted_is_noticed(monkeypatch):
    monkeypatch.setattr(cleaning, "_distinct", lambda sound, *_: list(sound)[1:])
    with pytest.raises(AssertionError, match="2 candidates, but 1 kept and 0 dropped"):
        clean(distinct(2), SETTINGS)


def test_texts_are_kept_but_for_white_space():
    (pair,) = clean([candidate(reply=" SO\nglad \u2014 you   asked! ")], SETTINGS)[0]
    assert pair.reply == "SO glad \u2014 you asked!"


def test_the_report_correlates_engagement_with_its_circumstances_where_they_vary():
    candidates = [
        replace(each, engagement=float(n), circumstances={"followers": 2.0**n, "retweets": 1.0})
        for n, each in enumerate(distinct(8))
    ]
    assert clean(candidates, SETTINGS)[1]["engagement spearman with"] == {"followers": pytest.approx(1.0)}


# --- what counts as a link and as a letter ---


@pytest.mark.parametrize(
    ("text", "links_only"),
    [
        ("https://a.example/b?c=d", True),
        ("@mia www.a.example !!", True),
        ("look: https://a.example", False),
        ("@mia @bob", False),  # no link in it
        ("", False),
    ],
)
def test_links_with_handles_and_punctuation_are_links_only(text, links_only):
    assert is_links_only(text) is links_only


def test_letter_share_leaves_white_space_links_and_handles_out():
    assert letter_share("ab 12 https://a.example @mia") == 0.5
    assert letter_share("https://a.example") == 0.0


def test_letters_of_other_scripts_are_letters():
    assert letter_share("\u043f\u0440\u0438\u0432\u0435\u0442") == 1.0
    assert letter_share("\u0928\u092e\u0938\u094d\u0924\u0947") == 1.0  # with combining marks


# --- files ---


def settings(path) -> DataSettings:
    return replace(SETTINGS, path=str(path), max_post_words=25, max_reply_words=18)


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
