"""The over-optimisation curve at several weights of the KL, side by side."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from polychrome import paths
from polychrome.audit.controls.record import REMEDY, ROOT, Control, verdict_of, write_part
from polychrome.audit.rollouts import CURVE
from polychrome.errors import bad
from polychrome.files import read_csv, read_object, write_csv
from polychrome.params import Params

TEXT = "The judge against KL while GRPO climbs the proxy, at several weights of the KL."


def run(params: Params) -> str:
    """Write results/controls/overoptimisation.json and .csv; returns a table of the controls."""
    arms = (params.controls.variants["beta_0"], "control_beta_0", "control_beta_0_2")
    runs = [(arm, params.arms[arm].beta, paths.gaming_dir(arm, params.controls.seed)) for arm in arms]
    controls, details, rows = overoptimisation(runs)
    write_csv(ROOT / "overoptimisation.csv", rows, ("arm", "beta", *CURVE))
    return write_part(ROOT / "overoptimisation.json", TEXT, controls, details)


def overoptimisation(
    runs: Sequence[tuple[str, float, str | Path]],
) -> tuple[list[Control], dict[str, Any], list[dict[str, Any]]]:
    """Gather the curves of ``runs``, (arm, beta, folder that stage `gaming` left); in any order, at least three betas.

    Returns a control, the fitted curve of each beta, and the rows of the curves with beta and arm in front. Gao,
    Schulman and Hilton 2023 (arXiv 2210.10760) expect the same curve for each beta with less KL as beta grows, so what
    is expected here is that the KL reached falls as beta rises; where the judge peaks is a finding.
    """
    if len({beta for _, beta, _ in runs}) < 3:
        raise bad("params.yaml:controls.variants", f"{len(runs)} runs", "at least three values of beta", "Add some.")
    fits, rows = [], []
    ends = [name for name in CURVE if name.endswith(("_low", "_high"))]
    means = [name for name in CURVE if name not in ends]
    for arm, beta, folder in sorted(runs, key=lambda run: run[1]):
        verdict = read_object(Path(folder) / "verdict.json")
        fits.append({"arm": arm, "beta": beta, "verdict": verdict["verdict"], **verdict["over_optimisation"]})
        curve = read_csv(
            Path(folder) / "curve.csv", means, blank=ends, what="a curve as stage `gaming` writes it", remedy=REMEDY
        )
        rows += [{"arm": arm, "beta": beta, **row} for row in curve]
    reached = [fit["judge"]["reach_kl"] for fit in fits]
    control = Control(
        name="overoptimisation",
        text="The judge against KL while GRPO climbs the proxy, at several weights beta of the KL: the largest KL.",
        expected="the KL that is reached falls as beta rises",
        found=", ".join(f"beta {fit['beta']:g}: {kl:.3g} nats" for fit, kl in zip(fits, reached, strict=True)),
        verdict=verdict_of(all(later < earlier for earlier, later in pairwise(reached))),
        note="; ".join(f"beta {fit['beta']:g}: {fit['judge']['text']}" for fit in fits),
    )
    return [control], {"curves": fits}, rows
