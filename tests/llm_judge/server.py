"""A judge's endpoint on 127.0.0.1 that speaks both protocols and follows a script: an act for each request in turn.

When the script is at its end, requests are answered by ``judge``, a function of the decoded question.
"""

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PATHS = {"/v1/messages": "anthropic", "/v1/chat/completions": "openai"}
ERRORS = {429: "rate_limit_error", 529: "overloaded_error"}  # as the vendors document them


@dataclass
class Request:
    protocol: str
    headers: dict
    body: dict
    raw: bytes

    @property
    def system(self):
        return self.body["system"] if self.protocol == "anthropic" else self.body["messages"][0]["content"]

    @property
    def user(self):
        return self.body["messages"][-1]["content"]

    @property
    def mark(self):
        return self.system.split("hold the mark ")[1].split(",")[0]

    @property
    def data(self):
        """The data line, as sent: what stands between the two lines that hold the mark."""
        lines = self.user.split("\n")
        first, last = (lines.index(f"=== {name} {self.mark} ===") for name in ("DATA", "END OF DATA"))
        assert last == first + 2, "the data take more than one line"
        return lines[first + 1]

    @property
    def question(self):
        return json.loads(self.data)


@dataclass
class Server:
    judge: object
    script: list = field(default_factory=list)
    requests: list = field(default_factory=list)
    port: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def base_url(self, backend):
        return f"http://127.0.0.1:{self.port}" + ("/v1" if backend == "openai" else "")


def verdict(better, reason="because"):
    """Answer with a verdict, in the form that was asked for."""
    return lambda handler, request: handler.say(envelope(request, {"reason": reason, "better": better}))


def envelope(request, value, *, model="judge-1-served"):
    """A successful response of the protocol around a decoded answer."""
    if request.protocol == "anthropic":
        content = [{"type": "tool_use", "id": "toolu_1", "name": "record_verdict", "input": value}]
        body = {"id": "msg_1", "type": "message", "role": "assistant", "content": content, "stop_reason": "tool_use"}
        return body | {"model": model, "stop_sequence": None, "usage": {"input_tokens": 700, "output_tokens": 40}}
    message = {"role": "assistant", "content": json.dumps(value), "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    body = {"id": "chatcmpl-1", "object": "chat.completion", "created": 0, "model": model, "choices": [choice]}
    return body | {"usage": {"prompt_tokens": 700, "completion_tokens": 40, "total_tokens": 740}}


def refuse(handler, request):
    """Answer with a refusal, as the protocol has it."""
    body = envelope(request, {})
    if request.protocol == "anthropic":
        body |= {"content": [{"type": "text", "text": "I cannot help with that."}], "stop_reason": "refusal"}
    else:
        body["choices"][0]["message"] = {"role": "assistant", "content": None, "refusal": "I cannot help with that."}
    handler.say(body)


def status(http, message="no", headers=None, **error):
    """Answer with an HTTP error and the protocol's error body."""
    body = {"type": "error", "error": {"type": ERRORS.get(http, "api_error"), "message": message} | error}
    return lambda handler, request: handler.say(body, code=http, headers=headers)


def raw(text, content_type="application/json", code=200, headers=None):
    """Answer with these bytes, whatever they are."""
    return lambda handler, request: handler.send(text.encode(), code, content_type, headers or {})


def cut(handler, request):
    """Promise a whole answer, send the first part of it, and close the connection."""
    body = json.dumps(envelope(request, {"reason": "because", "better": "A"})).encode()
    handler.send(body[: len(body) // 2], 200, "application/json", {}, length=len(body))
    handler.close_connection = True


def hang(handler, request):
    """Say nothing until the test is over."""
    handler.server.state.over.wait(20)
    handler.close_connection = True


def drop(handler, request):
    """Close the connection without a word."""
    handler.close_connection = True


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        state = self.server.state
        content = self.rfile.read(int(self.headers["Content-Length"]))
        request = Request(PATHS[self.path.split("?")[0]], dict(self.headers.items()), json.loads(content), content)
        state.requests.append(request)
        act = state.script.pop(0) if state.script else verdict(state.judge(request))
        act(self, request)

    def say(self, value, code=200, headers=None):
        self.send(json.dumps(value).encode(), code, "application/json", headers or {})

    def send(self, content, code, content_type, headers, length=None):
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def log_message(self, *arguments):
        pass


@contextmanager
def serving(judge):
    state = Server(judge)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.block_on_close, server.state = True, False, state
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
