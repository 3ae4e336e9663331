"""As much of vLLM's protocol as is used here, over a tiny random model, for tests that need no vLLM.

What it has once loaded under a name or from a path it goes on answering with, as vLLM's prefix cache does.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import torch
from peft import PeftModel

from polychrome.models.policy import open_base


class StandIn:
    """A server in a thread of this process; ``asked`` is what it was asked, in order."""

    def __init__(self, base: Path):
        self.base, self.rank, self.runtime = base, 16, True
        self.models = {"base": open_base(base, torch.float32)}
        self.seen: dict[str, object] = {}  # by name and by path: what it was first
        self.asked: list[tuple[str, dict]] = []
        self.act = lambda path, body: None  # what a test wants done in place of an answer, where it returns one
        self.shift = 0.0  # added to every log-probability in an answer
        self.lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"owner": self})
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()

    def bodies(self, path: str) -> list[dict]:
        return [body for asked, body in self.asked if asked == path]

    def answer(self, path: str, body: dict):
        """Status and answer."""
        if path == "/health":
            return 200, ""
        if path == "/version":
            return 200, {"version": "0.32.0"}
        if path == "/v1/models":
            cards = [{"id": name, "parent": None if name == "base" else "base"} for name in self.models]
            return 200, {"object": "list", "data": cards}
        if path == "/v1/completions":
            if body["model"] not in self.models:
                return refusal(404, f"The model `{body['model']}` does not exist.")
            choices = [self.choice(self.models[body["model"]], body, i) for i in range(body["n"])]
            return 200, {"object": "text_completion", "choices": choices}
        if not self.runtime or not path.endswith("lora_adapter"):
            return 404, {"detail": "Not Found"}
        return self.load(**body) if path == "/v1/load_lora_adapter" else self.unload(**body)

    def load(self, lora_name: str, lora_path: str):
        config = json.loads((Path(lora_path) / "adapter_config.json").read_text())
        if config["r"] > self.rank:
            return refusal(400, f"LoRA rank {config['r']} is greater than max_lora_rank {self.rank}.")
        opened = PeftModel.from_pretrained(open_base(self.base, torch.float32), lora_path).eval()
        kept = self.seen.get(lora_name) or self.seen.get(lora_path) or opened
        self.seen[lora_name] = self.seen[lora_path] = self.models[lora_name] = kept
        return 200, f"Success: LoRA adapter '{lora_name}' added successfully."

    def unload(self, lora_name: str):
        del self.models[lora_name]
        return 200, f"Success: LoRA adapter '{lora_name}' removed successfully."

    @torch.no_grad()
    def choice(self, model, body: dict, index: int) -> dict:
        generator = torch.Generator().manual_seed(body.get("seed", len(self.asked)) % 2**62 + index)
        ids, logps = list(body["prompt"]), []
        for _ in range(body["max_tokens"]):
            logp = processed(model(input_ids=torch.tensor([ids])).logits[0, -1], body)
            ids.append(int(torch.multinomial(logp.exp(), 1, generator=generator)))
            logps.append(float(logp[ids[-1]]) + self.shift)
            if ids[-1] in body["stop_token_ids"]:
                break
        ended = ids[-1] in body["stop_token_ids"]
        return {
            "index": index, "token_ids": ids[len(body["prompt"]) :], "logprobs": {"token_logprobs": logps},
            "finish_reason": "stop" if ended else "length", "text": "",
        }  # fmt: skip


def processed(logits: torch.Tensor, body: dict) -> torch.Tensor:
    """(V,) log-probabilities of what is drawn from: by the definitions, one restriction after another."""
    logp = (logits / body["temperature"]).log_softmax(-1)
    logp = logp.masked_fill(logp.exp() < body["min_p"] * logp.exp().max(), -torch.inf).log_softmax(-1)
    order = logp.argsort(descending=True, stable=True)
    if body["top_k"]:
        logp[order[body["top_k"] :]] = -torch.inf
        logp = logp.log_softmax(-1)
    before = logp.exp()[order].cumsum(-1) - logp.exp()[order]
    logp[order[before >= body["top_p"]]] = -torch.inf
    return logp.log_softmax(-1)


def refusal(status: int, message: str):
    return status, {"error": {"message": message, "type": "BadRequestError", "code": status}}


class _Handler(BaseHTTPRequestHandler):
    owner: StandIn
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.do_POST()

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
        with self.owner.lock:  # one model, as many threads as questions
            self.owner.asked.append((self.path, body))
            status, answer = self.owner.act(self.path, body) or self.owner.answer(self.path, body)
        if status is None:  # the server is gone, in the middle of its answer
            self.close_connection = True
            return
        content = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if isinstance(answer, str) else "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass
