"""The vendors' own clients against an endpoint that fails in every way that endpoints do."""

import sys

import pytest

from polychrome.errors import InputError
from polychrome.llm_judge.asking import Asker
from polychrome.llm_judge.backends import make_backend
from polychrome.llm_judge.budget import Budget, Pace
from polychrome.llm_judge.cache import Cache
from polychrome.llm_judge.question import Question
from tests.llm_judge.conftest import KEY, Time, make_settings
from tests.llm_judge.server import cut, drop, envelope, hang, raw, serving, status, verdict

QUESTION = Question("hello?", ("one two three", "four"), ("one", "one"))
FORMS = [("anthropic", "tool"), ("anthropic", "json_schema"), ("openai", "json_schema"), ("openai", "tool")]
FORMS += [("openai", "json")]


class Run:
    """One asker on the scripted endpoint, with its clock, its budget and what it told."""

    def __init__(self, server, backend, root, **changes):
        self.server, self.time, self.told = server, Time(), []
        settings = make_settings(server, backend, root, **changes)
        self.budget = Budget(settings.max_dollars, settings.max_calls, 3.0, 15.0)
        pace = Pace(settings.requests_per_minute, self.time.clock, self.time.sleep)
        cache = Cache(root / "cache", self.told.append)
        self.asker = Asker(settings, "rubric", make_backend(settings), cache, self.budget, pace, self.told.append)

    def ask(self, *script, question=QUESTION):
        self.server.script.extend(script)
        return self.asker.ask(question)

    @property
    def waited(self):
        """Waits of a second's size: without those of the rate limit."""
        return [seconds for seconds in self.time.slept if seconds > 0.1]


@pytest.fixture
def run(server, backend, tmp_path):
    return Run(server, backend, tmp_path)


# --- what is sent -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("backend", "form"), FORMS)
def test_every_form_of_answer_is_asked_for_and_read(server, tmp_path, backend, form):
    answer = Run(server, backend, tmp_path, answer=form, temperature=0.0).ask()
    body = server.requests[0].body
    assert (answer.kind, answer.better, answer.reason) == ("verdict", "A", "because")
    assert (answer.model, answer.usage.input_tokens, answer.usage.output_tokens) == ("judge-1-served", 700, 40)
    assert body["temperature"] == 0.0
    assert body["max_tokens"] == 512
    assert ("tools" in body) == ("tool_choice" in body) == (form == "tool")
    assert ("response_format" in body) == (backend == "openai" and form != "tool")
    assert ("output_config" in body) == (backend == "anthropic" and form != "tool")


def test_no_temperature_is_sent_unless_one_is_set(run):
    run.ask()
    assert "temperature" not in run.server.requests[0].body


def test_the_key_goes_into_the_header_of_authorisation_and_nowhere_else(run):
    run.ask()
    request = run.server.requests[0]
    holding = {name.lower() for name, value in request.headers.items() if KEY in value}
    assert holding in ({"authorization"}, {"x-api-key"})  # Anthropic's client has used both
    assert KEY.encode() not in request.raw


# --- failures, then success -------------------------------------------------------------------------------------------

PASSING = {
    "429": status(429),
    "500": status(500),
    "503 of a proxy, in HTML": raw("<html>busy</html>", "text/html", 503),
    "529": status(529),
    "408": status(408),
    "malformed JSON": raw('{"id": "msg_1", "content": ['),
    "HTML with status 200": raw("<html>hello</html>", "text/html"),
    "JSON of another kind": raw('{"hello": 1}'),
    "JSON that is no object": raw("[1, 2]"),
    "an empty body": raw(""),
    "a cut stream": cut,
    "a closed connection": drop,
}


@pytest.mark.parametrize("failure", PASSING.values(), ids=PASSING)
def test_a_failure_that_passes_is_tried_again_with_back_off(run, failure):
    answer = run.ask(failure, failure)
    assert answer.better == "A"
    assert len(run.server.requests) == 3
    assert len({request.raw for request in run.server.requests}) == 1
    first, second = run.waited
    assert 0.5 <= first <= 1.0
    assert 1.0 <= second <= 2.0


def test_a_timeout_is_tried_again(server, backend, tmp_path):
    run = Run(server, backend, tmp_path, timeout_s=0.3)
    assert run.ask(hang).better == "A"
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after-ms": "2500"}, 2.5),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:09 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
    ],
)
def test_retry_after_is_kept_to(run, headers, seconds):
    assert run.ask(status(429, headers=headers)).better == "A"
    if seconds is not None:
        assert run.waited == [seconds]


def test_a_shorter_retry_after_does_not_shorten_the_back_off(run):
    run.ask(*[status(429, headers={"retry-after": "0"})] * 3)
    assert run.waited == sorted(run.waited)
    assert run.waited[-1] >= 2.0


def test_the_jitter_repeats(server, backend, tmp_path):
    waits = []
    for name in "xy":
        run = Run(server, backend, tmp_path / name)
        run.ask(status(500), status(500))
        waits.append(run.waited)
    assert waits[0] == waits[1]


# --- failures that stay -----------------------------------------------------------------------------------------------


def test_an_endpoint_that_stays_down_ends_the_calls(server, backend, tmp_path):
    run = Run(server, backend, tmp_path, retries=2)
    assert run.ask(*[status(529, "Overloaded")] * 3) is None
    assert (run.asker.stopped.reason, len(server.requests)) == ("endpoint", 3)
    assert run.asker.stopped.text == "the endpoint failed: HTTP 529 overloaded_error"
    assert "Overloaded" in run.asker.stopped.detail
    assert run.ask(question=QUESTION.swapped()) is None
    assert len(server.requests) == 3


def test_nothing_listening_is_told(server, backend, tmp_path):
    with serving(None) as gone:
        base_url = gone.base_url(backend)
    run = Run(server, backend, tmp_path, retries=1, base_url=base_url)
    assert run.ask() is None
    assert run.asker.stopped.text == "the endpoint failed: no connection"
    assert run.budget.dollars == pytest.approx(0.0, abs=1e-12)  # nobody can have charged for it


@pytest.mark.parametrize("code", [400, 401, 403, 404])
def test_a_refused_request_is_not_tried_again(run, code):
    assert run.ask(status(code, "model: judge-1")) is None
    assert len(run.server.requests) == 1
    assert "model: judge-1" in run.asker.stopped.detail


def test_an_endpoint_that_asks_for_an_hour_is_not_waited_for(run):
    assert run.ask(status(429, headers={"retry-after": "3600"})) is None
    assert "3600 seconds" in run.asker.stopped.detail
    assert run.waited == []


def test_an_endpoint_that_says_not_to_retry_is_obeyed(run):
    assert run.ask(status(429, headers={"x-should-retry": "false"})) is None
    assert len(run.server.requests) == 1


def test_a_spent_quota_is_not_waited_for(server, tmp_path):
    run = Run(server, "openai", tmp_path)
    assert run.ask(status(429, "You exceeded your current quota", code="insufficient_quota")) is None
    assert len(server.requests) == 1


def test_a_redirect_is_not_followed(run, backend):
    with serving(None) as elsewhere:
        target = f"{elsewhere.base_url(backend)}/v1/messages"
        assert run.ask(raw("", code=307, headers={"Location": target})) is None
        assert elsewhere.requests == []
    assert run.asker.stopped.text.startswith("the endpoint failed: HTTP 307")


# --- answers that are no verdict --------------------------------------------------------------------------------------


def say(change, value=None, **how):
    """A successful response with ``change`` made to it."""
    value = {"reason": "r", "better": "A"} if value is None else value

    def act(handler, request):
        body = envelope(request, value, **how)
        change(body, request)
        handler.say(body)

    return act


def unchanged(body, request):
    pass


def cut_at_the_limit(body, request):
    if request.protocol == "anthropic":
        body["stop_reason"] = "max_tokens"
    else:
        body["choices"][0]["finish_reason"] = "length"


def without_content(body, request):
    if request.protocol == "anthropic":
        body["content"] = []
    else:
        body["choices"] = []


def two_answers(body, request):
    name = "content" if request.protocol == "anthropic" else "choices"
    body[name] = body[name] * 2


def refusing(body, request):
    if request.protocol == "anthropic":
        body["content"], body["stop_reason"] = [{"type": "text", "text": "I cannot help with that."}], "refusal"
    else:
        body["choices"][0]["message"] = {"role": "assistant", "content": None, "refusal": "I cannot help with that."}


NO_VERDICT = {
    "the wrong tool": say(unchanged, tool="delete_everything"),
    "another verdict": say(unchanged, {"reason": "r", "better": "C"}),
    "a lower-case verdict": say(unchanged, {"reason": "r", "better": "a"}),
    "a further field": say(unchanged, {"reason": "r", "better": "A", "score": 3}),
    "no reason": say(unchanged, {"better": "A"}),
    "an answer cut at the limit": say(cut_at_the_limit),
    "no content": say(without_content),
    "two answers": say(two_answers),
}


@pytest.mark.parametrize("act", NO_VERDICT.values(), ids=NO_VERDICT)
def test_what_is_no_verdict_is_asked_for_once_more_and_then_kept_as_unreadable(server, backend, tmp_path, act):
    run = Run(server, backend, tmp_path, answer="tool")
    answer = run.ask(act, act)
    assert (answer.kind, answer.better, len(server.requests)) == ("unreadable", None, 2)
    assert answer.usage.calls == 2
    assert answer.usage.input_tokens == 1400
    assert run.ask() == answer
    assert len(server.requests) == 2


def test_prose_around_a_verdict_is_not_searched_for_one(server, tmp_path):
    prose = say(unchanged, text='Set A is better: {"reason": "r", "better": "A"}')
    answer = Run(server, "openai", tmp_path).ask(prose, prose)
    assert answer.kind == "unreadable"


def test_an_unreadable_answer_may_be_followed_by_a_verdict(run):
    answer = run.ask(say(unchanged, {"better": "?"}), verdict("B"))
    assert (answer.better, answer.usage.calls) == ("B", 2)


def test_a_refusal_is_an_answer(run):
    assert run.ask(say(refusing)).kind == "refused"
    assert run.ask().kind == "refused"
    assert len(run.server.requests) == 1


def test_a_content_filter_is_a_refusal(server, tmp_path):
    run = Run(server, "openai", tmp_path)
    assert run.ask(status(400, "filtered", code="content_filter")).kind == "refused"


def test_a_judge_that_is_never_readable_is_not_asked_for_ever(run):
    run.server.judge = lambda request: "neither"
    questions = [Question(f"post {i}", ("a",), ("b",)) for i in range(9)]
    kinds = [answer and answer.kind for answer in map(run.asker.ask, questions)]
    assert kinds == ["unreadable"] * 5 + [None] * 4
    assert run.asker.stopped.reason == "unreadable"


# --- what it costs ----------------------------------------------------------------------------------------------------


def test_a_call_is_charged_what_the_endpoint_counted(run):
    run.ask()
    assert run.budget.dollars == pytest.approx((700 * 3 + 40 * 15) / 1e6)


def test_a_refused_call_is_free_and_a_broken_one_is_charged_at_its_worst(server, backend, tmp_path):
    spent = []
    for name, failure in (("x", status(529)), ("y", cut)):
        run = Run(server, backend, tmp_path / name)
        run.ask(failure)
        spent.append(run.budget.dollars)
    sent = len(server.requests[0].raw)
    assert spent[1] - spent[0] >= (sent * 3 + 512 * 15) / 1e6 > 0


def test_a_call_without_counted_tokens_is_charged_at_its_worst_and_told_as_unmeasured(run):
    answer = run.ask(say(lambda body, request: body.pop("usage")))
    assert (answer.usage.unmeasured_calls, answer.usage.input_tokens) == (1, 0)
    assert run.budget.dollars > 512 * 15 / 1e6


def test_where_a_servers_weights_lie_is_not_kept(server, tmp_path):
    run = Run(server, "openai", tmp_path)
    assert run.ask(say(unchanged, model="/srv/weights/judge.gguf")).model == "judge.gguf"
    assert run.ask(say(unchanged, model="org/judge"), question=QUESTION.swapped()).model == "org/judge"


# --- keys and addresses -----------------------------------------------------------------------------------------------


def test_a_missing_key_is_told_and_only_when_a_call_needs_it(server, tmp_path, monkeypatch):
    Run(server, "anthropic", tmp_path).ask()
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    run = Run(server, "anthropic", tmp_path)
    assert run.ask().better == "A"  # from the cache
    with pytest.raises(InputError, match="environment:ANTHROPIC_API_KEY: found no key"):
        run.ask(question=QUESTION.swapped())


def test_a_client_that_is_not_installed_is_told(run, backend, monkeypatch):
    monkeypatch.setitem(sys.modules, backend, None)
    with pytest.raises(InputError, match="make judge"):
        run.ask()


def test_a_local_server_needs_no_key(server, tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    assert Run(server, "openai", tmp_path).ask().better == "A"


def test_a_key_that_cannot_be_one_is_told_without_being_shown(run, backend, monkeypatch):
    monkeypatch.setenv({"anthropic": "ANTHROPIC_API_KEY", "openai": "OPENAI_API_KEY"}[backend], "sk-secret\nkey")
    with pytest.raises(InputError) as caught:
        run.ask()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("base_url", "found"),
    [
        ("http://192.0.2.7:8000/v1", "http to another machine"),
        ("http://user:secret@127.0.0.1/v1", "not shown"),
        ("https://127.0.0.1/v1?key=secret", "not shown"),
        ("127.0.0.1:8000", "127.0.0.1:8000"),
        ("http://127.0.0.1:99999/v1", "99999"),
    ],
)
def test_an_address_that_would_give_the_key_away_or_is_none_is_told(server, backend, tmp_path, base_url, found):
    with pytest.raises(InputError, match=found) as caught:
        Run(server, backend, tmp_path, base_url=base_url).ask()
    assert "secret" not in str(caught.value)
    assert KEY not in str(caught.value)


def test_an_endpoint_that_echoes_the_key_does_not_get_it_written(server, backend, tmp_path):
    run = Run(server, backend, tmp_path, retries=1)
    echo = say(unchanged, {"reason": f"your key is {KEY}", "better": "A"}, model=f"m-{KEY}")
    run.ask(status(500, f"bad key {KEY}"), echo)
    run.ask(*[status(500, f"bad key {KEY}")] * 2, question=QUESTION.swapped())
    told = "\n".join([*run.told, run.asker.stopped.detail, run.asker.stopped.text, repr(run.asker)])
    written = [path.read_text() for path in (tmp_path / "cache").rglob("*.json")]
    assert len(written) == 1
    assert "[key]" in written[0]
    assert KEY not in told + written[0]
