"""Starting and ending `vllm serve`: with programs in its place that behave as it may."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from polychrome.engine import vllm_server
from polychrome.engine.vllm_server import Server
from polychrome.errors import InputError

# Answers /health, and has started a process of its own, as vLLM's engine is one.
SERVES = f"""#!{sys.executable}
import http.server, json, os, subprocess, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_): pass
port = int(sys.argv[sys.argv.index("--port") + 1])
server = http.server.HTTPServer(("127.0.0.1", port), Handler)
engine = subprocess.Popen(["sleep", "1000"])
told = {{"argv": sys.argv[1:], "env": dict(os.environ), "pids": [os.getpid(), engine.pid]}}
open("told.json", "w").write(json.dumps(told))
server.serve_forever()
"""
HANGS = "#!/bin/sh\nsleep 1000\n"
FAILS = "#!/bin/sh\necho loading\necho 'ValueError: No model architectures are specified'\necho bye\nexit 3\n"


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Put a program in vLLM's place."""
    monkeypatch.chdir(tmp_path)

    def install(text: str) -> None:
        file = Path(vllm_server.PROGRAM)
        file.parent.mkdir(parents=True)
        file.write_text(text)
        file.chmod(0o755)

    return install


def told() -> dict:
    return json.loads(Path("told.json").read_text())


def running(pid: int) -> bool:
    """Whether a process is there and not only waiting to be reaped by its parent."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.is_file() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def assert_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 60
    while any(map(running, pids)):
        assert time.monotonic() < deadline, pids
        time.sleep(0.05)


def test_it_serves_on_loopback_and_is_gone_when_it_is_stopped_with_all_that_it_started(program, monkeypatch):
    program(SERVES)
    monkeypatch.setenv("PYTHONPATH", "/of/another/environment")
    server = Server("some/base", ["--seed", "7"], {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"})
    url = server.start()
    assert requests.get(f"{url}/health", timeout=5).ok
    argv, environment = told()["argv"], told()["env"]
    assert argv[:4] == ["-m", vllm_server.MODULE, "--model", "some/base"]
    assert argv[4:] == ["--host", "127.0.0.1", "--port", url.rpartition(":")[2], "--seed", "7"]
    assert environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "1"
    assert "PYTHONPATH" not in environment
    assert all(map(running, told()["pids"]))
    assert server.ended() is None
    server.stop()
    assert_gone(told()["pids"])
    assert list(Path(".running").iterdir()) == []  # a log is kept for what went wrong
    server.stop()  # twice is once


@pytest.mark.parametrize("end", ["returns", "raises", signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_the_stage_however_that_ends(program, end):
    program(SERVES)
    last = {"returns": "pass", "raises": "raise RuntimeError"}.get(end, "import time; time.sleep(1000)")
    code = f"from polychrome.engine.vllm_server import Server; Server('base', [], {{}}).start(); print('up'); {last}"
    stage = subprocess.Popen(
        [sys.executable, "-uc", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ
    )
    assert stage.stdout.readline() == "up\n"
    pids = told()["pids"]
    if isinstance(end, signal.Signals):
        assert all(map(running, pids))
        stage.send_signal(end)
    stage.wait()
    assert_gone(pids)


def test_without_vllm_it_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    with pytest.raises(InputError, match=r"no \.venv-vllm/bin/python.*Run `make vllm`, or set compute.sampler_url"):
        Server("base", [], {}).start()


def test_one_that_ends_before_it_is_healthy_is_reported_with_its_last_error_and_its_log(program):
    program(FAILS)
    with pytest.raises(
        InputError, match=r"exit status 3\): ValueError: No model architectures are specified;"
    ) as caught:
        Server("base", [], {}).start()
    log = Path(str(caught.value).split(":")[0])
    assert log.read_text().startswith("loading\n")


def test_one_that_never_becomes_healthy_is_ended_and_reported(program, monkeypatch):
    program(HANGS)
    monkeypatch.setattr(vllm_server, "PATIENCE_S", 0.5)
    server = Server("base", [], {})
    with pytest.raises(InputError, match=r"not healthy after 0.5 s.*See what its log waits for"):
        server.start()
    assert server.process is None


def test_a_port_that_was_taken_meanwhile_is_reported(program, monkeypatch):
    program(SERVES)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr(vllm_server, "_free_port", lambda: taken.getsockname()[1])
        monkeypatch.setattr(vllm_server, "_direct", lambda: Unanswered())
        with pytest.raises(InputError, match="Address already in use"):
            Server("base", [], {}).start()


class Unanswered:
    """Whoever has the port does not speak HTTP."""

    def get(self, *_, **__):
        raise requests.ConnectionError


def test_one_that_dies_later_is_told_by_its_last_words(program):
    program(SERVES)
    server = Server("base", [], {})
    server.start()
    with server.log.open("a") as log:
        log.write("torch.OutOfMemoryError: CUDA out of memory\n")
    os.kill(told()["pids"][0], signal.SIGKILL)
    server.process.wait()
    assert "ended by itself (exit status -9): torch.OutOfMemoryError: CUDA out of memory" in str(server.ended())
    server.stop()
    assert_gone(told()["pids"])
