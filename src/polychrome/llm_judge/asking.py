"""Questions answered from the cache, or by the endpoint through its vendor's own client, until the budget is used up.

The client repeats by itself what may pass (408, 409, 429, 5xx, timeouts, broken connections) and waits as Retry-After
asks. A hook counts each of these attempts before it is sent, at the most that it can cost: an error of the endpoint
makes it free, an answer sets its price, and what breaks off stays at its worst. The key comes from the environment,
goes into the client and nowhere else: texts of the endpoint are stripped of it.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from polychrome.errors import bad
from polychrome.llm_judge.cache import Cache
from polychrome.llm_judge.question import Answer, Question, make_body, make_prompt, read_answer
from polychrome.llm_judge.settings import LlmJudgeSettings

RUBRIC = Path(__file__).with_name("rubric.md")
MAX_RETRIES = 5  # further attempts of the client after one that failed
TIMEOUT = 60.0  # seconds without a byte before an attempt counts as failed
ADDED_TOKENS = 1024  # that an endpoint may add on its own: the chat template, and the words that declare a tool
UNREADABLE_IN_A_ROW = 5  # then something is wrong with the judge, and going on would only cost


class StoppedError(Exception):
    """Why no more calls are made. Its text is the same on every machine; ``detail`` may hold the endpoint's words."""

    def __init__(self, reason: str, text: str, detail: str):
        super().__init__(text)
        self.reason, self.detail = reason, f"{text}: {detail}"  # reason: dollars, calls, endpoint or unreadable


class Judge:
    """Answers questions in turn. After :attr:`stopped` is set it makes no call, and still reads the cache."""

    def __init__(self, settings: LlmJudgeSettings, tell: Callable[[str], None]):
        self.settings, self.tell, self.cache = settings, tell, Cache()
        self.rubric = RUBRIC.read_text(encoding="utf-8").strip()
        self.calls, self.dollars = 0, 0.0  # attempts made, and the most that they can have cost
        self.stopped: StoppedError | None = None
        self._worst = self._next_call = 0.0  # dollars of the attempt under way; monotonic seconds
        self._unreadable = 0  # in a row, in this run

    def forecast(self, questions: Sequence[Question]) -> str:
        """What answering ``questions`` can cost at most, in a sentence."""
        requests = [self._request(question) for question in questions]
        worst = [self._worst_case(request) for request in requests if self.cache.get(request) is None]
        return (
            f"{len(worst)} of {len(requests)} questions are not in the cache: at most ${sum(worst):.4f} at one call "
            f"each. The run ends before it exceeds ${self.settings.max_dollars:g} or {self.settings.max_calls} calls."
        )

    def ask(self, question: Question) -> Answer | None:
        """The answer to ``question``; None when it has none and the run is stopped. Raises InputError (key, disk)."""
        request = self._request(question)
        answer = self.cache.get(request)
        if answer is None and self.stopped is None:
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

    def _request(self, question: Question) -> dict[str, Any]:
        """All that is sent, which is what the cache knows an answer by."""
        prompt = make_prompt(question, self.rubric, self.settings.seed)
        return {"backend": self.settings.backend, "body": make_body(self.settings, *prompt)}

    def price(self, input_tokens: int, output_tokens: int) -> float:
        """Dollars for tokens."""
        of_input, of_output = self.settings.dollars_per_million
        return (input_tokens * of_input + output_tokens * of_output) / 1e6

    def _worst_case(self, request: Mapping[str, Any]) -> float:
        """The most one attempt can cost, in dollars: a token is at least a byte, an answer at most ``max_tokens``."""
        return self.price(
            len(json.dumps(request, ensure_ascii=False).encode()) + ADDED_TOKENS, self.settings.max_tokens
        )

    def _affordable(self) -> int:
        """How many attempts fit into both limits, each at its worst. Raises StoppedError for none."""
        most = self.settings
        calls, dollars = most.max_calls - self.calls, most.max_dollars - self.dollars
        if calls < 1:
            detail = f"{self.calls} calls made of the {most.max_calls} of llm_judge.max_calls"
            raise StoppedError("calls", "the budget in calls is used up", detail)
        if self._worst > dollars:
            spent = f"${self.dollars:.4f} spent of the ${most.max_dollars:g} of llm_judge.max_dollars"
            detail = f"{spent}, and the next call may cost ${self._worst:.4f}"
            raise StoppedError("dollars", "the budget in dollars is used up", detail)
        return min(calls, max(1, int(dollars / self._worst)) if self._worst else calls)

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

    def _call(self, request: Mapping[str, Any]) -> Answer:
        self._worst = self._worst_case(request)
        attempts = min(1 + MAX_RETRIES, self._affordable())
        sdk, client = self._opened[0], self._opened[1].with_options(max_retries=attempts - 1)
        resource = client.messages if request["backend"] == "anthropic" else client.chat.completions
        try:
            text = self._clean(resource.with_raw_response.create(**request["body"]).http_response.text)
        except sdk.APIStatusError as error:
            if getattr(error, "code", None) == "content_filter":
                return Answer("refused", None, "the endpoint's content filter", self.settings.model, None)
            raise self._failed(f"HTTP {error.status_code} {error.type or ''}".strip(), error.message) from None
        except sdk.APIConnectionError as error:  # a timeout is one, too
            raise self._failed(error.message.strip("."), str(error.__cause__)) from None
        try:
            answer = read_answer(request["backend"], text)
        except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
            raise self._failed("a response that is not the protocol's", f"it starts with {text[:40]!r}") from None
        if answer.tokens:
            self.dollars += self.price(*answer.tokens) - self._worst
        return answer._replace(reason=self._clean(answer.reason), model=self._clean(answer.model))

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
        options = {
            "api_key": self._key or "none",  # the client insists on one; servers without keys do not look at it
            "base_url": self.settings.url,
            "timeout": TIMEOUT,
            # A redirect could lead the key and the replies to somewhere that nobody chose.
            "http_client": sdk.DefaultHttpxClient(follow_redirects=False, event_hooks=hooks),
        }
        return sdk, sdk.OpenAI(**options) if name == "openai" else sdk.Anthropic(**options, open_telemetry=False)

    @cached_property
    def _key(self) -> str:
        """The key of the environment, "" when there is none and none is needed. Errors do not quote it."""
        settings, name = self.settings, f"{self.settings.backend.upper()}_API_KEY"
        key = os.environ.get(name, "").strip()
        found, where, remedy = "", f"environment:{name}", "Set it again, from where it was copied."
        if not key and (settings.backend == "anthropic" or not settings.base_url):
            found, remedy = "no key", f"Set {name} for this command; it is read from nowhere else and never written."
        elif not re.fullmatch("[!-~]*", key):
            found = "characters that no key has (spaces, line ends or letters outside ASCII)"
        elif key and settings.url.startswith("http:") and not settings.near:
            found, where = "http to another machine, with a key set", "llm_judge.base_url"
            remedy = f"Use https, or unset {name} if the server needs no key."
        if found:
            raise bad(where, found, f"a key that {settings.url} may be called with", remedy)
        return key

    def _failed(self, label: str, words: str) -> StoppedError:
        return StoppedError("endpoint", f"the endpoint failed: {self._clean(label)}", self._clean(words)[:500])

    def _clean(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text
