"""What one GPU does with this code: ``scripts/gpu_check.sh``, which is ``python -m benchmarks.gpu``.

Four parts, each in a process of its own under a time limit, each written to the JSON file as it ends, so that a run
that is cut leaves what it had: ``machine`` (matmul rate, copy bandwidth), ``tests`` (those marked cuda), ``steps``
(GRPO steps and generation on randomly initialised models in the shapes of Qwen3) and ``profile`` (where the time of
decoding and of a training step goes). Without a GPU the same parts run on the CPU at toy size, which tests the script
and measures nothing. Needs torch, transformers, peft, accelerate, safetensors, numpy, pytest; uses TRL if it is there.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import torch

from benchmarks import harness, ours, peers, roofline
from benchmarks.workload import LORA, market_pairs
from polychrome.engine.compute import configure
from polychrome.engine.sampling import SamplingSettings
from polychrome.files import write_json
from polychrome.models.policy import add_adapter, open_adapter, save_adapter

GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if GPU else "cpu")
OUT = harness.RESULTS / ("gpu.json" if GPU else "gpu-toy.json")
LIMIT = 100  # seconds of a part: all four stay under 7 minutes
MEMORY_MIB = 24576 if GPU else 64
# hidden, MLP, layers, heads, key/value heads, size of a head, vocabulary: of Qwen3's config.json
SHAPES = {
    "qwen3-0.6b": (1024, 3072, 28, 16, 8, 128, 151936),
    "qwen3-4b": (2560, 9728, 36, 32, 8, 128, 151936),
}
TOY = {"toy": (32, 64, 2, 4, 2, 8, 512)}
POSTS, GROUP, TOKENS, PROMPT = (8, 8, 128, 64) if GPU else (2, 2, 8, 8)
ANSWERED, EACH = (64, (1, 16)) if GPU else (2, (1, 2))  # posts and replies per post that `generate` is timed on
TOP = 25  # operators of a profile


# --- the parts --------------------------------------------------------------------------------------------------------


def machine() -> dict[str, Any]:
    """Which device, and what it does at best: products in bfloat16 and copies (bytes read plus bytes written)."""
    size = 8192 if GPU else 256
    a, b = (torch.randn(size, size, device=DEVICE, dtype=torch.bfloat16) for _ in range(2))
    seconds = _median(lambda: a @ b, 20)
    source = torch.ones(2**30 if GPU else 2**20, device=DEVICE, dtype=torch.uint8)
    copy = _median(source.clone, 20)
    return harness.machine(torch.get_num_threads()) | {
        "device": torch.cuda.get_device_name() if GPU else "cpu",
        "device_memory_gib": torch.cuda.get_device_properties(0).total_memory / 2**30 if GPU else None,
        "cuda": torch.version.cuda,
        "bf16_matmul_flops": 2 * size**3 / seconds,
        "copy_bytes_per_second": 2 * source.numel() / copy,
    }


def tests() -> dict[str, Any]:
    """The tests marked cuda; without a GPU they are skipped."""
    command = [sys.executable, "-m", "pytest", "-o", "addopts=", "-q", "-m", "cuda", "tests/cuda"]
    done = subprocess.run(command, capture_output=True, text=True)
    tail = (done.stdout + done.stderr)[-3000:]
    return {"passed": done.returncode == 0, "output": tail}


def steps(rates: roofline.Rates | None) -> dict[str, Any]:
    """Per shape: a GRPO step and `generate`, beside the least time at the measured rates, transformers and TRL."""
    found: dict[str, Any] = {}
    for name, shape in (SHAPES if GPU else TOY).items():
        model = made(shape)
        found[name] = {"generate": {str(n): _generate(model, n, rates) for n in EACH}}
        found[name]["grpo_step"] = _grpo(model, rates)
        found[name]["trl_grpo_step"] = _trl(shape) if find_spec("trl") else "TRL not there"
        del model
        print(json.dumps({name: found[name]}), flush=True)  # what a cut part leaves
    return found


def profile() -> dict[str, Any]:
    """Where the time of one decoding step and of one training step goes, on the smallest shape."""
    model = made(next(iter((SHAPES if GPU else TOY).values())))
    prompts = _prompts(model, POSTS * GROUP)
    short, long = (partial(_ours, model, prompts, 1, tokens) for tokens in (2, 10))
    run = _run(_policy(model))
    run()
    short()
    return {"eight decoding steps, with the prefill": _profiled(long), "a GRPO step": _profiled(run)}


# --- what they measure ------------------------------------------------------------------------------------------------


def made(shape: Sequence[int]) -> Any:
    """A Qwen3 of this shape with random weights in bfloat16, where the GPU is."""
    from transformers import AutoModelForCausalLM, Qwen3Config

    hidden, mlp, layers, heads, kv, size, vocabulary = shape
    config = Qwen3Config(
        hidden_size=hidden, intermediate_size=mlp, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=kv, head_dim=size, vocab_size=vocabulary, tie_word_embeddings=True,
        max_position_embeddings=1024, use_cache=False,
    )  # fmt: skip
    torch.manual_seed(0)
    with DEVICE:
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa")
    return model.requires_grad_(False).eval()


def _generate(model: Any, each: int, rates: roofline.Rates | None) -> dict[str, Any]:
    """Seconds, tokens per second and share of the weight-read bound, ours and transformers' with a static cache."""
    prompts = _prompts(model, ANSWERED)
    work = {
        "ours": partial(_ours, model, prompts, each, TOKENS),
        "transformers": partial(_transformers, model, prompts, each),
    }
    found: dict[str, Any] = {}
    for side, one in work.items():
        torch.cuda.reset_peak_memory_stats() if GPU else None
        seconds = _median(one, 2, warmup=1)
        found[side] = {"seconds": seconds, "tokens_per_second": ANSWERED * each * TOKENS / seconds, **_peak()}
        if rates:
            shape = roofline.Shape.of(model.config, LORA.rank)
            read = TOKENS * rates.weight * (shape.body + shape.head) / rates.bandwidth
            found[side]["share_of_weight_read_bound"] = read / seconds
    return found


def _grpo(model: Any, rates: roofline.Rates | None) -> dict[str, Any]:
    policy = _policy(model)
    run = _run(policy)
    torch.cuda.reset_peak_memory_stats() if GPU else None
    seconds = _median(run, 3, warmup=1)
    found = {"seconds": seconds, "tokens_per_second": POSTS * GROUP * TOKENS / seconds, **_peak()}
    if rates:
        least = roofline.grpo_step(roofline.Shape.of(model.config, LORA.rank), rates, [PROMPT] * POSTS, GROUP, TOKENS)
        found |= {"least_seconds": vars(least), "times_the_least": seconds / least.total}
    policy.unload()
    return found


def _trl(shape: Sequence[int]) -> dict[str, Any]:
    """One step of TRL's trainer on a model of the same shape."""
    with TemporaryDirectory() as folder:
        base, posts = _tiny(Path(folder)), [pair.post for pair in market_pairs(4 * POSTS)]
        trainer = peers.grpo_trainer(made(shape), base, posts, POSTS, GROUP, TOKENS, checkpointing=False)
        step = peers.Stepped(trainer, torch.get_num_threads())
        torch.cuda.reset_peak_memory_stats() if GPU else None
        found = {"seconds": _median(step, 2, warmup=1), **_peak()}
        step.close()
    return found


def _policy(model: Any) -> Any:
    """A policy with its frozen start beside it, as the GRPO stage opens it."""
    with TemporaryDirectory() as folder:
        policy = add_adapter(model, LORA, seed=1)
        save_adapter(policy, Path(folder), {})
        return open_adapter(policy.unload(), folder, trainable=True, with_reference=True)


def _run(policy: Any) -> ours.Steps:
    with TemporaryDirectory() as folder:
        chat = ours.LongChat(ours.open_chat(_tiny(Path(folder))), PROMPT)
    return ours.grpo_steps(policy, chat, market_pairs(64), POSTS, GROUP, TOKENS, MEMORY_MIB)


def _tiny(folder: Path) -> Path:
    from tests.tiny import make_tiny_base  # a tokenizer over bytes, and a chat template

    return make_tiny_base(folder)


def _prompts(model: Any, count: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(2, model.config.vocab_size, (count, PROMPT), generator=generator).tolist()


def _ours(model: Any, prompts: Sequence[Sequence[int]], each: int, tokens: int) -> None:
    ours.generate(model, prompts, each, _settings(tokens), pad_id=0, memory_mib=MEMORY_MIB)


@torch.inference_mode()
def _transformers(model: Any, prompts: Sequence[Sequence[int]], each: int) -> None:
    ids, s = torch.tensor(prompts, device=DEVICE), _settings(TOKENS)
    model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=s.max_new_tokens, min_new_tokens=s.max_new_tokens,
        do_sample=True, temperature=s.temperature, top_p=s.top_p, top_k=0, num_return_sequences=each, use_cache=True,
        cache_implementation="static", disable_compile=True, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip


def _settings(tokens: int) -> SamplingSettings:
    return SamplingSettings(temperature=0.9, max_new_tokens=tokens, top_p=0.9)


def _median(work: Callable[[], Any], times: int, warmup: int = 3) -> float:
    """Median seconds of ``work``, the device waited for before and after."""
    seconds = []
    for number in range(warmup + times):
        torch.cuda.synchronize() if GPU else None
        start = time.perf_counter()
        work()
        torch.cuda.synchronize() if GPU else None
        if number >= warmup:
            seconds.append(time.perf_counter() - start)
    return harness.Spread.of(seconds).median


def _peak() -> dict[str, float]:
    return {"peak_memory_gib": torch.cuda.max_memory_allocated() / 2**30} if GPU else {}


def _profiled(work: Callable[[], Any]) -> dict[str, Any]:
    """Time on the device, between launches, launches, and the operators that take longest."""
    activities = [torch.profiler.ProfilerActivity.CPU, *([torch.profiler.ProfilerActivity.CUDA] if GPU else [])]
    start = time.perf_counter()
    with torch.profiler.profile(activities=activities) as prof:
        work()
        torch.cuda.synchronize() if GPU else None
    seconds, averages = time.perf_counter() - start, prof.key_averages()
    on_device = sum(event.self_device_time_total for event in averages) / 1e6
    return {
        "seconds": seconds,
        "device_seconds": on_device if GPU else None,
        "idle_seconds": seconds - on_device if GPU else None,  # launch gaps and what the host does between
        "launches": sum(event.count for event in averages if "LaunchKernel" in event.key),
        "top": averages.table(sort_by="self_device_time_total" if GPU else "self_cpu_time_total", row_limit=TOP),
    }


# --- one command ------------------------------------------------------------------------------------------------------


def main(argv: Sequence[str] = sys.argv[1:]) -> int:
    """Run the parts one after another; returns how many did not end well."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--parts", default="machine,tests,steps,profile", help="which, with commas between")
    parser.add_argument("--out", type=Path, default=OUT, help="the JSON file; parts that it holds already are kept")
    parser.add_argument("--limit", type=float, default=LIMIT, help=f"seconds of a part (default {LIMIT})")
    parser.add_argument("--only", help=argparse.SUPPRESS)  # the part that this process is for
    args = parser.parse_args(argv)
    found: dict[str, Any] = json.loads(args.out.read_text()) if args.out.is_file() else {}
    if args.only:
        configure(SimpleNamespace(threads=torch.get_num_threads(), dtype="bfloat16", kernels="torch", sampler="local"))
        print(json.dumps(_part(args.only, found.get("machine", {}))))
        return 0
    failed = 0
    for name in args.parts.split(","):
        start = time.perf_counter()
        found[name] = _apart(name, args.out, args.limit)
        found[name]["wall_seconds"] = time.perf_counter() - start
        failed += "error" in found[name] or found[name].get("passed") is False
        write_json(args.out, harness.rounded(found))
        print(f"--- {name}\n{json.dumps(harness.rounded(found[name]), indent=1)}", flush=True)
    return failed


def _part(name: str, machine_: dict[str, Any]) -> dict[str, Any]:
    rates = None
    if GPU and "bf16_matmul_flops" in machine_:
        rates = roofline.Rates(machine_["bf16_matmul_flops"], machine_["copy_bytes_per_second"], weight=2)
    parts = {"machine": machine, "tests": tests, "steps": partial(steps, rates), "profile": profile}
    return parts[name]()


def _apart(name: str, out: Path, limit: float) -> dict[str, Any]:
    """One part in a process of its own; what it found, or why it found nothing and what it had printed."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--only", name, "--out", str(out)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired as error:
        printed = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
        return {"error": f"cut after {limit:g} s", "printed": printed}
    if done.returncode:
        return {"error": done.stderr[-3000:], "printed": done.stdout}
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    sys.exit(main())
