"""A step of fine-tuning: ours against TRL's SFTTrainer, in tokens per second. ``python -m benchmarks.sft_step``.

The same chit-chat pairs in the same order on both sides, 16 per step, LoRA of rank 16 on all linear layers, the loss on
the replies alone. Counted on each side are the tokens of prompts and replies without padding, over the
seconds of a whole optimiser step. TRL runs in the fastest of its settings: with and without packing, with and without
gradient checkpointing.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import harness, ours, peers
from benchmarks.harness import Memory, Report, Target
from benchmarks.workload import CONVERSATIONS, LORA, SYSTEM, chat_pairs
from polychrome.pairs.schema import Pair
from polychrome.training.methods.cross_entropy import CrossEntropy

BATCH = 16  # pairs per step
TRIALS = 3  # timed steps of every setting of TRL, of which the fastest is chosen
SETTINGS = {  # name -> (packing, checkpointing)
    "TRL": (False, False),
    "TRL, packing": (True, False),
    "TRL, checkpointing": (False, True),
    "TRL, packing, checkpointing": (True, True),
}


def main(argv: Sequence[str]) -> Path | None:
    """Run the benchmark; returns the path of its JSON."""
    args = _arguments(argv)
    if args.memory:
        _tell_memory(args)
        return None
    harness.prepare(args)
    steps = _ours(args, ours.open_policy(args.model, harness.dtype_of(args)))
    pairs = steps.first(args.runs + 1)  # TRL takes them in this order: without packing, batch by batch what ours takes
    chosen, trials = _fastest(args, pairs)
    trainer = _trainer(args, chosen, peers.open_model(args.model, harness.dtype_of(args)), pairs)
    peer_tokens = peers.count_tokens(trainer)
    stepped = peers.Stepped(trainer, args.threads)
    times = harness.in_turn({"ours": steps, chosen: stepped}, args.runs)
    stepped.close()
    counts = {"ours": steps.tokens[-args.runs :], chosen: peer_tokens[-args.runs :]}
    speeds = {side: _speeds(counts[side], times[side]) for side in times}
    sides = ["ours", chosen]
    memory = {} if args.no_memory else {side: harness.memory_of("benchmarks.sft_step", side, argv) for side in sides}
    report = _report(args, speeds, chosen, memory)
    report.notes += ["TRL's trial: " + ", ".join(f"{s}: {harness.short(v)} tokens/s" for s, v in trials.items())]
    report.details |= {"seconds": times, "tokens": counts, "trl_trial_tokens_per_second": trials}
    return report.finish(args.results)


def _arguments(argv: Sequence[str]) -> Namespace:
    parser = harness.parser(__doc__, runs=8)
    parser.add_argument("--conversations", type=Path, default=CONVERSATIONS, help="the chit-chat conversations")
    parser.add_argument("--batch", type=int, default=BATCH, help=f"pairs per step (default {BATCH})")
    return parser.parse_args(argv)


def _pairs(args: Namespace) -> list[Pair]:
    return chat_pairs(args.batch * (args.runs + 1), args.conversations)


def _ours(args: Namespace, policy: Any) -> ours.Steps:
    chat = ours.open_chat(args.model)
    return ours.Steps(ours.make_run(policy, CrossEntropy(), chat, _pairs(args), batch=args.batch))


def _trainer(args: Namespace, setting: str, model: Any, pairs: Sequence[Pair]) -> Any:
    packing, checkpointing = SETTINGS[setting]
    chat = ours.open_chat(args.model)
    examples = [ours.tokens_of(chat, pair) for pair in pairs]
    return peers.sft_trainer(model, args.model, examples, args.batch, packing, checkpointing)


def _fastest(args: Namespace, pairs: Sequence[Pair]) -> tuple[str, dict[str, float]]:
    """The setting of TRL with the most tokens per second, and those of each, over a few steps of their own."""
    counts, steppers = {}, {}
    for setting in SETTINGS:
        trainer = _trainer(args, setting, peers.open_model(args.model, harness.dtype_of(args)), pairs)
        counts[setting] = peers.count_tokens(trainer)
        steppers[setting] = peers.Stepped(trainer, args.threads)
    times = harness.in_turn(steppers, TRIALS)
    speeds = {s: sum(counts[s][-TRIALS:]) / sum(times[s]) for s in SETTINGS}
    for stepper in steppers.values():
        stepper.close()
    return max(speeds, key=lambda setting: speeds[setting]), speeds


def _speeds(tokens: Sequence[int], seconds: Sequence[float]) -> list[float]:
    return [n / s for n, s in zip(tokens, seconds, strict=True)]


def _report(args: Namespace, speeds: dict[str, list[float]], peer: str, memory: dict[str, Memory]) -> Report:
    setting = {"pairs_a_step": args.batch, "system": SYSTEM, "lora": vars(LORA), "runs": args.runs}
    report = Report("sft_step", "tokens/s", args.threads, setting, speeds, memory)
    faster = harness.ratio(speeds["ours"], speeds[peer])
    report.ratios = {f"ours / {peer}": faster}
    report.targets = [Target("times as fast as TRL", faster.median, floor=3, aim=5)]
    return report


def _tell_memory(args: Namespace) -> None:
    """Two steps of one side in this process; TRL with the allocator as its users have it."""
    if args.memory == "ours":
        harness.prepare(args)
        load = partial(ours.open_policy, args.model, harness.dtype_of(args))
        harness.tell_memory(load, lambda policy: harness.twice(_ours(args, policy)))
        return
    peers.import_trl()
    harness.tell_memory(
        partial(peers.open_model, args.model, harness.dtype_of(args)),
        lambda model: peers.train_alone(_trainer(args, args.memory, model, _pairs(args)), args.threads, steps=2),
    )


if __name__ == "__main__":
    main(sys.argv[1:])
