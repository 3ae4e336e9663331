"""An answer that was paid for is kept whole, found again, and never used damaged."""

import json

import pytest

from polychrome.errors import InputError
from polychrome.llm_judge.cache import Answer, Cache, Usage, key_of

REQUEST = {"backend": "openai", "body": {"model": "m", "messages": ["caf\u00e9"]}}
ANSWER = Answer("verdict", "B", "why", "m-1", Usage(1, 700, 40, 0))


@pytest.fixture
def told():
    return []


@pytest.fixture
def cache(tmp_path, told):
    return Cache(tmp_path / "cache", told.append)


def entry(cache):
    (path,) = cache.directory.rglob("*.json")
    return path


def test_an_answer_is_found_by_the_content_of_its_request(cache, told):
    assert cache.get(REQUEST) is None
    cache.put(REQUEST, ANSWER)
    assert cache.get(json.loads(json.dumps(REQUEST))) == ANSWER
    assert cache.get(REQUEST | {"backend": "anthropic"}) is None
    assert told == []


def test_entries_are_named_by_their_key_and_leave_nothing_beside(cache):
    cache.put(REQUEST, ANSWER)
    assert entry(cache).stem == key_of(REQUEST)
    assert list(entry(cache).parent.iterdir()) == [entry(cache)]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"better": "B"', '"better": "A"'),
        lambda text: text.replace('"m"', '"n"'),
        lambda text: text.replace("700", "7"),
        lambda text: "[]",
        lambda text: "{}",
        lambda text: '{"sha256": 1, "request": {}, "answer": [], "usage": null}',
        lambda text: "\x00" * 100,
    ],
)
def test_a_damaged_entry_is_told_kept_aside_and_not_used(cache, told, damage):
    cache.put(REQUEST, ANSWER)
    path = entry(cache)
    damaged = damage(path.read_text())
    path.write_text(damaged)
    assert cache.get(REQUEST) is None
    assert cache.damaged == len(told) == 1
    assert path.with_name(f"{path.name}.damaged").read_text() == damaged
    cache.put(REQUEST, ANSWER)
    assert cache.get(REQUEST) == ANSWER


def test_bytes_that_are_no_text_are_damage(cache, told):
    cache.put(REQUEST, ANSWER)
    entry(cache).write_bytes(b"\xff\xfe")
    assert cache.get(REQUEST) is None
    assert len(told) == 1


def test_an_entry_under_the_name_of_another_request_is_damage(cache, told):
    cache.put(REQUEST, ANSWER)
    other = REQUEST | {"backend": "anthropic"}
    path = cache.directory / key_of(other)[:2] / f"{key_of(other)}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(entry(cache).read_text())
    assert cache.get(other) is None
    assert "another request" in told[0]


def test_a_directory_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"llm_judge\.cache"):
        Cache(tmp_path / "file" / "cache", print)
