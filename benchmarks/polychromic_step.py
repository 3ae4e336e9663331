"""A polychromic step against a step of fine-tuning, both ours. ``python -m benchmarks.polychromic_step``.

The settings are those of the arms ``polychromic`` and ``baseline`` and of ``lora`` in params.yaml, the same batch on
both sides in every round, the real sentence encoder. The polychromic step is the other one and what diversity adds:
sampling sets of replies, embedding them, their gate, and one more forward and backward.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import harness, ours
from benchmarks.harness import Memory, Report, Target
from benchmarks.workload import CONVERSATIONS, chat_pairs
from polychrome.measures.encoder import Encoder
from polychrome.params import Params, load_params
from polychrome.paths import ENCODER
from polychrome.training.diversity import Validity, make_diversity
from polychrome.training.methods.cross_entropy import CrossEntropy
from polychrome.training.methods.interface import Method
from polychrome.training.methods.polychromic import Polychromic, PolychromicArm

ARMS = ("polychromic", "baseline")


def main(argv: Sequence[str]) -> Path | None:
    """Run the benchmark; returns the path of its JSON."""
    args = _arguments(argv)
    params = load_params(args.params)
    if args.memory:
        harness.prepare(args)
        load = partial(ours.open_policy, args.model, harness.dtype_of(args), params.lora)
        harness.tell_memory(load, lambda policy: harness.twice(_steps(args, params, args.memory, policy)))
        return None
    memory = (  # first, while this process is small
        {} if args.no_memory else {arm: harness.memory_of("benchmarks.polychromic_step", arm, argv) for arm in ARMS}
    )
    harness.prepare(args)
    steps = {
        arm: _steps(args, params, arm, ours.open_policy(args.model, harness.dtype_of(args), params.lora))
        for arm in ARMS
    }
    times = harness.in_turn(steps, args.runs)
    return _report(args, params, times, memory).finish(args.results)


def _arguments(argv: Sequence[str]) -> Namespace:
    parser = harness.parser(__doc__, runs=10)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="the parameters of the arms")
    parser.add_argument("--encoder", type=Path, default=ENCODER, help="folder of the sentence encoder")
    parser.add_argument("--conversations", type=Path, default=CONVERSATIONS, help="the chit-chat conversations")
    return parser.parse_args(argv)


def _steps(args: Namespace, params: Params, name: str, policy: Any) -> ours.Steps:
    arm: Any = params.arms[name]
    batch = params.arms["polychromic"].batch_size  # of both sides
    pairs = chat_pairs(batch * (args.runs + 1), args.conversations)
    chat = ours.open_chat(args.model, system=params.prompt.plain)
    method: Method = CrossEntropy()
    if isinstance(arm, PolychromicArm):
        encoder = Encoder.open(args.encoder)
        gate = Validity.calibrated(encoder, pairs, arm.gate)
        method = Polychromic(arm, encoder, make_diversity(arm.diversity), gate)
    return ours.Steps(ours.make_run(policy, method, chat, pairs, batch, arm.learning_rate))


def _report(args: Namespace, params: Params, times: dict[str, list[float]], memory: dict[str, Memory]) -> Report:
    setting = {arm: asdict(params.arms[arm]) for arm in ARMS} | {"lora": asdict(params.lora), "runs": args.runs}
    report = Report("polychromic_step", "s", args.threads, setting, times, memory)
    cost = harness.ratio(times["polychromic"], times["baseline"])
    report.ratios = {"polychromic / baseline": cost}
    report.targets = [Target("times the cost of fine-tuning", cost.median, floor=2.0, aim=1.5, at_least=False)]
    return report


if __name__ == "__main__":
    main(sys.argv[1:])
