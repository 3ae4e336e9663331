"""Captions of a public contest: two repositories, converted and read by source `replies`. Rows are invented."""

import csv
import json
import runpy
from pathlib import Path

import pytest

from polychrome.pairs.sources.replies import read

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "scripts/captions.py"))
WORDS = ["apple", "bridge", "candle", "dragon", "engine", "forest", "garden", "hammer", "island", "jacket", "kettle"]


def captions(contest):
    """A hundred invented captions of a contest."""
    return [f"The {contest} {one} meets the {other} again" for one in WORDS for other in WORDS if one != other][:100]


def write(path, columns, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


@pytest.fixture
def repositories(tmp_path):
    """Ratings of contests 510 and 511, and descriptions of the same two as 511 and 512, and of one without ratings."""
    columns = ("rank", "caption", "unfunny", "somewhat_funny", "funny")
    for contest in (510, 511):
        ratings = [(n, text, 20.0, 8.0 + n % 3, 2.0) for n, text in enumerate(captions(contest))]
        ratings += [(200, "Too short", 20.0, 20.0, 2.0), (201, "Hardly seen by anybody here", 20.0, 8.0, 1.0)]
        write(tmp_path / f"summaries/{contest}_summary_KLUCB.csv", columns, ratings)
    more = [(0, captions(510)[0], 0.0, 0.0, 10.0)]
    write(tmp_path / "summaries/510_summary_Random.csv", columns, more)
    for name in ("510_summary_KLUCB_original", "510-round2_summary_Random"):
        write(tmp_path / f"summaries/{name}.csv", columns, [(0, captions(510)[1], 0.0, 0.0, 90.0)])
    described = [(511, "A dragon  in a bath.", 510), (512, "Two clowns at court.", 511), (513, "A lamp.", 77)]
    for number, _, contest in described:
        write(tmp_path / f"scenes/data/{number}.csv", ("caption", "mean"), [(text, 1.0) for text in captions(contest)])
    listed = [{"contest_id": n, "metadata": {"image_descriptions": [text, "Another."]}} for n, text, _ in described]
    listed.append({"contest_id": 600, "metadata": {}})
    (tmp_path / "scenes/contests.json").write_text(json.dumps(listed))
    return tmp_path


def test_scenes_find_their_ratings_by_the_captions_that_both_have(repositories, capsys):
    out = repositories / "captions.jsonl"
    assert SCRIPT["main"]([str(repositories / "summaries"), str(repositories / "scenes/contests.json"), str(out)]) == 0
    assert "200 captions of 2 scenes" in capsys.readouterr().out
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert {(row["tweet_id"], row["tweet"]) for row in rows} == {
        ("nycc-510", "A dragon in a bath."),
        ("nycc-511", "Two clowns at court."),
    }
    assert {row["reply"] for row in rows} == {*captions(510), *captions(511)}
    of = {row["reply"]: (row["tweet_likes"], row["reply_likes"]) for row in rows}
    assert of[captions(510)[0]] == (40, 32)  # two samplers of raters: 8 + 2 x 2, and 2 x 10
    assert of[captions(510)[1]] == (31, 13)  # nothing of rounds, nor of how original it is
    candidates = read(out)
    assert {one.conversation for one in candidates} == {"nycc-510", "nycc-511"}
    assert candidates[0].engagement == pytest.approx(rows[0]["reply_likes"] / rows[0]["tweet_likes"])


def test_of_a_scene_with_many_captions_some_are_drawn_the_same_every_time(repositories, monkeypatch):
    monkeypatch.setitem(SCRIPT["converted"].__globals__, "MOST", 30)
    files = repositories / "summaries", repositories / "scenes/contests.json"
    found = SCRIPT["converted"](*files)
    assert len(found) == 60
    assert found == SCRIPT["converted"](*files)
    assert {row["reply"] for row in found[:30]} != set(captions(510)[:30])


def test_a_folder_without_ratings_and_files_without_their_columns_are_reported(repositories, capsys):
    scenes, out = str(repositories / "scenes/contests.json"), str(repositories / "out.jsonl")
    assert SCRIPT["main"]([str(repositories), scenes, out]) == 1
    assert "no file <number>_summary_" in capsys.readouterr().err
    write(repositories / "summaries/512_summary_KLUCB.csv", ("text",), [])
    assert SCRIPT["main"]([str(repositories / "summaries"), scenes, out]) == 1
    assert "512_summary_KLUCB.csv: found columns ['text']; expected caption, unfunny" in capsys.readouterr().err
    assert not Path(out).exists()
