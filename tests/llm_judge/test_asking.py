"""The cache, and the vendors' own clients against an endpoint that fails in every way that endpoints do."""

import json
import re
import sys

import pytest

from polychrome.errors import InputError
from polychrome.llm_judge.asking import TIMEOUT, Cache
from polychrome.llm_judge.question import Answer, Question
from tests.llm_judge.conftest import KEY, QUESTION, SWAPPED
from tests.llm_judge.server import cut, drop, hang, raw, refuse, say, status

# --- the cache --------------------------------------------------------------------------------------------------------

REQUEST = {"backend": "openai", "body": {"model": "m", "messages": ["caf\u00e9"]}}
ANSWER = Answer("verdict", "B", "why \ud800", "m-1", [700, 40])


def test_an_answer_is_found_by_its_request_by_another_process_too_and_stands_when_the_disk_refuses_the_next(tmp_path):
    path = tmp_path / "new/cache.sqlite"
    cache = Cache(path)
    assert cache.get(REQUEST) is None
    cache.put(REQUEST, ANSWER)
    assert Cache(path).get(json.loads(json.dumps(REQUEST))) == ANSWER
    assert cache.get(REQUEST | {"backend": "anthropic"}) is None
    path.chmod(0o400)
    path.with_name("cache.sqlite-journal").mkdir()  # also where root may write whatever it likes
    with pytest.raises(InputError, match="Check permissions"):
        cache.put({}, ANSWER)
    path.with_name("cache.sqlite-journal").rmdir()
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


# --- what is sent -----------------------------------------------------------------------------------------------------


def test_the_answer_is_held_to_the_schema_and_read(bench):
    assert bench.judge().ask(QUESTION) == Answer("verdict", "A", "because", "judge-1-served", [700, 40])
    (request,) = bench.server.requests
    body = request.body
    assert (body["max_tokens"], request.timeout["read"]) == (512, TIMEOUT)
    if bench.backend == "anthropic":
        assert body["tool_choice"]["name"] == body["tools"][0]["name"]
        assert "temperature" not in body
    else:
        assert body["response_format"]["json_schema"]["strict"] is True
        assert body["temperature"] == 0
    assert [name for name, value in request.headers.items() if KEY in value] in (["authorization"], ["x-api-key"])
    assert KEY.encode() not in request.raw


def test_the_vendor_itself_is_asked_without_a_temperature_and_openai_with_its_new_name_of_the_limit(bench):
    bench.judge(base_url="").ask(QUESTION)
    body = bench.server.requests[0].body
    limit, other = ("max_tokens", "max_completion_tokens")[:: -1 if bench.backend == "openai" else 1]
    assert (body[limit], {other, "temperature"} & set(body)) == (512, set())


# --- failures ---------------------------------------------------------------------------------------------------------

PASSING = {str(code): status(code) for code in (408, 409, 429, 500, 529)} | {
    "503 of a proxy, in HTML": raw("<html>busy</html>", "text/html", 503),
    "a cut stream": cut,
    "a closed connection": drop,
    "a timeout": hang,
}


@pytest.mark.parametrize("failure", PASSING.values(), ids=PASSING)
def test_a_failure_that_passes_is_repeated_by_the_client_with_back_off(bench, failure):
    judge = bench.judge(failure, failure)
    assert judge.ask(QUESTION).better == "A"
    assert (len(bench.server.requests), judge.calls) == (3, 3)
    assert len({request.raw for request in bench.server.requests}) == 1
    first, second = (seconds for seconds in bench.slept if seconds > 0.1)  # without those of the pace
    assert 0.3 < first < second


def test_retry_after_is_kept_to_and_told(bench):
    assert bench.judge(status(429, headers={"retry-after": "7"})).ask(QUESTION).better == "A"
    assert 7.0 in bench.slept
    assert bench.told == ["the endpoint says HTTP 429, retry after 7"]


FOREIGN = ['{"id": "msg_1", "content": [', "<html>hello</html>", '{"hello": 1}', "[1, 2]", "", "[" * 99999]
ENDING = [(status(code, "no model"), 1, f"HTTP {code} .*no model") for code in (400, 401, 403, 404)]
ENDING += [(raw(text), 1, "not the protocol's") for text in FOREIGN]
ENDING += [(status(529, "Overloaded"), 6, "HTTP 529 overloaded_error: .*Overloaded"), (drop, 6, "Connection error")]
ENDING += [(raw("", code=307, headers={"Location": "http://127.0.0.1:1/v1/messages"}), 1, "HTTP 307")]  # not followed


@pytest.mark.parametrize(("act", "requests", "words"), ENDING)
def test_a_failure_that_stays_ends_the_calls_and_is_not_kept(bench, act, requests, words):
    judge = bench.judge(*[act] * requests)
    assert judge.ask(QUESTION) is judge.ask(SWAPPED) is None
    assert len(bench.server.requests) == requests
    assert judge.stopped.reason == "endpoint"
    assert re.search(words, judge.stopped.detail)
    assert bench.judge().ask(QUESTION).better == "A"


# --- answers that are no verdict --------------------------------------------------------------------------------------


def cut_at_the_limit(body):
    (body if "content" in body else body["choices"][0]).update(stop_reason="max_tokens", finish_reason="length")


def times(number):
    return lambda body: body.update({name: body[name] * number for name in ("content", "choices") if name in body})


def prose(body):
    text = 'Set A is better: {"reason": "r", "better": "A"}'
    if "content" in body:
        body.update(content=[{"type": "text", "text": text}], stop_reason="end_turn")
    else:
        body["choices"][0]["message"]["content"] = text


NO_VERDICT = {
    "a further field": ("unreadable", say(value={"reason": "r", "better": "A", "score": 3})),
    "cut at the limit": ("unreadable", say(cut_at_the_limit)),
    "no content": ("unreadable", say(times(0))),
    "two answers": ("unreadable", say(times(2))),
    "prose around a verdict": ("unreadable", say(prose)),
    "a refusal": ("refused", refuse),
}


@pytest.mark.parametrize(("kind", "act"), NO_VERDICT.values(), ids=NO_VERDICT)
def test_what_is_no_verdict_is_kept_as_what_it_is(bench, kind, act):
    answer = bench.judge(act).ask(QUESTION)
    assert (answer.kind, answer.better, answer.tokens) == (kind, None, [700, 40])
    assert bench.judge().ask(QUESTION) == answer
    assert len(bench.server.requests) == 1


def test_a_content_filter_is_a_refusal(bench):
    bench.backend = "openai"
    assert bench.judge(status(400, "filtered", code="content_filter")).ask(QUESTION).kind == "refused"


def test_a_judge_that_is_never_readable_is_not_asked_for_ever(bench):
    bench.server.judge = lambda request: "neither"
    judge = bench.judge()
    kinds = [answer and answer.kind for answer in (judge.ask(Question(f"{i}", ("a",), ("b",))) for i in range(7))]
    assert kinds == ["unreadable"] * 5 + [None] * 2
    assert judge.stopped.reason == "unreadable"


@pytest.mark.parametrize(("served", "kept"), [("/srv/weights/judge.gguf", "judge.gguf"), ("org/judge", "org/judge")])
def test_where_a_servers_weights_lie_is_not_kept(bench, served, kept):
    assert bench.judge(say(model=served)).ask(QUESTION).model == kept


# --- what it costs ----------------------------------------------------------------------------------------------------


def test_an_answer_is_charged_what_the_endpoint_counted_and_an_error_nothing(bench):
    judge = bench.judge(status(529))
    judge.ask(QUESTION)
    assert judge.dollars == pytest.approx((700 * 3 + 40 * 15) / 1e6)


@pytest.mark.parametrize("act", [cut, say(lambda body: body.pop("usage"))])
def test_what_breaks_off_or_is_not_counted_stays_at_its_worst(bench, act):
    judge = bench.judge(act)
    answer = judge.ask(QUESTION)
    assert judge.dollars >= (len(bench.server.requests[0].raw) * 3 + 512 * 15) / 1e6
    assert (act is cut) == (answer.tokens is not None)


def test_the_clients_repetitions_keep_to_the_limits(bench):
    judge = bench.judge(*[status(500)] * 9, max_calls=2)
    assert judge.ask(QUESTION) is None
    assert len(bench.server.requests) == 2
    worst = judge._worst
    judge = bench.judge(*[drop] * 9, max_dollars=2.5 * worst)
    assert judge.ask(QUESTION) is None
    assert (len(bench.server.requests), judge.dollars) == (4, pytest.approx(2 * worst))


def test_calls_keep_the_pace(bench):
    judge = bench.judge(requests_per_minute=30.0)
    judge.ask(QUESTION)
    judge.ask(SWAPPED)
    assert bench.slept == [0.0, pytest.approx(2.0, abs=0.5)]


# --- keys and addresses -----------------------------------------------------------------------------------------------


def test_a_missing_key_is_reported_and_only_when_a_call_needs_it(bench, monkeypatch):
    bench.judge().ask(QUESTION)
    monkeypatch.delenv(f"{bench.backend.upper()}_API_KEY")
    assert bench.judge().ask(QUESTION).better == "A"  # from the cache
    change = {}
    if bench.backend == "openai":  # a server of one's own needs none
        assert bench.judge().ask(SWAPPED).better == "B"
        change = {"base_url": ""}
    with pytest.raises(InputError, match=f"environment:{bench.backend.upper()}_API_KEY: found no key"):
        bench.judge(**change).ask(SWAPPED)


@pytest.mark.parametrize(
    ("key", "change", "words"),
    [("sk-a\nb", {}, "characters that no key has"), (KEY, {"base_url": "http://192.0.2.7/v1"}, "http to another")],
)
def test_a_key_that_cannot_be_one_or_would_go_over_plain_http_to_another_machine_is_not_shown_or_sent(
    bench, monkeypatch, key, change, words
):
    monkeypatch.setenv(f"{bench.backend.upper()}_API_KEY", key)
    with pytest.raises(InputError, match=words) as caught:
        bench.judge(**change).ask(QUESTION)
    assert key[:4] not in str(caught.value)
    assert bench.server.requests == []


def test_a_client_that_is_not_installed_is_reported(bench, monkeypatch):
    monkeypatch.setitem(sys.modules, bench.backend, None)
    with pytest.raises(InputError, match="make judge"):
        bench.judge().ask(QUESTION)


NEAR = ["http://127.0.0.1:8080/v1", "http://[::1]:8080/v1", "http://localhost"]
ELSEWHERE = ["", "https://example.com/v1", "http://10.1.2.3", "http://127.example.com", "http://127.0.0.1.example.com"]
NONE = ["127.0.0.1:8000", "http://me:secret@127.0.0.1/v1", "https://127.0.0.1/v1?key=secret", "http://127.0.0.1:99999"]
ADDRESSES = [(url, (0.0, 0.0), []) for url in NEAR] + [(url, (3.0, 15.0), ["base_url"]) for url in NONE]
ADDRESSES += [(url, (3.0, 0.0), ["dollars_per_million"]) for url in ELSEWHERE]


@pytest.mark.parametrize(("base_url", "price", "where"), [*ADDRESSES, (NEAR[0], (3.0,), ["dollars_per_million"])])
def test_an_address_that_is_none_or_holds_a_key_and_an_endpoint_elsewhere_without_a_price_are_reported(
    bench, base_url, price, where
):
    problems = list(bench.settings(base_url=base_url, dollars_per_million=price).disagreements())
    assert [problem.where for problem in problems] == where
    assert "secret" not in "".join(map(str, problems))
