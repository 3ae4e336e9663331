"""A GRPO step: ours, TRL's GRPOTrainer, and the least time the machine allows. ``python -m benchmarks.grpo_step``.

4 prompts x 8 completions x 32 tokens, LoRA of rank 16 on all linear layers, temperature 0.9, top-p 0.9, beta 0.1, all
sides in the dtype that the machine does fast. Every completion has exactly 32 tokens on both sides: TRL is given
``min_new_tokens``, ours an end token that never comes. A step is all of it: generation, reward, reference, loss,
backward, optimiser. TRL runs in the faster of its settings of gradient checkpointing, unless ``--trl-checkpointing``
chooses one. One step of ours in eight computes again what the others take over from sampling; by default the timed ones
are seven of those and one of these.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

from benchmarks import harness, ours, peers, roofline
from benchmarks.harness import Memory, Report, Target
from benchmarks.workload import LORA, SYSTEM, market_pairs

POSTS, GROUP, TOKENS = 4, 8, 32
PAIRS = market_pairs(16 * POSTS)
NAMES = {"off": "TRL, no checkpointing", "on": "TRL, checkpointing"}  # TRL's default is on


def main(argv: Sequence[str]) -> Path | None:
    """Run the benchmark; returns the path of its JSON."""
    args = _arguments(argv)
    if args.memory:
        _tell_memory(args)
        return None
    sides = ["ours", *(NAMES[flag] for flag in args.trl_checkpointing)]  # memory first, while this process is small
    memory = {} if args.no_memory else {side: harness.memory_of("benchmarks.grpo_step", side, argv) for side in sides}
    harness.prepare(args)
    steps = _ours(args, ours.open_policy(args.model, harness.dtype_of(args), with_reference=True))
    peer, stepper, trials = _fastest(args)
    rates = roofline.measure(harness.dtype_of(args))
    times = harness.in_turn({"ours": steps, peer: stepper}, args.runs)
    rates = rates.best(roofline.measure(harness.dtype_of(args)))  # a machine that was busy before may be free now
    stepper.close()
    prompts = [steps.run.chat.prompt(pair.post, pair.context) for pair in steps.seen[-1]]
    lengths = [len(prompt) for prompt in prompts]
    shared = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*prompts, strict=False)))
    shape = roofline.Shape.of(steps.run.policy.config, LORA.rank)
    least = roofline.grpo_step(shape, rates, lengths, args.group, args.tokens, shared)
    report = _report(args, times, peer, least, memory)
    report.setting |= {"prompt_tokens": lengths, "tokens_that_all_prompts_begin_with": shared}
    report.notes.append(f"measured {rates.flops / 1e9:.0f} GFLOP/s and {rates.bandwidth / 1e9:.1f} GB/s")
    report.notes.append("TRL's trial: " + ", ".join(f"{side} {harness.short(s)} s" for side, s in trials.items()))
    report.details = {"trl_trial_seconds": trials, "rates": asdict(rates), "roofline_seconds": asdict(least)}
    return report.finish(args.results)


def _fastest(args: Namespace) -> tuple[str, peers.Stepped, dict[str, float]]:
    """TRL in its faster setting, running, and the trial's seconds of each."""
    steppers = {
        NAMES[flag]: peers.Stepped(
            _trainer(args, flag, peers.open_model(args.model, harness.dtype_of(args))), args.threads
        )
        for flag in args.trl_checkpointing
    }
    chosen, trials = harness.fastest(steppers)
    for side in set(steppers) - {chosen}:
        steppers[side].close()
    return chosen, steppers[chosen], trials


def _arguments(argv: Sequence[str]) -> Namespace:
    parser = harness.parser(__doc__, runs=8)
    parser.add_argument("--trl-checkpointing", choices=("off", "on", "faster"), default="faster")
    parser.add_argument("--group", type=int, default=GROUP, help=f"completions per post (default {GROUP})")
    parser.add_argument("--tokens", type=int, default=TOKENS, help=f"tokens per completion (default {TOKENS})")
    args = parser.parse_args(argv)
    args.trl_checkpointing = list(NAMES) if args.trl_checkpointing == "faster" else [args.trl_checkpointing]
    return args


def _ours(args: Namespace, policy: Any) -> ours.Steps:
    return ours.grpo_steps(policy, ours.open_chat(args.model), PAIRS, POSTS, args.group, args.tokens)


def _trainer(args: Namespace, flag: str, model: Any) -> Any:
    posts = [pair.post for pair in PAIRS]
    return peers.grpo_trainer(model, args.model, posts, POSTS, args.group, args.tokens, checkpointing=flag == "on")


def _report(
    args: Namespace, times: dict[str, list[float]], peer: str, least: roofline.Parts, memory: dict[str, Memory]
) -> Report:
    setting = {
        "posts": POSTS, "completions": args.group, "tokens": args.tokens, "system": SYSTEM, "lora": vars(LORA),
        "temperature": 0.9, "top_p": 0.9, "beta": 0.1, "loss_type": "dapo", "runs": args.runs,
    }  # fmt: skip
    bound = [least.total] * args.runs
    report = Report("grpo_step", "s", args.threads, setting, times | {"roofline": bound}, memory)
    report.ratios = {
        f"{peer} / ours": harness.ratio(times[peer], times["ours"]),
        "ours / roofline": harness.ratio(times["ours"], bound),
    }
    parts = ", ".join(f"{part} {harness.short(seconds)} s" for part, seconds in asdict(least).items())
    report.notes.append(f"roofline: {parts}")
    faster, distance = report.ratios.values()
    report.targets = [
        Target("times as fast as TRL", faster.median, floor=5, aim=8),
        Target("times the roofline", distance.median, floor=2.5, aim=1.5, at_least=False),
    ]
    if memory:
        share = memory["ours"].peak / memory[peer].peak
        report.targets.append(Target("peak memory / TRL's", share, floor=0.7, aim=0.5, at_least=False))
        growth = memory["ours"].growth / memory[peer].growth
        report.notes.append(f"memory beyond the loaded model / TRL's: {harness.short(growth)}")
    return report


def _tell_memory(args: Namespace) -> None:
    """Two steps of one side in this process; TRL with the allocator as its users have it."""
    if args.memory == "ours":
        harness.prepare(args)
        load = partial(ours.open_policy, args.model, harness.dtype_of(args), with_reference=True)
        harness.tell_memory(load, lambda policy: harness.twice(_ours(args, policy)))
        return
    flag = next(flag for flag, name in NAMES.items() if name == args.memory)
    peers.import_trl()
    harness.tell_memory(
        partial(peers.open_model, args.model, harness.dtype_of(args)),
        lambda model: peers.train_alone(_trainer(args, flag, model), args.threads, steps=2),
    )


if __name__ == "__main__":
    main(sys.argv[1:])
