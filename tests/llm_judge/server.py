"""A judge's endpoint behind the vendors' own clients, in place of the network; it speaks both protocols.

It follows a script, an act for each request in turn. When the script is at its end, requests are answered by ``judge``,
a function of the request.
"""

import json
from dataclasses import dataclass, field

import httpx2

PATHS = {"/v1/messages": "anthropic", "/v1/chat/completions": "openai"}
ERRORS = {429: "rate_limit_error", 529: "overloaded_error"}  # as the vendors document them


class Request:
    """What was sent, and the question in it."""

    def __init__(self, sent):
        self.raw, self.headers, self.timeout = sent.read(), sent.headers, sent.extensions["timeout"]
        self.protocol, self.body = PATHS[sent.url.path], json.loads(self.raw)
        anthropic = self.protocol == "anthropic"
        self.system = self.body["system"] if anthropic else self.body["messages"][0]["content"]
        self.user = self.body["messages"][-1]["content"]
        self.mark = self.system.split("hold the mark ")[1].split(",")[0]
        lines = self.user.split("\n")
        first, last = (lines.index(f"=== {name} {self.mark} ===") for name in ("DATA", "END OF DATA"))
        assert last == first + 2, "the data take more than one line"
        self.data = lines[first + 1]
        self.question = json.loads(self.data)


@dataclass
class Endpoint(httpx2.BaseTransport):
    judge: object
    script: list = field(default_factory=list)
    requests: list = field(default_factory=list)

    def handle_request(self, sent):
        request = Request(sent)
        self.requests.append(request)
        act = self.script.pop(0) if self.script else verdict(self.judge(request))
        return act(request)


# --- acts: functions of a request, which answer it or fail ------------------------------------------------------------


def say(change=lambda body: None, value=None, model="judge-1-served"):
    """A successful response of the protocol around a verdict or another ``value``, with ``change`` made to it."""

    def act(request):
        said = value or {"reason": "because", "better": "A"}
        if request.protocol == "anthropic":
            content = [{"type": "tool_use", "id": "toolu_1", "name": "record_verdict", "input": said}]
            body = {"type": "message", "content": content, "stop_reason": "tool_use"}
            body["usage"] = {"input_tokens": 700, "output_tokens": 40}
        else:
            choice = {"message": {"content": json.dumps(said), "refusal": None}, "finish_reason": "stop"}
            body = {"object": "chat.completion", "choices": [choice]}
            body["usage"] = {"prompt_tokens": 700, "completion_tokens": 40}
        body["model"] = model
        change(body)
        return httpx2.Response(200, json=body)

    return act


def verdict(better, reason="because"):
    return say(value={"reason": reason, "better": better})


@say
def refuse(body):
    if "content" in body:
        body |= {"content": [{"type": "text", "text": "I cannot help with that."}], "stop_reason": "refusal"}
    else:
        body["choices"][0]["message"] = {"content": None, "refusal": "I cannot help with that."}


def status(http, message="no", headers=None, **error):
    """Answer with an HTTP error and the protocol's error body."""
    body = {"type": "error", "error": {"type": ERRORS.get(http, "api_error"), "message": message} | error}
    return lambda request: httpx2.Response(http, json=body, headers=headers)


def raw(text, content_type="application/json", code=200, headers=None):
    """Answer with these bytes, whatever they are."""
    return lambda request: httpx2.Response(code, text=text, headers={"Content-Type": content_type, **(headers or {})})


def cut(request):
    """Promise a whole answer, send the first part of it, and close the connection."""

    class Half(httpx2.SyncByteStream):
        def __iter__(self):
            yield b'{"model": '
            raise httpx2.RemoteProtocolError("peer closed connection without sending complete message body")

    return httpx2.Response(200, headers={"Content-Type": "application/json"}, stream=Half())


def drop(request):
    raise httpx2.RemoteProtocolError("Server disconnected without sending a response.")


def hang(request):
    raise httpx2.ReadTimeout("timed out")
