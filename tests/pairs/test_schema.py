import json
from dataclasses import asdict, replace

import pytest

from polychrome.pairs.schema import Pair, as_said, read_pairs, write_pairs
from tests.reported import places

CONTEXT = (("user", "Hi."), ("assistant", "Hello."))
PAIR = Pair(id="a:0", conversation="a", post="Hello?", reply="Yes \u2014 here.", engagement=0.5, author="")


def test_pairs_read_back_as_they_were_written(tmp_path):
    unloved = replace(PAIR, id="b", engagement=-3.0, context=CONTEXT)
    write_pairs(tmp_path / "pairs.jsonl", [PAIR, unloved])
    assert read_pairs(tmp_path / "pairs.jsonl") == [PAIR, unloved]
    without, with_context = map(json.loads, (tmp_path / "pairs.jsonl").read_text().splitlines())
    assert ("context" in without, with_context["context"]) == (False, [list(turn) for turn in CONTEXT])


@pytest.mark.parametrize(
    ("line", "where"),
    [
        ("nonsense", ":2"),
        ('{"id": "b"}', ":2"),
        ("[]", ":2"),
        (json.dumps(asdict(PAIR) | {"id": "b", "extra": 1}), ":2"),
        (json.dumps(asdict(PAIR)), ":2:id"),
        (json.dumps(asdict(PAIR) | {"id": 3}), ":2:id"),
        (json.dumps(asdict(PAIR) | {"id": "b", "reply": ""}), ":2:reply"),
        (json.dumps(asdict(PAIR) | {"id": "b", "engagement": float("nan")}), ":2:engagement"),
        (json.dumps(asdict(PAIR) | {"id": "b", "context": [["system", "Hi."]]}), ":2:context"),
        (json.dumps(asdict(PAIR) | {"id": "b", "engagement": "1"}), ":2:engagement"),
    ],
)
def test_a_bad_line_is_reported_by_line_and_field(line, where, tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(asdict(PAIR)) + "\n" + line + "\n")
    assert places(read_pairs, path) == [f"{path}{where}"]


def test_people_are_shown_who_said_what_before_a_post_and_a_post_alone_as_it_is():
    assert as_said((), "Tea?") == "Tea?"
    assert as_said((("user", "Hi."), ("assistant", "Hello.")), "Tea?") == "them: Hi.\nyou: Hello.\nthem: Tea?"
