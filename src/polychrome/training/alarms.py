"""Alarms while training: a loss that is no number, KL, reward that stays flat, replies that shrink to nothing."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from polychrome.declare import Rule, Section, at_most
from polychrome.errors import Problem


class TrainingStopped(Exception):  # noqa: N818 - it names what happened
    """An alarm ended the run; the message says what was seen and what to change."""


@dataclass(frozen=True, kw_only=True)
class Alarms(Section):
    """When training warns and when it stops (params.yaml: alarms). KL is the sum over a reply's tokens."""

    kl_warn: Annotated[float, Rule("nats per reply; warns above", above=0)]
    kl_stop: Annotated[float, Rule("nats per reply; stops above", above=0)]
    reward_flat_steps: Annotated[
        int, Rule("steps; warns when their mean reward is not above that of as many before, 0 never", minimum=0)
    ]
    length_collapse_ratio: Annotated[
        float, Rule("of the first step's reply length; warns below, 0 never", minimum=0, below=1)
    ]

    def disagreements(self) -> Iterator[Problem]:
        """A run warns before it stops."""
        yield from at_most("kl_warn", self.kl_warn, "alarms.kl_stop", self.kl_stop)

    def check(self, history: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        """Warnings for the newest row of ``history``.

        Raises TrainingStopped when loss or gradient is not finite, or KL is above ``kl_stop``.
        """
        row = history[-1]
        for name in ("loss", "grad_norm"):
            if not math.isfinite(row.get(name, 0.0)):
                raise TrainingStopped(
                    f"step {len(history)}: {name} is {row[name]}: training diverged. "
                    "Lower the arm's learning_rate, then `dvc repro`; nothing was saved."
                )
        kl = row.get("kl")
        if kl is not None and kl > self.kl_stop:
            raise TrainingStopped(
                f"step {len(history)}: KL to the warm-start is {kl:.2f} nats per reply, above alarms.kl_stop = "
                f"{self.kl_stop:g}. Nothing was saved. Lower its learning_rate or raise beta, then `dvc repro`."
            )
        if kl is not None and kl > self.kl_warn:
            yield f"KL is {kl:.2f} nats per reply, above alarms.kl_warn = {self.kl_warn:g}"
        n = self.reward_flat_steps
        if n and "reward" in row and len(history) % n == 0 and len(history) >= 2 * n:
            early = sum(r["reward"] for r in history[-2 * n : -n]) / n
            late = sum(r["reward"] for r in history[-n:]) / n
            if late <= early:
                yield f"reward is flat: {late:.3f} over the last {n} steps, {early:.3f} over the {n} before"
        seen = len(history)
        if seen & (seen - 1) == 0 and all(r.get("zero_variance_share") == 1.0 for r in history):  # at step 1, 2, 4, 8
            yield f"in all {seen} steps so far the replies to every post had the same reward: there is nothing to learn"
        first = history[0].get("completion_length")
        if self.length_collapse_ratio and first and row["completion_length"] < self.length_collapse_ratio * first:
            yield f"replies shrink: {row['completion_length']:.1f} tokens, {first:.1f} at the start"
