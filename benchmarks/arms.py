"""What another method adds to a GRPO step, all ours. ``python -m benchmarks.arms``.

The settings are those of params.yaml with ``presets/methods.yaml``, one arm of every recipe. All sides step the same
policy over the same posts, at a learning rate that moves nothing, so that in every round all draw the same replies; all
of these count, also those that were cut, so that there is most to compare. The reward is the heuristic one.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks import harness, ours
from benchmarks.harness import Report, Target
from benchmarks.workload import CONVERSATIONS, chat_pairs
from polychrome.params import Params, parse_params
from polychrome.presets import apply_preset
from polychrome.training.methods import method_of

STILL = 1e-12  # a learning rate
PLAIN = "grpo_from"  # the recipe that the others are held against


def main(argv: Sequence[str]) -> Path:
    """Run the benchmark; returns the path of its JSON."""
    args = _arguments(argv)
    params = _params(args.params)
    harness.prepare(args)
    policy = ours.open_policy(args.model, harness.dtype_of(args), params.lora, with_reference=True)
    steps = {recipe: _steps(args, params, recipe, policy) for recipe in params.grpo_recipes}
    return _report(args, params, harness.in_turn(steps, args.runs)).finish(args.results)


def _arguments(argv: Sequence[str]) -> Namespace:
    parser = harness.parser(__doc__, runs=8)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="the parameters of the arms")
    parser.add_argument("--conversations", type=Path, default=CONVERSATIONS, help="the chit-chat conversations")
    return parser.parse_args(argv)


def _params(path: Path) -> Params:
    params = parse_params(apply_preset(path.read_text(encoding="utf-8"), "methods", path.parent / "presets"))
    return replace(params, reward=replace(params.reward, cut="keep"))


def _arm(params: Params, recipe: str) -> Any:
    return replace(params.arms[f"{recipe}_{params.grpo_starts[0]}"], reward="heuristic")


def _steps(args: Namespace, params: Params, recipe: str, policy: Any) -> ours.Steps:
    arm = _arm(params, recipe)
    pairs = chat_pairs(arm.batch_size * (args.runs + 1), args.conversations)
    method = method_of(arm.objective).build(arm, params, pairs)
    chat = ours.open_chat(args.model, system=params.prompt.plain)
    return ours.Steps(ours.make_run(policy, method, chat, pairs, arm.batch_size, STILL))


def _report(args: Namespace, params: Params, times: dict[str, list[float]]) -> Report:
    setting = {recipe: asdict(_arm(params, recipe)) for recipe in times} | {"lora": asdict(params.lora)}
    report = Report("arms", "s", args.threads, setting | {"runs": args.runs}, times)
    others = {recipe: values for recipe, values in times.items() if recipe != PLAIN}
    report.ratios = {f"{recipe} / {PLAIN}": harness.ratio(values, times[PLAIN]) for recipe, values in others.items()}
    dearest = max(spread.median for spread in report.ratios.values())
    report.targets = [Target("the dearest, times a GRPO step", dearest, floor=1.1, aim=1.05, at_least=False)]
    return report


if __name__ == "__main__":
    main(sys.argv[1:])
