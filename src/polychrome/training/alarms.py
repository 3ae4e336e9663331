"""Alarms while training: a loss that is no number, KL, reward that stays flat, replies that shrink to nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


class TrainingStopped(Exception):  # noqa: N818 - it names what happened
    """An alarm ended the run; the message says what was seen and what to change."""


@dataclass(frozen=True)
class Alarms:
    """Thresholds (params.yaml: alarms)."""

    kl_warn: float  # nats a reply, sum over its tokens
    kl_stop: float  # nats a reply
    reward_flat_steps: int  # 0: never
    length_collapse_ratio: float  # of the first step's completion length; 0: never

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
                f"step {len(history)}: KL to the warm-start is {kl:.2f} nats a reply, above alarms.kl_stop = "
                f"{self.kl_stop:g}. Nothing was saved. Lower its learning_rate or raise beta, then `dvc repro`."
            )
        if kl is not None and kl > self.kl_warn:
            yield f"KL is {kl:.2f} nats a reply, above alarms.kl_warn = {self.kl_warn:g}"
        n = self.reward_flat_steps
        if n and "reward" in row and len(history) % n == 0 and len(history) >= 2 * n:
            early = sum(r["reward"] for r in history[-2 * n : -n]) / n
            late = sum(r["reward"] for r in history[-n:]) / n
            if late <= early:
                yield f"reward is flat: {late:.3f} over the last {n} steps, {early:.3f} over the {n} before"
        first = history[0].get("completion_length")
        if self.length_collapse_ratio and first and row["completion_length"] < self.length_collapse_ratio * first:
            yield f"replies shrink: {row['completion_length']:.1f} tokens, {first:.1f} at the start"
