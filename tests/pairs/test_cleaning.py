import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from polychrome.errors import InputError
from polychrome.pairs import cleaning
from polychrome.pairs.cleaning import REASONS, clean, is_links_only, letter_share, prepare
from polychrome.pairs.formats import records_of
from polychrome.pairs.formats.shapes.columns import columns_of
from polychrome.pairs.formats.values import FIELDS
from polychrome.pairs.schema import read_pairs
from polychrome.pairs.settings import DataSettings
from polychrome.pairs.sources import Candidate

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "data/example_tweets.jsonl"

SETTINGS = DataSettings(
    source="tweets", path="", min_words=3, max_post_words=6, max_reply_words=6, near_duplicate=0.8, limit=0
)


def candidate(name="x", **changes) -> Candidate:
    texts = {"post": "How was your day?", "reply": f"It was {name} and long."}
    usual = {"conversation": f"talk {name}", "engagement": 1.0, "author": "bob", "post_author": "ann"}
    return Candidate(**{"id": name} | texts | usual | changes)


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
        ({"post": "RT @eve: what somebody else said"}, "repost"),
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
    [
        {"post": "one two three", "reply": "one two three four five six"},
        {"author": "", "post_author": ""},
        {"reply": " SO\nglad \u2014 you   asked! "},
    ],
)
def test_a_candidate_at_the_thresholds_or_of_unknown_authors_is_kept_with_its_text_but_for_white_space(changes):
    (pair,) = clean([candidate(**changes)], SETTINGS)[0]
    assert pair.reply == " ".join(candidate(**changes).reply.split())


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [("Oh that is lovely", "oh  THAT is lovely", "exact duplicate"), ("abcd efg h", "abcd efg hi", "near duplicate")],
)
def test_of_the_same_or_nearly_the_same_replies_one_is_kept(first, second, reason):
    copies = [candidate("a", reply=first), candidate("b", reply=second)]
    assert clean(copies, SETTINGS)[1]["dropped"][reason] == 1
    above = replace(SETTINGS, near_duplicate=0.9)  # than the similarity of the second two, 6 / 7
    assert clean(copies, above)[1]["dropped"][reason] == (reason == "exact duplicate")


def test_the_limit_keeps_a_seeded_sample_in_the_order_of_the_source_and_every_drop_is_counted():
    copies = [candidate(f"copy {n}", reply="the very same words") for n in range(40)]
    candidates = [*distinct(50), *copies, candidate("a", reply=None), candidate("b", engagement=None)]
    samples = {seed: clean(candidates, replace(SETTINGS, limit=20), seed) for seed in (1, 2)}
    kept = {seed: [pair.id for pair in pairs] for seed, (pairs, _) in samples.items()}
    report = samples[1][1]
    assert kept[1] == [each.id for each in candidates if each.id in kept[1]] != kept[2]
    assert list(report["dropped"]) == list(REASONS)
    assert report["candidates"] == 92 == report["kept"] + sum(report["dropped"].values())
    assert report["kept"] == len(kept[1]) == 20
    assert report["dropped"]["beyond limit"] > 0
    everything = clean(candidates, replace(SETTINGS, limit=51))[0]  # duplicates do not use the limit up
    assert len(everything) == 51


def test_a_drop_that_is_not_counted_is_noticed(monkeypatch):
    monkeypatch.setattr(cleaning, "_distinct", lambda sound, *_: list(sound)[1:])
    with pytest.raises(AssertionError, match="2 candidates, but 1 kept and 0 dropped"):
        clean(distinct(2), SETTINGS)


def test_the_report_correlates_engagement_with_its_circumstances_where_they_vary():
    candidates = [
        replace(each, engagement=float(n), circumstances={"followers": 2.0**n, "retweets": 1.0})
        for n, each in enumerate(distinct(8))
    ]
    assert clean(candidates, SETTINGS)[1]["engagement spearman with"] == {"followers": pytest.approx(1.0)}


def test_the_report_counts_what_was_mended_in_the_texts_and_is_silent_where_nothing_was():
    mended = {"x": ("links",), "y": ("links", "nul"), "z": ()}
    candidates = [candidate(name, reply=f"{name * 9} a b", mended=of) for name, of in mended.items()]
    assert clean(candidates, SETTINGS)[1]["mended"] == {"links": 2, "nul": 1}
    assert "mended" not in clean(candidates[2:], SETTINGS)[1]


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


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("ab 12 https://a.example @mia", 0.5),  # white space, links and handles are left out
        ("https://a.example", 0.0),
        ("\u043f\u0440\u0438\u0432\u0435\u0442", 1.0),
        ("\u0928\u092e\u0938\u094d\u0924\u0947", 1.0),  # with combining marks
    ],
)
def test_letter_share(text, share):
    assert letter_share(text) == share


# --- files ---


def settings(path) -> DataSettings:
    return replace(SETTINGS, path=str(path), max_post_words=25, max_reply_words=18)


def test_the_page_explains_every_field_that_the_example_and_the_source_have():
    page = (ROOT / "data/README.md").read_text()
    _, records = records_of(EXAMPLE, [])
    assert set(columns_of(EXAMPLE, records, {})) == {*FIELDS} - {"context"}
    assert [name for name, field in FIELDS.items() if f"| `{name}` | `{field.usual[0]}`" not in page] == []


def test_the_example_gives_the_same_bytes_twice_shows_most_reasons_to_drop_and_outlives_bad_input(tmp_path):
    report = prepare(settings(EXAMPLE), tmp_path / "out")
    assert report["kept"] == len(read_pairs(tmp_path / "out/pairs.jsonl")) == 17
    assert json.loads((tmp_path / "out/cleaning_report.json").read_text()) == report
    assert sum(count > 0 for count in report["dropped"].values()) == 7
    prepare(settings(EXAMPLE), tmp_path / "again")
    bad = tmp_path / "bad.jsonl"
    for content, message in (
        ('{"tweet": 3, "reply": "a b c"}', "bad.jsonl:1:tweet"),
        ('{"tweet": "a", "reply": "b", "reply_likes": 1}', r"no pair left of 1 \(dropped: \{'too short': 1\}\)"),
        ("", "an empty file"),
    ):
        bad.write_text(content)
        with pytest.raises(InputError, match=message):
            prepare(settings(bad), tmp_path / "out")
    out, again = ({file.name: file.read_bytes() for file in (tmp_path / run).iterdir()} for run in ("out", "again"))
    assert out == again
