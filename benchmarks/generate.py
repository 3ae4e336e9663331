"""Answering posts: our engine against ``generate`` of transformers, and vLLM. ``python -m benchmarks.generate``.

50 chit-chat posts x 10 samples x 40 tokens each, temperature 0.8, top-p 0.95, the bare base model. Every
completion has exactly 40 tokens on both sides. transformers is given the posts sorted by length, and as many at a time
as were fastest for it in a short trial. ``--vllm`` adds vLLM, in its own process, with as many threads.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from benchmarks import harness, ours, peers
from benchmarks.harness import Memory, Report, Target
from benchmarks.workload import CONVERSATIONS, SYSTEM, chat_pairs
from polychrome.engine.sampler import MEMORY_MIB
from polychrome.engine.sampling import SamplingSettings
from polychrome.engine.served import Served
from polychrome.models.policy import open_base

SIDES = ("ours", "transformers")
TRIAL_TOKENS = 8  # tokens per completion in the trial of batch sizes and in the warm-up


def main(argv: Sequence[str]) -> Path | None:
    """Run the benchmark; returns the path of its JSON."""
    args = _arguments(argv)
    if args.memory:
        _tell_memory(args)
        return None
    harness.prepare(args)
    chat, settings = ours.open_chat(args.model), _settings(args)
    prompts = _prompts(args)
    model, peer = open_base(args.model, harness.dtype_of(args)), peers.open_model(args.model, harness.dtype_of(args))
    rows = ours.rows_of(model, prompts, args.samples, settings)
    batch, trials = _best_batch(args, peer, prompts, sorted({5, 10, 20, max(1, rows // args.samples)}))
    short = replace(settings, max_new_tokens=min(TRIAL_TOKENS, args.tokens))
    ours.generate(model, prompts, args.samples, short, chat.pad_id)  # the peer had its warm-up in the trial
    sides = {
        "ours": partial(ours.generate, model, prompts, args.samples, settings, chat.pad_id),
        "transformers": partial(peers.generate, peer, prompts, args.samples, settings, chat.pad_id, batch),
    }
    if args.vllm is not None:
        asked = SimpleNamespace(sampler_url=args.vllm, memory_mib=MEMORY_MIB, threads=args.threads)
        server = Served(asked, harness.dtype_of(args))
        ours.generate_by(server, model, prompts, args.samples, short)
        sides["vllm"] = partial(ours.generate_by, server, model, prompts, args.samples, settings)
    times = harness.in_turn(sides, args.runs, warmup=0)
    memory = {} if args.no_memory else _memory(argv, batch)
    report = _report(args, times, memory)
    report.setting |= {"prompt_tokens": [len(prompt) for prompt in prompts]}
    report.notes.append(f"transformers answers {batch} posts at a time, ours decodes up to {rows} rows side by side")
    report.details |= {"our_rows": rows, "transformers_posts_at_a_time": batch, "trial_seconds": trials}
    return report.finish(args.results)


def _arguments(argv: Sequence[str]) -> Namespace:
    parser = harness.parser(__doc__, runs=3)
    parser.add_argument("--conversations", type=Path, default=CONVERSATIONS, help="the chit-chat conversations")
    parser.add_argument("--posts", type=int, default=50, help="posts (default 50)")
    parser.add_argument("--samples", type=int, default=10, help="samples per post (default 10)")
    parser.add_argument("--tokens", type=int, default=40, help="tokens per sample (default 40)")
    parser.add_argument(
        "--vllm", metavar="URL", nargs="?", const="", help="vLLM too: of .venv-vllm, or at this address"
    )
    parser.add_argument("--batch", type=int, default=10, help="posts at a time of transformers with --memory")
    return parser.parse_args(argv)


def _settings(args: Namespace) -> SamplingSettings:
    return SamplingSettings(temperature=0.8, max_new_tokens=args.tokens, top_p=0.95)


def _prompts(args: Namespace) -> list[list[int]]:
    chat = ours.open_chat(args.model)
    return [chat.prompt(pair.post, pair.context) for pair in chat_pairs(args.posts, args.conversations)]


def _best_batch(
    args: Namespace, model: Any, prompts: Sequence[Sequence[int]], sizes: Sequence[int]
) -> tuple[int, dict[str, float]]:
    """Posts at a time with which transformers is fastest, and the trial's seconds a post of each size."""
    settings = replace(_settings(args), max_new_tokens=min(TRIAL_TOKENS, args.tokens))
    pad_id = ours.open_chat(args.model).pad_id
    seconds = {}
    for size in [size for size in sizes if size <= len(prompts)] or [len(prompts)]:
        work = partial(peers.generate, model, prompts[:size], args.samples, settings, pad_id, size)
        work()
        seconds[size] = harness.timed(work) / size
    best = min(seconds, key=lambda size: seconds[size])
    return best, {str(size): value for size, value in seconds.items()}


def _memory(argv: Sequence[str], batch: int) -> dict[str, Memory]:
    return {side: harness.memory_of("benchmarks.generate", side, [*argv, "--batch", str(batch)]) for side in SIDES}


def _report(args: Namespace, times: dict[str, list[float]], memory: dict[str, Memory]) -> Report:
    setting = {
        "posts": args.posts, "samples": args.samples, "tokens": args.tokens, "system": SYSTEM,
        "temperature": 0.8, "top_p": 0.95, "runs": args.runs,
    }  # fmt: skip
    report = Report("generate", "s", args.threads, setting, times, memory)
    report.ratios = {f"{side} / ours": harness.ratio(times[side], times["ours"]) for side in list(times)[1:]}
    faster = report.ratios["transformers / ours"]
    report.targets = [Target("times as fast as transformers", faster.median, floor=3, aim=5)]
    drawn = args.posts * args.samples * args.tokens
    speeds = {side: drawn / harness.Spread.of(seconds).median for side, seconds in times.items()}
    report.notes.append(", ".join(f"{side}: {harness.short(speed)} tokens/s" for side, speed in speeds.items()))
    return report


def _tell_memory(args: Namespace) -> None:
    """One side in this process: ours all the posts, transformers its first batch, which the others repeat."""
    prompts, settings = _prompts(args), _settings(args)
    pad_id = ours.open_chat(args.model).pad_id
    if args.memory == "ours":
        harness.prepare(args)
        load = partial(open_base, args.model, harness.dtype_of(args))
        harness.tell_memory(load, lambda model: ours.generate(model, prompts, args.samples, settings, pad_id))
        return
    torch.set_num_threads(args.threads)
    longest = sorted(prompts, key=len)[-args.batch :]
    harness.tell_memory(
        partial(peers.open_model, args.model, harness.dtype_of(args)),
        lambda model: peers.generate(model, longest, args.samples, settings, pad_id, args.batch),
    )


if __name__ == "__main__":
    main(sys.argv[1:])
