"""The two protocols that the judge is asked over, each through its vendor's own client, behind one interface.

A backend makes exactly one HTTP call and says what came of it; retries, limits and the cache are the caller's. The key
comes from the environment, goes into the client and nowhere else: messages of errors are stripped of it.
"""

from __future__ import annotations

import importlib
import ipaddress
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Protocol
from urllib.parse import urlsplit

from polychrome.errors import bad
from polychrome.llm_judge.cache import Answer, Usage
from polychrome.llm_judge.question import (
    SCHEMA,
    TOOL,
    Prompt,
    UnreadableError,
    Verdict,
    read_verdict,
    read_verdict_text,
    strict_json,
)
from polychrome.llm_judge.settings import Settings

KEYS = {"anthropic": "ANTHROPIC_API_KEY", "openai": "OPENAI_API_KEY"}
VENDORS = {"anthropic": "https://api.anthropic.com", "openai": "https://api.openai.com/v1"}
RETRIED = (408, 409, 429)  # and every status from 500 on
TELLS = "Record which of the two sets of replies serves the person better, by the rubric."


class CallFailedError(Exception):
    """A call that brought no answer. Its text may hold the endpoint's words, never the key."""

    def __init__(self, label: str, text: str, *, retry: bool, billed: bool, retry_after: float | None = None):
        self.label = label  # in a few words that are the same on every machine: "HTTP 529 overloaded_error"
        self.retry = retry
        self.billed = billed  # whether the endpoint may have charged for it
        self.retry_after = retry_after  # seconds, as the endpoint asked
        super().__init__(f"{label}: {text}" if text else label)


class Backend(Protocol):
    """Asks one question over one protocol."""

    def body(self, prompt: Prompt) -> dict[str, Any]:
        """What is sent, as JSON; the same prompt gives the same body."""

    def call(self, body: Mapping[str, Any]) -> Answer:
        """Send ``body`` once. Raises CallFailedError, or InputError when the key is missing."""


def make_backend(settings: Settings) -> Backend:
    """The backend that the settings name. It opens no connection and needs no key before its first call."""
    return AnthropicBackend(settings) if settings.backend == "anthropic" else OpenAIBackend(settings)


# --- Anthropic's Messages API -----------------------------------------------------------------------------------------


@dataclass(slots=True)
class AnthropicBackend:
    """Messages API through the ``anthropic`` client; the verdict is a forced tool call or output held to a schema."""

    settings: Settings
    _client: Any = field(default=None, init=False)
    _key: str = field(default="", init=False, repr=False)

    def body(self, prompt: Prompt) -> dict[str, Any]:
        """The request as the Messages API takes it."""
        settings = self.settings
        body: dict[str, Any] = {
            "model": settings.model,
            "max_tokens": settings.max_tokens,
            "system": prompt.system,
            "messages": [{"role": "user", "content": prompt.user}],
        }
        if settings.answer_form == "tool":
            body["tools"] = [{"name": TOOL, "description": TELLS, "input_schema": SCHEMA}]
            body["tool_choice"] = {"type": "tool", "name": TOOL, "disable_parallel_tool_use": True}
        else:
            body["output_config"] = {"format": {"type": "json_schema", "schema": SCHEMA}}
        if settings.temperature is not None:
            body["temperature"] = settings.temperature
        return body

    def call(self, body: Mapping[str, Any]) -> Answer:
        """Send ``body`` once. Raises CallFailedError, or InputError when the key is missing."""
        if self._client is None:
            self._open()
        # temperature is no argument of the client, since its vendor's later models refuse one; others still take it
        known = {name: value for name, value in body.items() if name != "temperature"}
        extra = {name: value for name, value in body.items() if name == "temperature"}
        text = _send(lambda: self._client.messages.with_raw_response.create(**known, extra_body=extra), self._key)
        message = _decoded(text, "message", "content", "stop_reason")
        usage = _usage(message.get("usage"), ANTHROPIC_INPUT, "output_tokens")
        return _answered(message, usage, self._read, self._key)

    def _open(self) -> None:
        anthropic = _client_package("anthropic")
        base_url = _address(self.settings)
        self._key = _key("anthropic", base_url, required=True)
        self._client = anthropic.Anthropic(
            api_key=self._key,
            base_url=base_url,
            timeout=self.settings.timeout_s,
            max_retries=0,
            open_telemetry=False,
            # A redirect could lead the key and the replies to somewhere that nobody chose.
            http_client=anthropic.DefaultHttpxClient(follow_redirects=False),
        )

    def _read(self, message: Mapping[str, Any]) -> Verdict | None:
        stop, blocks = message["stop_reason"], message["content"]
        if stop == "refusal":
            return None
        if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
            raise UnreadableError("content that is no list of blocks")
        if self.settings.answer_form == "tool":
            _stopped_as({"tool_use"}, stop)
            calls = [block for block in blocks if block.get("type") == "tool_use"]
            if [call.get("name") for call in calls] != [TOOL]:
                raise UnreadableError(f"{len(calls)} tool calls, not one of {TOOL}")
            return read_verdict(calls[0].get("input"))
        _stopped_as({"end_turn"}, stop)
        texts = [str(block.get("text")) for block in blocks if block.get("type") == "text"]
        return read_verdict_text("".join(texts))


ANTHROPIC_INPUT = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


# --- OpenAI's chat completions ----------------------------------------------------------------------------------------


@dataclass(slots=True)
class OpenAIBackend:
    """Chat completions through the ``openai`` client: OpenAI's own, or a server of vLLM, llama.cpp and others."""

    settings: Settings
    _client: Any = field(default=None, init=False)
    _key: str = field(default="", init=False, repr=False)

    def body(self, prompt: Prompt) -> dict[str, Any]:
        """The request as chat completions takes it."""
        settings = self.settings
        # OpenAI's own endpoint has renamed the limit, servers of the protocol know the old name
        limit = "max_tokens" if settings.base_url else "max_completion_tokens"
        body: dict[str, Any] = {
            "model": settings.model,
            limit: settings.max_tokens,
            "messages": [{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}],
        }
        if settings.answer_form == "tool":
            function = {"name": TOOL, "description": TELLS, "parameters": SCHEMA, "strict": True}
            body["tools"] = [{"type": "function", "function": function}]
            body["tool_choice"] = {"type": "function", "function": {"name": TOOL}}
        elif settings.answer_form == "json_schema":
            schema = {"name": TOOL, "schema": SCHEMA, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        else:
            body["messages"][1]["content"] += " Write it as one JSON object and nothing else."
            body["response_format"] = {"type": "json_object"}
        if settings.temperature is not None:
            body["temperature"] = settings.temperature
        return body

    def call(self, body: Mapping[str, Any]) -> Answer:
        """Send ``body`` once. Raises CallFailedError, or InputError when the key is missing."""
        if self._client is None:
            self._open()
        try:
            text = _send(lambda: self._client.chat.completions.with_raw_response.create(**body), self._key)
        except _ContentFilteredError:
            return Answer("refused", None, "the endpoint's content filter", self.settings.model, Usage(1, 0, 0, 0))
        completion = _decoded(text, "chat.completion", "choices")
        usage = _usage(completion.get("usage"), ("prompt_tokens",), "completion_tokens")
        return _answered(completion, usage, self._read, self._key)

    def _open(self) -> None:
        openai = _client_package("openai")
        base_url = _address(self.settings)
        self._key = _key("openai", base_url, required=not self.settings.base_url)
        self._client = openai.OpenAI(
            api_key=self._key or "none",  # the client insists on one; servers without keys do not look at it
            base_url=base_url,
            timeout=self.settings.timeout_s,
            max_retries=0,
            http_client=openai.DefaultHttpxClient(follow_redirects=False),
        )

    def _read(self, completion: Mapping[str, Any]) -> Verdict | None:
        choices = completion["choices"]
        if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
            raise UnreadableError("other than one choice")
        stop, message = choices[0].get("finish_reason"), choices[0].get("message")
        if not isinstance(message, dict):
            raise UnreadableError("a choice without a message")
        if stop == "content_filter" or message.get("refusal"):
            return None
        if self.settings.answer_form != "tool":
            _stopped_as({"stop"}, stop)
            return read_verdict_text(str(message.get("content")))
        _stopped_as({"stop", "tool_calls"}, stop)  # a named tool_choice ends with "stop" by the protocol
        calls = message.get("tool_calls") or []
        functions = [call.get("function") or {} for call in calls if isinstance(call, dict)]
        if [function.get("name") for function in functions] != [TOOL]:
            raise UnreadableError(f"{len(functions)} tool calls, not one of {TOOL}")
        return read_verdict_text(str(functions[0].get("arguments")))


# --- what both share --------------------------------------------------------------------------------------------------


class _ContentFilteredError(Exception):
    """The endpoint refused the text of a request, not the request."""


def _client_package(name: str) -> Any:
    """The vendor's package, imported late: a run that is answered from the cache needs none. Raises InputError."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        remedy = f"Run `make judge`, which installs it, or `pip install -c constraints.txt {name}`."
        raise bad("environment", f"no package {error.name}", f"the client {name}", remedy) from error


def _send(call: Callable[[], Any], key: str) -> str:
    """The body of a successful response. Raises CallFailedError without the key in it."""
    import httpx2

    try:
        return str(call().http_response.text)
    except Exception as error:
        # By shape, not by class: the two clients are built alike and share no classes.
        response = getattr(error, "response", None)
        if isinstance(response, httpx2.Response):
            raise _of_status(response, key) from None
        if type(error).__name__ == "APITimeoutError":
            raise CallFailedError("timeout", "no answer in time", retry=True, billed=True) from None
        if type(error).__name__ == "APIConnectionError":
            unsent = isinstance(error.__cause__, httpx2.ConnectError | httpx2.ConnectTimeout)
            label = "no connection" if unsent else "connection broken"
            told = _without(key, str(error.__cause__ or error))
            raise CallFailedError(label, told, retry=True, billed=not unsent) from None
        raise


def _of_status(response: Any, key: str) -> CallFailedError:
    try:
        error = strict_json(response.text)
        error = error["error"] if isinstance(error, dict) and isinstance(error.get("error"), dict) else {}
    except (ValueError, RecursionError):
        error = {}
    kind, code = (str(error.get(name) or "") for name in ("type", "code"))
    status = response.status_code
    if status == 400 and code == "content_filter":
        raise _ContentFilteredError
    retry = (status in RETRIED or status >= 500) and code != "insufficient_quota"
    if response.headers.get("x-should-retry") in ("true", "false"):
        retry = response.headers["x-should-retry"] == "true"
    label = _without(key, f"HTTP {status} {kind}".strip())
    told = _without(key, str(error.get("message") or ""))[:500]
    return CallFailedError(label, told, retry=retry, billed=False, retry_after=_retry_after(response.headers))


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the endpoint asks to wait (RFC 9110, 10.2.3), None when it says nothing that can be understood."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * unit
        except (KeyError, ValueError):
            continue
        return seconds if 0 <= seconds < 1e9 else None
    try:  # a date, against the endpoint's own clock
        until, at = (parsedate_to_datetime(headers[name]) for name in ("retry-after", "date"))
        return max((until - at).total_seconds(), 0.0)
    except (KeyError, ValueError, TypeError):
        return None


def _decoded(text: str, kind: str, *fields: str) -> dict[str, Any]:
    """A response of the protocol; its contents may still be no verdict. Raises CallFailedError: not the protocol."""
    try:
        value = strict_json(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or any(name not in value for name in fields):
        label = "a response that is not the protocol's"
        raise CallFailedError(label, f"no JSON {kind} with {', '.join(fields)}", retry=True, billed=True)
    return value


def _answered(
    response: Mapping[str, Any], usage: Usage, read: Callable[[Mapping[str, Any]], Verdict | None], key: str
) -> Answer:
    model = _without(key, str(response.get("model") or ""))
    if model.startswith("/") or "\\" in model:  # llama.cpp may tell the file; where it lies is its machine's matter
        model = model.replace("\\", "/").rsplit("/", 1)[-1]
    try:
        verdict = read(response)
    except UnreadableError as error:
        return Answer("unreadable", None, _without(key, str(error)), model, usage)
    if verdict is None:
        return Answer("refused", None, "the judge refused", model, usage)
    return Answer("verdict", verdict.better, _without(key, verdict.reason), model, usage)


def _stopped_as(expected: set[str], found: object) -> None:
    if found not in expected:
        raise UnreadableError(f"an answer that stopped for {json.dumps(found)[:40]}")


def _usage(told: Any, inputs: tuple[str, ...], output: str) -> Usage:
    counts = told if isinstance(told, dict) else {}
    needed = [counts.get(name) for name in (inputs[0], output)]
    numbers = [number for number in needed if type(number) is int and number >= 0]
    if len(numbers) != len(needed):
        return Usage(1, 0, 0, 1)
    more = sum(number for name in inputs[1:] if type(number := counts.get(name)) is int and number > 0)
    return Usage(1, numbers[0] + more, numbers[1], 0)


def _key(backend: str, base_url: str, *, required: bool) -> str:
    """The key from the environment, "" when there is none and none is needed. Raises InputError without quoting it."""
    name = KEYS[backend]
    key = os.environ.get(name, "").strip()
    if not key and required:
        remedy = f"Set {name} in the environment of the command; it is read from nowhere else and never written."
        raise bad(f"environment:{name}", "no key", f"the key that {base_url} is called with", remedy)
    if not all(33 <= ord(character) <= 126 for character in key):
        found = "characters that no key has (spaces, line ends or letters outside ASCII)"
        raise bad(f"environment:{name}", found, "a key", "Set it again, from where it was copied.")
    if key and base_url.startswith("http://") and not _is_loopback(urlsplit(base_url).hostname or ""):
        remedy = f"Use https, or unset {name} if the server needs no key."
        raise bad("llm_judge.base_url", "http to another machine, with a key set", "https", remedy)
    return key


def _address(settings: Settings) -> str:
    """The endpoint's base URL. Raises InputError for one that is none, or that holds a secret or a query."""
    url = settings.base_url or VENDORS[settings.backend]
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        sound = False
    if not sound:
        raise bad("llm_judge.base_url", repr(url), "http(s)://host[:port]/path", "Write the whole address.")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        found = "an address with a user, password, query or fragment (not shown)"
        remedy = f"Put the key into {KEYS[settings.backend]}."
        raise bad("llm_judge.base_url", found, "an address and nothing else", remedy)
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _without(key: str, text: str) -> str:
    return text.replace(key, "[key]") if key else text
