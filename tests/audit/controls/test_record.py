"""What controls leave, gathered: a control that fails is a finding, a missing part an error."""

import json

from polychrome.audit.controls.record import (
    AS_EXPECTED,
    NOT_AS_EXPECTED,
    NOT_MEASURED,
    Control,
    gather,
    table,
    together,
    write_part,
)
from tests.reported import places


def control(name, verdict=AS_EXPECTED):
    return Control(name=name, text="text", expected="expected", found="found", value=1 / 3, verdict=verdict)


def test_all_controls_come_together_in_one_list_in_the_order_of_the_parts(tmp_path):
    write_part(tmp_path / "a.json", "A.", [control("one"), control("two", NOT_AS_EXPECTED)], {"more": [1 / 3]})
    write_part(tmp_path / "b.json", "B.", [control("three", NOT_MEASURED)], {})
    found = gather(tmp_path, ("b", "a"))
    assert [c["name"] for c in found["controls"]] == ["three", "one", "two"]
    assert found["text"] == "1 of 2 controls came out as expected; 1 could not be measured."
    assert found["verdict"] == NOT_AS_EXPECTED
    assert json.loads((tmp_path / "controls.json").read_text()) == found
    assert json.loads((tmp_path / "a.json").read_text())["more"] == [0.333333]
    assert table(found["controls"][1:]).splitlines() == ["one  as expected      found", "two  not as expected  found"]


def test_verdicts_together():
    assert together([AS_EXPECTED, NOT_MEASURED]) == AS_EXPECTED
    assert together([AS_EXPECTED, NOT_AS_EXPECTED]) == NOT_AS_EXPECTED
    assert together([NOT_MEASURED]) == NOT_MEASURED


def test_every_missing_or_damaged_part_is_named(tmp_path):
    (tmp_path / "a.json").write_text('{"controls": [{"name": "x"}]}')
    damaged = [f"{tmp_path}/a.json:controls[0]:verdict", f"{tmp_path}/b.json"]
    assert places(gather, tmp_path, ("a", "b")) == damaged
