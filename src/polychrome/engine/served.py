"""The second engine: a vLLM server draws the completions, here or elsewhere.

A prompt goes there as token ids, with its settings, stop tokens and seed; token ids and their log-probabilities under
the distribution that was drawn from (temperature, top-k, top-p and min-p applied) come back. A policy's adapter is
loaded from a new path under a new name and unloaded after it has answered: vLLM keeps blocks of its prefix cache by
name and path, and they would survive another adapter in the same place.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
import torch

from polychrome.engine import compute
from polychrome.engine.packing import Group, pack
from polychrome.engine.sampling import SamplingSettings
from polychrome.engine.scoring import CompletionScorer
from polychrome.engine.vllm_server import NAME, Server
from polychrome.errors import InputError, bad
from polychrome.models.policy import POLICY, save_adapter
from polychrome.randomness import seed_for

if TYPE_CHECKING:
    from polychrome.engine.sampler import Completion, Request

AT_ONCE = 64  # requests under way; the server makes batches of them
ANSWER_S = 900  # until an answer
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # that --max-lora-rank takes
PROBED, GAP = 16, 0.5  # tokens that both models score, and nats per token beyond which they are not the same
ADAPTERS = Path(".running")  # beside the stage: a server elsewhere reads them from the same path
AGAIN = "Mend it, then `dvc repro`: training goes on from its last checkpoint."


class Served:
    """Draws by the server that params.yaml: compute names, or by one of its own, which it starts when first asked."""

    def __init__(self, settings: Any, dtype: torch.dtype):
        self.settings, self.dtype, self.url = settings, dtype, settings.sampler_url.rstrip("/")
        self.server: Server | None = None
        self.session = requests.Session()
        self.base = ""  # the server's name for the base model, once it is known
        # vLLM asks a seeded request's generator for its offset, which a CPU's has not: there the seed is the server's.
        # No server says what it runs on: for a trainer without a GPU one that has one draws unseeded, too.
        self.takes_seeds = torch.cuda.is_available()
        self.numbers = count(1)  # of adapters

    def sample(
        self, policy: Any, asked: Sequence["Request"], progress: Callable[[int], None]
    ) -> list[list["Completion"]]:
        """As :func:`polychrome.engine.sampler.sample`. Raises InputError where the server fails; nothing is kept."""
        new = not self.base
        if new:
            self._connect(policy, asked[0])
        with self._adapter(policy) as model:
            if new:
                self._check(policy, model, asked[0])
            with ThreadPoolExecutor(min(AT_ONCE, len(asked))) as pool:
                drawn = []
                for group in pool.map(lambda request: self._complete(model, request), asked):
                    drawn.append(group)
                    progress(len(group))
        return drawn

    # --- who answers ---------------------------------------------------------------------------------------------

    def _connect(self, policy: Any, first: "Request") -> None:
        """Find the server healthy, or start it, and learn what it calls the base model."""
        if not self.settings.sampler_url:
            self.server = Server(*self._serving(policy, first))
            self.session.trust_env = False  # no proxy stands between
            self.url = self.server.start()
        self._ask("GET", "/health")
        version = self._ask("GET", "/version")["version"]
        models = self._ask("GET", "/v1/models")["data"]
        names = [model["id"] for model in models if not model.get("parent")]
        if not names:
            raise bad(f"{self.url}/v1/models", "no base model", "the base model of params.yaml: assets", AGAIN)
        self.base, compute.CHOSEN["sampler"] = names[0], f"vLLM {version}"

    def _serving(self, policy: Any, first: "Request") -> tuple[str, list[str], dict[str, str]]:
        """The model that is served, the server's options, and what its environment has beside."""
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise bad(
                "params.yaml:compute.sampler_url", "no address, and several processes that train together",
                "the address of one server for all", "Start `vllm serve` and set it; docs/scale.md has the options.",
            )  # fmt: skip
        seed = seed_for(first.seed, "server", *first.key) % 2**32
        memory = self.settings.memory_mib << 20
        options = ["--served-model-name", NAME, "--dtype", str(self.dtype).removeprefix("torch."), "--seed", str(seed)]
        options += ["--kv-cache-memory-bytes", str(memory), "--max-model-len", "auto"]
        options += ["--generation-config", "vllm", "--logprobs-mode", "processed_logprobs"]
        # The first, on a GPU: what is asked for is less than what the trainer leaves. The second: nothing is compiled.
        options += ["--gpu-memory-utilization", "0.1"] if self.takes_seeds else ["--enforce-eager"]
        if adapters := getattr(policy, "peft_config", None):
            rank = next((rank for rank in RANKS if rank >= adapters[POLICY].r), adapters[POLICY].r)
            options += ["--enable-lora", "--max-lora-rank", str(rank)]
        beside = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
        beside |= {"OMP_NUM_THREADS": str(self.settings.threads), "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
        base = policy.get_base_model() if adapters else policy
        return str(Path(base.name_or_path).resolve()), options, beside

    def _check(self, policy: Any, model: str, request: "Request") -> None:
        """Raise InputError where the server's model is not the policy: by what both find of the tokens it draws."""
        probe = replace(request, count=1, settings=SamplingSettings(1.0, PROBED), stop_ids=())
        [drawn] = self._complete(model, probe)
        gap, device = float("nan"), next(policy.parameters()).device
        if max(drawn.tokens) < policy.get_input_embeddings().weight.shape[0]:
            with torch.no_grad():
                packed = pack([Group(request.prompt, [drawn.tokens])]).to(device)
                logps, _, _ = CompletionScorer(policy)(packed, with_entropy=False)
            gap = float((logps[0].cpu() - torch.tensor(drawn.logps)).abs().mean())
        if not gap < GAP:
            self.base = ""
            found = f"another model: tokens that it drew differ by {gap:.2g} nats each from what the policy finds"
            raise bad(self.url, found, f"the base model that is trained here, at most {GAP} nats per token off", AGAIN)

    # --- adapters ------------------------------------------------------------------------------------------------

    @contextmanager
    def _adapter(self, policy: Any) -> Iterator[str]:
        """Inside, the server answers as ``policy`` under the name that is yielded."""
        if not hasattr(policy, "peft_config"):
            yield self.base
            return
        ADAPTERS.mkdir(exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="adapter-", dir=ADAPTERS)).absolute()
        name = f"{folder.name}-{next(self.numbers)}"
        try:
            save_adapter(policy, folder, {})
            self._ask("POST", "/v1/load_lora_adapter", lora_name=name, lora_path=str(folder))
            yield name
            self._ask("POST", "/v1/unload_lora_adapter", lora_name=name)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    # --- one question --------------------------------------------------------------------------------------------

    def _complete(self, model: str, request: "Request") -> list["Completion"]:
        from polychrome.engine.sampler import Completion  # here: that module samples through this one

        settings = request.settings
        asked: dict[str, Any] = {
            "model": model, "prompt": list(request.prompt), "n": request.count, "max_tokens": settings.max_new_tokens,
            "temperature": settings.temperature, "top_p": settings.top_p, "top_k": settings.top_k,
            "min_p": settings.min_p, "repetition_penalty": 1.0, "stop_token_ids": list(request.stop_ids),
            "ignore_eos": True, "logprobs": 1, "return_token_ids": True,
        }  # fmt: skip
        if self.takes_seeds:
            asked["seed"] = seed_for(request.seed, "sample", *request.key)
        choices = self._ask("POST", "/v1/completions", **asked)["choices"]
        drawn = [
            Completion(choice["token_ids"], choice["logprobs"]["token_logprobs"], choice["finish_reason"] == "stop")
            for choice in sorted(choices, key=lambda choice: choice["index"])
        ]
        whole = [one for one in drawn if one.tokens and len(one.tokens) == len(one.logps)]
        if len(whole) != request.count:
            found = f"{len(whole)} whole completions of {len(drawn)}"
            raise bad(f"{self.url}/v1/completions", found, f"the {request.count} that were asked for", AGAIN)
        return drawn

    def _ask(self, method: str, path: str, **body: Any) -> Any:
        """The server's answer, as JSON where it is that. Raises InputError with what it says where it refuses."""
        where = f"{self.url}{path}"
        try:
            answer = self.session.request(method, where, json=body or None, timeout=(10, ANSWER_S))
        except requests.RequestException as error:
            raise self._ended() or bad(where, f"no answer ({type(error).__name__})", "a vLLM server", AGAIN) from error
        if not answer.ok:
            refused = bad(where, f"HTTP {answer.status_code}: {_said(answer)}", "200", remedy_of(path))
            raise (answer.status_code >= 500 and self._ended()) or refused
        return answer.json() if "json" in answer.headers.get("Content-Type", "") else answer.text

    def _ended(self) -> InputError | None:
        """What a server of our own says of its end; it takes a moment from the last answer to that."""
        return self.server and self.server.ended(within=5.0)


def remedy_of(path: str) -> str:
    """What to do about a request that was refused."""
    if path.endswith("lora_adapter"):
        needed = "--enable-lora --max-lora-rank (lora.rank of params.yaml) and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"
        return f"The server needs {needed}, and to see this folder under the same path. {AGAIN}"
    return AGAIN


def _said(answer: requests.Response) -> str:
    """What the server says of an error, by OpenAI's protocol or else its first words."""
    try:
        body = answer.json()
        return str(body.get("error", body).get("message", body))[:300]
    except (ValueError, AttributeError):
        return answer.text[:300]
