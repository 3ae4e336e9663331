"""GRPO on rewards that are dealt out at random: there is nothing to climb, so nothing must be gained on the judge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from polychrome.audit.controls.record import NOT_MEASURED, REMEDY, Control, verdict_of
from polychrome.errors import bad
from polychrome.evaluation.evaluate import read_per_post
from polychrome.evaluation.results import Settings
from polychrome.evaluation.statistics import Effect, compare_paired

MARGIN = 0.25  # standard deviations of the judge's values for the test posts' human replies; a gain within it is none


def shuffled(
    control: str | Path, arm: str | Path, start: str | Path, settings: Settings
) -> tuple[list[Control], dict[str, Any]]:
    """GRPO on permuted rewards against its warm-start on the judge, and the arm with its rewards in order beside it.

    The arguments are folders of evaluations, each with per_post.json. As expected when a gain of ``MARGIN`` or more is
    excluded, which is what "gains nothing" asks of the evidence; not as expected when a gain is established; and not
    measured when the interval holds both nothing and such a gain.
    """
    gained, reference = (_engagement(folder, start, settings) for folder in (control, arm))
    human = read_per_post(Path(start) / "per_post.json").human["engagement"]
    margin = float(MARGIN * human.std(ddof=1))
    d, other = gained.difference, reference.difference
    excluded = d.high < margin
    told = (
        f"a gain of {margin:.3f} ({MARGIN} standard deviations of human replies) is excluded"
        if excluded
        else f"a gain of {margin:.3f} ({MARGIN} standard deviations of human replies) is not excluded by so few posts"
    )
    found = Control(
        name="shuffled_reward",
        text="GRPO on rewards dealt out at random within a step against its warm-start: engagement by the judge.",
        expected=f"no gain: the interval ends below {MARGIN} standard deviations of human replies",
        found=f"{d.mean:+.4f} ({d.low:+.4f} to {d.high:+.4f}); {told}",
        value=d.mean,
        low=d.low,
        high=d.high,
        verdict=NOT_MEASURED if d.low <= 0 and not excluded else verdict_of(d.low <= 0),
        note=f"With rewards in their places the arm gained {other.mean:+.4f} ({other.low:+.4f} to {other.high:+.4f}).",
    )
    details = {"margin": margin, "gain_excluded": excluded, "arm_gain": _ends(reference), "control_gain": _ends(gained)}
    return [found], details


def _engagement(folder: str | Path, start: str | Path, settings: Settings) -> Effect:
    a, b = (read_per_post(Path(each) / "per_post.json") for each in (folder, start))
    if a.posts != b.posts:
        raise bad(str(folder), "posts that are not those of the warm-start", "the same test posts", REMEDY)
    effect = compare_paired(
        a.metrics["engagement"][None, :],
        b.metrics["engagement"][None, :],
        resamples=settings.resamples,
        confidence=settings.confidence,
        seed=settings.seed,
    )
    if effect is None:
        raise bad(str(folder), "fewer than two posts", "at least 2", "Raise split.test_pairs.")
    return effect


def _ends(effect: Effect) -> dict[str, float]:
    return {"mean": effect.difference.mean, "low": effect.difference.low, "high": effect.difference.high}
