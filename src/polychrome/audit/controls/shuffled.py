"""GRPO on rewards that are dealt out at random: there is nothing to climb, so nothing must be gained on the judge."""

from pathlib import Path
from typing import Any

from polychrome import paths
from polychrome.audit.controls.record import NOT_MEASURED, REMEDY, ROOT, Control, verdict_of, write_part
from polychrome.errors import bad
from polychrome.evaluation.evaluate import read_per_post
from polychrome.evaluation.settings import EvaluationSettings
from polychrome.evaluation.statistics import Effect, compare_paired
from polychrome.params import Params

MARGIN = 0.25  # standard deviations of the judge's values for the test posts' human replies; a gain within it is none
TEXT = "GRPO on rewards dealt out at random must gain nothing on the judge."


def run(params: Params) -> str:
    """Write results/controls/shuffled.json; returns a table of it."""
    arm = params.controls.variants["shuffled"]
    models = ("control_shuffled", arm, params.warmstarts[arm])
    folders = [paths.evaluation_dir(model, params.controls.seed) for model in models]
    return write_part(ROOT / "shuffled.json", TEXT, *shuffled(*folders, params.evaluation))


def shuffled(
    control: str | Path, arm: str | Path, start: str | Path, settings: EvaluationSettings
) -> tuple[list[Control], dict[str, Any]]:
    """GRPO on permuted rewards against its warm-start on the judge, and the arm with its rewards in order beside it.

    The arguments are folders of evaluations, each with per_post.json. As expected when a gain of ``MARGIN`` or more is
    excluded, which is what "gains nothing" asks of the evidence; not as expected when a gain is established; and not
    measured when the interval holds both nothing and such a gain.
    """
    gained, reference = (_engagement(folder, start, settings) for folder in (control, arm))
    human = read_per_post(Path(start) / "per_post.json").human["engagement"]
    margin = float(MARGIN * human.std(ddof=1))
    excluded = gained.high < margin
    said = "is excluded" if excluded else "is not excluded by so few posts"
    found = Control(
        name="shuffled_reward",
        text="GRPO on rewards dealt out at random within a step against its warm-start: engagement by the judge.",
        expected=f"no gain: the interval ends below {MARGIN} standard deviations of human replies",
        found=(
            f"{gained.difference:+.4f} ({gained.low:+.4f} to {gained.high:+.4f}); a gain of {margin:.3f} "
            f"({MARGIN} standard deviations of human replies) {said}"
        ),
        **gained.ends(),
        verdict=NOT_MEASURED if gained.low <= 0 and not excluded else verdict_of(gained.low <= 0),
        note=(
            f"With rewards in their places the arm gained {reference.difference:+.4f} "
            f"({reference.low:+.4f} to {reference.high:+.4f})."
        ),
    )
    gains = {"arm_gain": reference.ends("mean"), "control_gain": gained.ends("mean")}
    return [found], {"margin": margin, "gain_excluded": excluded, **gains}


def _engagement(folder: str | Path, start: str | Path, settings: EvaluationSettings) -> Effect:
    a, b = (read_per_post(Path(each) / "per_post.json") for each in (folder, start))
    if a.posts != b.posts:
        raise bad(str(folder), "posts that are not those of the warm-start", "the same test posts", REMEDY)
    effect = compare_paired(*(each.metrics["engagement"][None, :] for each in (a, b)), settings)
    if effect is None:
        raise bad(str(folder), "fewer than two posts", "at least 2", "Raise split.test_pairs.")
    return effect
