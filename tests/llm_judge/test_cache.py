"""An answer that was paid for is found again, by the content of its request."""

import json

import pytest

from polychrome.errors import InputError
from polychrome.llm_judge.cache import Cache
from polychrome.llm_judge.question import Answer

REQUEST = {"backend": "openai", "body": {"model": "m", "messages": ["caf\u00e9"]}}
ANSWER = Answer("verdict", "B", "why \ud800", "m-1", [700, 40])


def test_an_answer_is_found_by_the_content_of_its_request_by_another_process_too(tmp_path):
    path = tmp_path / "new/cache.sqlite"
    cache = Cache(path)
    assert cache.get(REQUEST) is None
    cache.put(REQUEST, ANSWER)
    assert Cache(path).get(json.loads(json.dumps(REQUEST))) == ANSWER
    assert cache.get(REQUEST | {"backend": "anthropic"}) is None


def test_an_answer_stands_when_the_disk_refuses_the_next(tmp_path):
    cache = Cache(tmp_path / "cache")
    cache.put(REQUEST, ANSWER)
    (tmp_path / "cache").chmod(0o400)
    (tmp_path / "cache-journal").mkdir()  # also where root may write whatever it likes
    with pytest.raises(InputError, match="Check permissions"):
        cache.put({}, ANSWER)
    (tmp_path / "cache-journal").rmdir()
    assert cache.get(REQUEST) == ANSWER


@pytest.mark.parametrize("damage", [lambda content: b"no database", lambda content: content[: len(content) // 2]])
def test_a_damaged_file_is_reported_and_left_alone(tmp_path, damage):
    path = tmp_path / "cache"
    Cache(path).put(REQUEST, ANSWER)
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    with pytest.raises(InputError, match=f"{path}: found .*move a damaged file away"):
        Cache(path).get(REQUEST)
    assert path.read_bytes() == damaged
