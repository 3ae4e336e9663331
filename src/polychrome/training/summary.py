"""What a training run leaves beside the adapter: DVCLive curves and a summary with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from polychrome.bootstrap import bca_interval
from polychrome.files import whole_directory, write_json, write_jsonl
from polychrome.randomness import numpy_generator
from polychrome.training.loop import SHARE, Row, State

FIRST = (  # how metrics.json begins; whatever else a step logs comes behind, by name
    *("loss", "cross_entropy", "policy_loss", "reward", "reward_std", "kl", "clip_fraction", "entropy"),
    *("completion_length", "ended_share", "diversity", "gated_diversity", "valid_share", "zero_variance_share"),
    *("diversity_gradient_share", "sampler_gap", "sampler_gap_max", "sampler_kl", "grad_norm", "learning_rate"),
)


def write_training(directory: Path, state: State, facts: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Write curves (DVCLive), summary.json and what was rewarded to ``directory``, whole or not at all.

    Returns the summary. ``rollouts.jsonl`` has a line for each group that GRPO drew, in order of steps: the replies of
    the policy as it then was, their rewards, and the KL of that step in nats per reply.
    """
    from dvclive import Live

    summary = summarise(state, facts, seed)
    with whole_directory(directory) as folder:
        with Live(str(folder), save_dvc_exp=False, dvcyaml=None, report=None) as live:
            for row in state.history:
                logged = row.keys() - {"rollouts"}
                for name in [*(name for name in FIRST if name in logged), *sorted(logged.difference(FIRST))]:
                    live.log_metric(f"train/{name}", row[name])
                live.next_step()
        write_json(folder / "summary.json", summary)
        write_json(folder / "validations.json", state.validations)
        lines = [
            {"step": step}
            | ({"kl": float(f"{row['kl']:.6g}")} if "kl" in row else {})
            | {name: rollout[name] for name in ("id", "post", "replies", "rewards", "ended")}  # in this order
            for step, row in enumerate(state.history, start=1)
            for rollout in row.get("rollouts", ())
        ]
        if lines:
            write_jsonl(folder / "rollouts.jsonl", lines)
    return summary


def summarise(state: State, facts: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Facts of the run; for GRPO the reward gained from the first to the last epoch, paired by prompt."""
    summary: dict[str, Any] = dict(facts) | {"steps": state.step, "validations": state.validations}
    summary["last_step"] = {name: value for name, value in state.history[-1].items() if name != "rollouts"}
    for share in {name: None for row in state.history for name in row if name.endswith(SHARE)}:
        summary[share] = float(np.mean([row[share] for row in state.history if share in row]))
    if any("rollouts" in row for row in state.history):
        summary |= reward_gain(state.history, seed)
    return summary


def reward_gain(history: Sequence[Row], seed: int) -> dict[str, Any]:
    """Mean reward of each prompt in the last epoch minus in the first, with a 95% BCa bootstrap interval over prompts.

    Every prompt comes once an epoch, so the difference is paired: what the prompt is worth cancels out.
    """
    seen: dict[str, list[float]] = {}
    for row in history:
        for rollout in row.get("rollouts", ()):
            seen.setdefault(rollout["id"], []).append(float(np.mean(rollout["rewards"])))
    first, last = (np.array([rewards[i] for rewards in seen.values()]) for i in (0, -1))
    gain = last - first
    summary = {"reward_first_epoch": first.mean().item(), "reward_last_epoch": last.mean().item(), "prompts": len(gain)}
    if min(map(len, seen.values())) < 2 or len(gain) < 2:
        return summary | {"reward_gain": None, "reward_gain_note": "needs two epochs and two prompts"}
    if np.ptp(gain) == 0:  # every prompt gained the same: the interval is a point
        return summary | {"reward_gain": dict.fromkeys(("mean", "low", "high"), float(gain[0]))}
    interval = bca_interval(gain, resamples=4000, generator=numpy_generator(seed, "reward gain"))
    return summary | {"reward_gain": asdict(interval)}
