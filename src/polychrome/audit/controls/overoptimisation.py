"""The over-optimisation curve at several weights of the KL, side by side."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from polychrome.audit.controls.record import REMEDY, Control, verdict_of
from polychrome.errors import bad
from polychrome.files import read_json


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
    for arm, beta, folder in sorted(runs, key=lambda run: run[1]):
        folder = Path(folder)
        verdict = read_json(folder / "verdict.json")
        fitted = _part(verdict, ("over_optimisation",), folder)
        fits.append({"arm": arm, "beta": beta, "verdict": _part(verdict, ("verdict",), folder), **fitted})
        rows += [{"arm": arm, "beta": beta, **row} for row in _curve(folder / "curve.csv")]
    reached = [_part(fit, ("judge", "reach_kl"), fit["arm"]) for fit in fits]
    falls = all(later < earlier for earlier, later in pairwise(reached))
    peaks = "; ".join(f"beta {fit['beta']:g}: {fit['judge']['text']}" for fit in fits)
    control = Control(
        name="overoptimisation",
        text="The judge against KL while GRPO climbs the proxy, at several weights beta of the KL: the largest KL.",
        expected="the KL that is reached falls as beta rises",
        found=", ".join(f"beta {fit['beta']:g}: {kl:.3g} nats" for fit, kl in zip(fits, reached, strict=True)),
        value=None,
        low=None,
        high=None,
        verdict=verdict_of(falls),
        note=peaks,
    )
    return [control], {"curves": fits}, rows


def _part(value: Any, keys: Sequence[str], where: object) -> Any:
    for key in keys:
        if not isinstance(value, Mapping) or key not in value:
            raise bad(str(where), f"no {'.'.join(keys)}", "a verdict as stage `gaming` writes it", REMEDY)
        value = value[key]
    return value


def _curve(path: Path) -> list[dict[str, float | None]]:
    if not path.is_file():
        raise bad(str(path), "no such file", "a curve as stage `gaming` writes it", REMEDY)
    with path.open(encoding="utf-8", newline="") as handle:
        return [{k: float(v) if v else None for k, v in row.items()} for row in csv.DictReader(handle)]


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of the same keys as CSV text; nothing stands for None and NaN."""
    lines = [",".join(rows[0])]
    for row in rows:
        values = ("" if v is None or (isinstance(v, float) and math.isnan(v)) else v for v in row.values())
        lines.append(",".join(f"{v:.6g}" if isinstance(v, float) else str(v) for v in values))
    return "\n".join(lines) + "\n"
