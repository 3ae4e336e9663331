"""Curves on the plane of quality and variety: what one model reaches by one way of decoding, hotter and hotter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from polychrome.errors import Problem, Problems
from polychrome.evaluation.settings import EvaluationSettings
from polychrome.files import Record, read_object

ROOT = Path("results/frontier")
VARIETY = ("distinct_k", "semantic_diversity")  # of a set; the first that every curve has is the plane's


def points_file(model: str, seed: int, root: Path = ROOT) -> Path:
    """What one model and seed reach at every temperature."""
    return root / f"points/{model}/seed-{seed}.json"


def kept(settings: EvaluationSettings) -> tuple[str, ...]:
    """The metrics of a set that are kept."""
    return (*settings.passes, *VARIETY)


@dataclass(frozen=True, slots=True)
class Curve:
    """What one model reaches by one way of decoding."""

    model: str
    decoding: str  # temperature, min_p or mmr
    temperatures: tuple[float, ...]  # rising
    values: Mapping[str, np.ndarray]  # metric -> (temperatures, seeds, posts), NaN where undefined

    def posts(self, metric: str) -> int:
        """How many posts have a value of ``metric`` at every temperature and seed."""
        return int(np.isfinite(self.values[metric]).all(axis=(0, 1)).sum()) if metric in self.values else 0


@dataclass(frozen=True, slots=True)
class Curves:
    """Every curve, on the same posts with as many replies to each."""

    curves: tuple[Curve, ...]
    posts: int
    samples: int

    def of(self, model: str) -> list[Curve]:
        """Those of one model, plain sampling first."""
        return [curve for curve in self.curves if curve.model == model]

    @property
    def variety(self) -> str | None:
        """The metric of variety that the plane shows: the first that is defined for two posts or more on every curve.

        None where no metric is, because the encoder does not know the language.
        """
        return next((name for name in VARIETY if all(curve.posts(name) > 1 for curve in self.curves)), None)


def read_curves(models: Sequence[str], seeds: Sequence[int], settings: EvaluationSettings, root: Path = ROOT) -> Curves:
    """Read what every model and seed left. Raises InputError naming all that is missing, damaged or of other sets."""
    problems, found, curves = Problems(), {}, []
    for model, seed in product(models, seeds):
        with problems.caught():
            found[model, seed] = read_object(points_file(model, seed, root))
    problems.raise_any()
    first = found[models[0], seeds[0]]
    for model in models:
        runs = [_sets(found[model, seed]) for seed in seeds]
        for run, seed in zip(runs, seeds, strict=True):
            one = found[model, seed]
            if (one["posts"], one["samples"], run.keys()) != (first["posts"], first["samples"], runs[0].keys()):
                expected = f"those of {first.where}"
                problems.append(Problem(one.where, "other posts, samples or temperatures", expected, "Run it again."))
        for decoding in dict.fromkeys(decoding for decoding, _ in runs[0]) if not problems else ():
            at = sorted(temperature for own, temperature in runs[0] if own == decoding)
            values = {
                name: np.array([[run[decoding, t][name] for run in runs] for t in at], dtype=float)  # None becomes NaN
                for name in kept(settings)
                if all(name in run[decoding, t] for run in runs for t in at)
            }
            curves.append(Curve(model, decoding, tuple(at), values))
    problems.raise_any()
    return Curves(tuple(curves), len(first["posts"]), first["samples"])


def _sets(found: Record) -> dict[tuple[str, float], Record]:
    return {(point["decoding"], point["temperature"]): point["metrics"] for point in found["points"]}
