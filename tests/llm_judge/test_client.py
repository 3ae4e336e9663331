"""The vendors' own clients against an endpoint that fails in every way that endpoints do."""

import re
import sys

import pytest

from polychrome.errors import InputError
from polychrome.llm_judge import asking
from polychrome.llm_judge.question import Question, make_body
from tests.llm_judge.conftest import KEY, QUESTION
from tests.llm_judge.server import cut, drop, envelope, hang, raw, refuse, status

PRICE = (700 * 3 + 40 * 15) / 1e6  # of an answer of the scripted endpoint

# --- what is sent -----------------------------------------------------------------------------------------------------


def test_the_answer_is_held_to_the_schema_and_read(bench):
    answer = bench.judge().ask(QUESTION)
    assert (answer.kind, answer.better, answer.reason) == ("verdict", "A", "because")
    assert (answer.model, answer.tokens) == ("judge-1-served", [700, 40])
    (request,) = bench.server.requests
    body = request.body
    assert body["max_tokens"] == 512
    if bench.backend == "anthropic":
        assert body["tool_choice"]["name"] == body["tools"][0]["name"]
        assert "temperature" not in body
    else:
        assert body["response_format"]["json_schema"]["strict"] is True
        assert body["temperature"] == 0
    holding = {name.lower() for name, value in request.headers.items() if KEY in value}
    assert holding in ({"authorization"}, {"x-api-key"})
    assert KEY.encode() not in request.raw


def test_openai_itself_gets_the_limit_by_its_new_name_and_no_temperature(bench):
    bench.backend = "openai"
    body = make_body(bench.settings(base_url=""), "system", "user")
    assert (body["max_completion_tokens"], {"max_tokens", "temperature"} & set(body)) == (512, set())


# --- failures ---------------------------------------------------------------------------------------------------------

PASSING = {str(code): status(code) for code in (408, 409, 429, 500, 529)} | {
    "503 of a proxy, in HTML": raw("<html>busy</html>", "text/html", 503),
    "a cut stream": cut,
    "a closed connection": drop,
    "a timeout": hang,
}


@pytest.mark.parametrize("failure", PASSING.values(), ids=PASSING)
def test_a_failure_that_passes_is_repeated_by_the_client_with_back_off(bench, monkeypatch, failure):
    monkeypatch.setattr(asking, "TIMEOUT", 0.3)
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


HERE = "http://127.0.0.1:1/v1/messages"
FOREIGN = ['{"id": "msg_1", "content": [', "<html>hello</html>", '{"hello": 1}', "[1, 2]", "", "[" * 99999]
ENDING = [(status(code, "no model"), 1, f"HTTP {code} .*no model") for code in (400, 401, 403, 404)]
ENDING += [(raw(text), 1, "not the protocol's") for text in FOREIGN]
ENDING += [(status(529, "Overloaded"), 6, "HTTP 529 overloaded_error: .*Overloaded"), (drop, 6, "Connection error")]
ENDING += [(raw("", code=307, headers={"Location": HERE}), 1, "HTTP 307")]  # a redirect is not followed


@pytest.mark.parametrize(("act", "requests", "words"), ENDING)
def test_a_failure_that_stays_ends_the_calls_and_is_not_kept(bench, act, requests, words):
    judge = bench.judge(*[act] * requests)
    assert judge.ask(QUESTION) is judge.ask(QUESTION.swapped()) is None
    assert len(bench.server.requests) == requests
    assert judge.stopped.reason == "endpoint"
    assert re.search(words, judge.stopped.detail)
    assert bench.judge().ask(QUESTION).better == "A"


# --- answers that are no verdict --------------------------------------------------------------------------------------


def say(change=lambda body: None, value=None, **how):
    """A successful response with ``change`` made to it."""

    def act(handler, request):
        body = envelope(request, value or {"reason": "r", "better": "A"}, **how)
        change(body)
        handler.say(body)

    return act


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
    "another verdict": say(value={"reason": "r", "better": "C"}),
    "a further field": say(value={"reason": "r", "better": "A", "score": 3}),
    "no reason": say(value={"better": "A"}),
    "cut at the limit": say(cut_at_the_limit),
    "no content": say(times(0)),
    "two answers": say(times(2)),
    "prose around a verdict": say(prose),
}


@pytest.mark.parametrize("act", NO_VERDICT.values(), ids=NO_VERDICT)
def test_what_is_no_verdict_is_kept_as_unreadable(bench, act):
    answer = bench.judge(act).ask(QUESTION)
    assert (answer.kind, answer.better, answer.tokens) == ("unreadable", None, [700, 40])
    assert bench.judge().ask(QUESTION) == answer
    assert len(bench.server.requests) == 1


def test_a_refusal_is_an_answer(bench):
    assert bench.judge(refuse).ask(QUESTION).kind == bench.judge().ask(QUESTION).kind == "refused"
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


# --- what it costs ----------------------------------------------------------------------------------------------------


def test_an_answer_is_charged_what_the_endpoint_counted_and_an_error_nothing(bench):
    judge = bench.judge(status(529))
    judge.ask(QUESTION)
    assert judge.dollars == pytest.approx(PRICE)


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
    bench.server.requests.clear()
    bench.server.script.clear()
    judge = bench.judge(*[drop] * 9, max_dollars=2.5 * worst)
    assert judge.ask(QUESTION) is None
    assert (len(bench.server.requests), judge.dollars) == (2, pytest.approx(2 * worst))


def test_calls_keep_the_pace(bench):
    judge = bench.judge(requests_per_minute=30.0)
    judge.ask(QUESTION)
    judge.ask(QUESTION.swapped())
    assert bench.slept == [0.0, pytest.approx(2.0, abs=0.5)]


def test_where_a_servers_weights_lie_is_not_kept(bench):
    assert bench.judge(say(model="/srv/weights/judge.gguf")).ask(QUESTION).model == "judge.gguf"
    assert bench.judge(say(model="org/judge")).ask(QUESTION.swapped()).model == "org/judge"


# --- keys and addresses -----------------------------------------------------------------------------------------------


def test_a_missing_key_is_told_and_only_when_a_call_needs_it(bench, monkeypatch):
    bench.judge().ask(QUESTION)
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    monkeypatch.delenv("OPENAI_API_KEY")
    assert bench.judge().ask(QUESTION).better == "A"  # from the cache
    if bench.backend == "openai":  # a server of one's own needs none
        assert bench.judge().ask(QUESTION.swapped()).better == "B"
        return
    with pytest.raises(InputError, match="environment:ANTHROPIC_API_KEY: found no key"):
        bench.judge().ask(QUESTION.swapped())


def test_a_client_that_is_not_installed_is_told(bench, monkeypatch):
    monkeypatch.setitem(sys.modules, bench.backend, None)
    with pytest.raises(InputError, match="make judge"):
        bench.judge().ask(QUESTION)


def test_a_key_that_cannot_be_one_is_told_without_being_shown(bench, monkeypatch):
    monkeypatch.setenv(f"{bench.backend.upper()}_API_KEY", "sk-secret\nkey")
    with pytest.raises(InputError, match="characters that no key has") as caught:
        bench.judge().ask(QUESTION)
    assert "secret" not in str(caught.value)


def test_a_key_is_not_sent_over_plain_http_to_another_machine(bench):
    with pytest.raises(InputError, match="http to another machine") as caught:
        bench.judge(base_url="http://192.0.2.7:8000/v1").ask(QUESTION)
    assert KEY not in str(caught.value)


NEAR = ["http://127.0.0.1:8080/v1", "http://[::1]:8080/v1", "http://localhost"]
ELSEWHERE = [
    "",
    "https://api.example.com/v1",
    "http://127.example.com",
    "http://127.0.0.1.example.com",
    "http://10.1.2.3",
]
NONE = ["127.0.0.1:8000", "http://me:secret@127.0.0.1/v1", "https://127.0.0.1/v1?key=secret", "http://127.0.0.1:99999"]


@pytest.mark.parametrize(
    ("base_url", "price", "where"),
    [(url, (0.0, 0.0), []) for url in NEAR]
    + [(url, (3.0, 0.0), ["dollars_per_million"]) for url in ELSEWHERE]
    + [(url, (3.0, 15.0), ["base_url"]) for url in NONE]
    + [(NEAR[0], (3.0,), ["dollars_per_million"])],
)
def test_an_address_that_is_none_or_holds_a_key_and_an_endpoint_elsewhere_without_a_price_are_reported(
    bench, base_url, price, where
):
    problems = list(bench.settings(base_url=base_url, dollars_per_million=price).disagreements())
    assert [problem.where for problem in problems] == where
    assert "secret" not in "".join(map(str, problems))


def test_an_endpoint_that_echoes_the_key_does_not_get_it_written(bench):
    echo = say(value={"reason": f"your key is {KEY}", "better": "A"}, model=f"m-{KEY}")
    judge = bench.judge(status(500, f"bad key {KEY}"), echo, status(401, f"bad key {KEY}"))
    answer = judge.ask(QUESTION)
    assert (answer.reason, answer.model) == ("your key is [key]", "m-[key]")
    judge.ask(QUESTION.swapped())
    assert "[key]" in judge.stopped.detail
    assert KEY not in "\n".join([*bench.told, judge.stopped.detail, str(judge.stopped), repr(judge)])
