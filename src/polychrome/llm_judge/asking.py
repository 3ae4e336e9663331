"""Questions answered from the cache, or by the endpoint through its vendor's own client, until the budget is used up.

A hook counts each of the client's attempts before it is sent, at the most that it can cost: an error of the endpoint
makes it free, an answer sets its price, and what breaks off stays at its worst. The key comes from the environment,
goes into the client and nowhere else: texts of the endpoint are stripped of it.
"""

import hashlib
import importlib
import json
import os
import re
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from polychrome.errors import bad
from polychrome.llm_judge.question import Answer, Question, make_request, read_answer
from polychrome.llm_judge.settings import LlmJudgeSettings

CACHE = Path(".cache/llm_judge.sqlite")
MAX_RETRIES = 5  # further attempts of the client after one that failed
TIMEOUT = 60.0  # seconds without a byte before an attempt counts as failed
ADDED_TOKENS = 1024  # that an endpoint may add on its own: the chat template, and the words that declare a tool
UNREADABLE_IN_A_ROW = 5  # then something is wrong with the judge, and going on would only cost


class Cache:
    """Answers in an SQLite database, by the sha256 of all that was sent, which holds neither key nor address.

    An answer is on disk before the next question is asked, so a kill loses at most the call that it interrupts.
    Raises InputError when the disk refuses or the file is damaged.
    """

    def __init__(self, path: Path = CACHE):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._execute("create table if not exists answers (key text primary key, request text, answer text)")

    def get(self, request: Mapping[str, Any]) -> Answer | None:
        """The answer to ``request``, None when there is none."""
        found = self._execute("select answer from answers where key = ?", self._key(request))
        return Answer(**json.loads(found[0][0])) if found else None

    def put(self, request: Mapping[str, Any], answer: Answer) -> None:
        """Keep ``answer``; it is on disk when this returns."""
        row = self._key(request), json.dumps(request), json.dumps(answer._asdict())
        self._execute("insert or replace into answers values (?, ?, ?)", *row)

    @staticmethod
    def _key(request: Mapping[str, Any]) -> str:
        return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()

    def _execute(self, command: str, *values: str) -> list[tuple[str, ...]]:
        try:
            with sqlite3.connect(self.path, timeout=60) as database:
                return database.execute(command, values).fetchall()
        except sqlite3.Error as error:
            remedy = "Check permissions and the disk; move a damaged file away, and its questions are asked again."
            raise bad(str(self.path), error, "the judge's cache, an SQLite database", remedy) from error


class StoppedError(Exception):
    """Why no more calls are made. Its text is the same on every machine; ``detail`` may hold the endpoint's words."""

    def __init__(self, reason: str, text: str, detail: str):
        super().__init__(text)
        self.reason, self.detail = reason, f"{text}: {detail}"  # reason: dollars, calls, endpoint or unreadable


class Judge:
    """Answers questions in turn. After :attr:`stopped` is set it makes no call, and still reads the cache."""

    def __init__(self, settings: LlmJudgeSettings, tell: Callable[[str], None]):
        self.settings, self.tell, self.cache = settings, tell, Cache()
        self.calls, self.dollars = 0, 0.0  # attempts made, and the most that they can have cost
        self.stopped: StoppedError | None = None
        self._worst = self._next_call = 0.0  # dollars of the attempt under way; monotonic seconds
        self._unreadable = 0  # in a row, in this run

    def forecast(self, questions: Sequence[Question]) -> str:
        """What answering ``questions`` can cost at most, in a sentence."""
        requests = [make_request(question, self.settings) for question in questions]
        worst = [self._worst_case(request) for request in requests if self.cache.get(request) is None]
        return (
            f"{len(worst)} of {len(requests)} questions are not in the cache: at most ${sum(worst):.4f} at one call "
            f"each. The run ends before it exceeds ${self.settings.max_dollars:g} or {self.settings.max_calls} calls."
        )

    def ask(self, question: Question) -> Answer | None:
        """The answer to ``question``; None when it has none and the run is stopped. Raises InputError (key, disk)."""
        request = make_request(question, self.settings)
        answer = self.cache.get(request)
        if answer or self.stopped:
            return answer
        try:
            answer = self._call(request)
        except StoppedError as error:
            self.stopped = error
            return None
        self.cache.put(request, answer)
        self._unreadable = self._unreadable + 1 if answer.kind == "unreadable" else 0
        if self._unreadable == UNREADABLE_IN_A_ROW:
            text = f"{UNREADABLE_IN_A_ROW} answers in a row were no verdict"
            self.stopped = StoppedError("unreadable", text, f"the last was {answer.reason}")
        return answer

    def price(self, input_tokens: int, output_tokens: int) -> float:
        """Dollars for tokens."""
        of_input, of_output = self.settings.dollars_per_million
        return (input_tokens * of_input + output_tokens * of_output) / 1e6

    def _worst_case(self, request: Mapping[str, Any]) -> float:
        """The most one attempt can cost, in dollars: a token is at least a byte, an answer at most ``max_tokens``."""
        sent = len(json.dumps(request, ensure_ascii=False).encode())
        return self.price(sent + ADDED_TOKENS, self.settings.max_tokens)

    def _call(self, request: Mapping[str, Any]) -> Answer:
        """The endpoint's answer. Raises StoppedError when the limits leave no attempt, or all of them failed."""
        most, worst = self.settings, self._worst_case(request)
        calls, dollars = most.max_calls - self.calls, most.max_dollars - self.dollars
        for name, needed, left in (("calls", 1, calls), ("dollars", worst, dollars)):
            if needed > left:
                detail = f"{left:.4g} of llm_judge.max_{name} is left, and the next call may take {needed:.4g}"
                raise StoppedError(name, f"the budget in {name} is used up", detail)
        self._worst, attempts = worst, min(1 + MAX_RETRIES, calls, int(dollars / worst) if worst else calls)
        sdk, client = self._opened[0], self._opened[1].with_options(max_retries=attempts - 1)
        resource = client.messages if most.backend == "anthropic" else client.chat.completions
        try:
            text = self._clean(resource.with_raw_response.create(**request["body"]).http_response.text)
        except sdk.APIStatusError as error:
            if getattr(error, "code", None) == "content_filter":
                return Answer("refused", None, "the endpoint's content filter", most.model, None)
            raise self._failed(f"HTTP {error.status_code} {error.type or ''}".strip(), error.message) from None
        except sdk.APIConnectionError as error:  # a timeout is one, too
            raise self._failed(error.message.strip("."), str(error.__cause__)) from None
        try:
            answer = read_answer(most.backend, text)
        except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
            raise self._failed("a response that is not the protocol's", f"it starts with {text[:40]!r}") from None
        if answer.tokens:
            self.dollars += self.price(*answer.tokens) - worst
        return answer._replace(reason=self._clean(answer.reason), model=self._clean(answer.model))

    def _before(self, request: Any) -> None:
        time.sleep(max(self._next_call - time.monotonic(), 0.0))
        self._next_call = time.monotonic() + 60.0 / self.settings.requests_per_minute
        self.calls += 1
        self.dollars += self._worst

    def _after(self, response: Any) -> None:
        if not response.is_success:
            self.dollars -= self._worst
            asked = response.headers.get("retry-after")
            self.tell(f"the endpoint says HTTP {response.status_code}" + (f", retry after {asked}" if asked else ""))

    @cached_property
    def _opened(self) -> tuple[Any, Any]:
        """The vendor's package and client, which a run that is answered from the cache does not need."""
        name = self.settings.backend
        try:
            sdk = importlib.import_module(name)
        except ModuleNotFoundError as error:
            remedy = f"Run `make judge`, which installs it, or `pip install -c constraints.txt {name}`."
            raise bad("environment", f"no package {error.name}", f"the client {name}", remedy) from error
        hooks = {"request": [self._before], "response": [self._after]}
        # A redirect could lead the key and the replies to somewhere that nobody chose.
        http = sdk.DefaultHttpxClient(follow_redirects=False, event_hooks=hooks)
        make = sdk.OpenAI if name == "openai" else partial(sdk.Anthropic, open_telemetry=False)
        # The client insists on a key; servers without keys do not look at it.
        return sdk, make(api_key=self._key or "none", base_url=self.settings.url, timeout=TIMEOUT, http_client=http)

    @cached_property
    def _key(self) -> str:
        """The key of the environment, "" when there is none and none is needed. Errors do not quote it."""
        settings, name = self.settings, f"{self.settings.backend.upper()}_API_KEY"
        key, expected = os.environ.get(name, "").strip(), f"a key that {settings.url} may be called with"
        if not key and (settings.backend == "anthropic" or not settings.base_url):
            remedy = f"Set {name} for this command; it is read from nowhere else and never written."
            raise bad(f"environment:{name}", "no key", expected, remedy)
        if not re.fullmatch("[!-~]*", key):
            found = "characters that no key has (spaces, line ends or letters outside ASCII)"
            raise bad(f"environment:{name}", found, expected, "Set it again, from where it was copied.")
        if key and settings.url.startswith("http:") and not settings.near:
            remedy = f"Use https, or unset {name} if the server needs no key."
            raise bad("llm_judge.base_url", "http to another machine, with a key set", expected, remedy)
        return key

    def _failed(self, label: str, words: str) -> StoppedError:
        return StoppedError("endpoint", f"the endpoint failed: {self._clean(label)}", self._clean(words)[:500])

    def _clean(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text
