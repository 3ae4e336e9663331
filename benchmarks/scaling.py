"""How a GRPO step of ours grows with its size. ``python -m benchmarks.scaling``.

From one middle size, the completions per post (G), the prompt's length, the completion's length and the posts per step
are changed one at a time. Time and memory beyond the loaded model are each fitted by least squares as size ** exponent
in logarithms; an exponent of 1 is proportional. The figure with a target is what a group costs as G goes from 4 to 16
behind a prompt of 200 tokens, one group per step, 32 tokens per completion: without sharing the prompt it would be 4.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import harness, ours
from benchmarks.harness import Memory, Report, Spread, Target
from benchmarks.workload import LORA, market_pairs

AXES = {
    "group": (2, 4, 8, 16),
    "prompt": (16, 32, 64, 128, 256, 512),
    "completion": (8, 16, 32, 64),
    "posts": (1, 2, 4, 8),
}


@dataclass(frozen=True)
class Size:
    """Of one step: posts, completions per post, tokens per prompt, tokens per completion."""

    posts: int = 2
    group: int = 8
    prompt: int = 64
    completion: int = 32

    def __str__(self) -> str:
        return ",".join(f"{name}={value}" for name, value in asdict(self).items())

    @classmethod
    def parse(cls, text: str) -> "Size":
        """The inverse of ``str``."""
        return cls(**{name: int(value) for name, value in (part.split("=") for part in text.split(","))})


MIDDLE = Size()
SMALL_GROUP, LARGE_GROUP = Size(1, 4, 200, 32), Size(1, 16, 200, 32)  # the figure with a target


@dataclass(frozen=True)
class Fit:
    """y = constant * x ** exponent."""

    exponent: float
    standard_error: float  # of the exponent, from what the points leave unexplained


def fit(x: Sequence[float], y: Sequence[float]) -> Fit:
    """Ordinary least squares of log y on log x; three points or more."""
    u, v = np.log(x), np.log(y)
    centred = u - u.mean()
    slope = float(centred @ v / (centred @ centred))
    residuals = v - v.mean() - slope * centred
    return Fit(slope, float(np.sqrt(residuals @ residuals / (len(u) - 2) / (centred @ centred))))


def main(argv: Sequence[str]) -> Path | None:
    """Run the benchmark; returns the path of its JSON."""
    args = _arguments(argv)
    if args.memory:
        harness.prepare(args)
        load = partial(ours.open_policy, args.model, harness.dtype_of(args), with_reference=True)
        size = Size.parse(args.memory)
        harness.tell_memory(load, lambda policy: harness.twice(_steps(args, size, policy)))
        return None
    sizes = [*(size for axis in args.axes for size in sizes_along(axis)), SMALL_GROUP, LARGE_GROUP]
    names = list(dict.fromkeys(map(str, sizes)))  # the middle lies on every axis
    # First, while this process is small.
    memory = {} if args.no_memory else {n: harness.memory_of("benchmarks.scaling", n, argv) for n in names}
    harness.prepare(args)
    policy = ours.open_policy(args.model, harness.dtype_of(args), with_reference=True)
    times = harness.in_turn({name: _steps(args, Size.parse(name), policy) for name in names}, args.runs)
    return _report(args, times, memory).finish(args.results)


def sizes_along(axis: str) -> list[Size]:
    """The middle size with one of its numbers changed."""
    return [replace(MIDDLE, **{axis: value}) for value in AXES[axis]]


def _arguments(argv: Sequence[str]) -> Namespace:
    parser = harness.parser(__doc__, runs=3)
    parser.add_argument("--axes", nargs="*", choices=list(AXES), default=list(AXES), help="what is changed")
    return parser.parse_args(argv)


def _steps(args: Namespace, size: Size, policy: Any) -> ours.Steps:
    chat = ours.LongChat(ours.open_chat(args.model), size.prompt)
    return ours.grpo_steps(policy, chat, market_pairs(8 * size.posts), size.posts, size.group, size.completion)


def _report(args: Namespace, times: dict[str, list[float]], memory: dict[str, Memory]) -> Report:
    setting = {"middle": asdict(MIDDLE), "axes": {axis: AXES[axis] for axis in args.axes}, "lora": vars(LORA)}
    report = Report("scaling", "s", args.threads, setting | {"runs": args.runs}, times, memory)
    cost = harness.ratio(times[str(LARGE_GROUP)], times[str(SMALL_GROUP)])
    report.ratios = {"G 16 / G 4, 200-token prompt": cost}
    report.targets = [Target("cost of a group, G 4 to 16", cost.median, floor=2.2, aim=1.8, at_least=False)]
    fits: dict[str, Any] = {}
    for axis in args.axes:
        sizes = sizes_along(axis)
        fits[axis] = {"time": asdict(fit(AXES[axis], [Spread.of(times[str(size)]).median for size in sizes]))}
        if memory:
            fits[axis]["memory_growth"] = asdict(fit(AXES[axis], [memory[str(size)].growth for size in sizes]))
        told = [
            f"{what} ~ {axis} ^ {f['exponent']:.2f} (s.e. {f['standard_error']:.2f})" for what, f in fits[axis].items()
        ]
        report.notes.append(", ".join(told))
    report.details["exponents"] = fits
    return report


if __name__ == "__main__":
    main(sys.argv[1:])
