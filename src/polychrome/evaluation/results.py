"""What was measured, of every model with every seed, and who plays which part in the comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from polychrome import bootstrap
from polychrome.bootstrap import Interval
from polychrome.errors import InputError, Problem
from polychrome.evaluation.evaluate import Measured, read_per_post

HEADLINE = (
    "self_bleu",
    "semantic_diversity",
    "rouge_l",
    "engagement",
    "cross_entropy",
)  # with Pass@k: what models are contrasted on
BESIDE = (
    "distinct_1",
    "distinct_2",
    "distinct_3",
    "rouge_1",
    "rouge_2",
    "relevance",
    "well_formed",
    "words",
)  # shown beside them


@dataclass(frozen=True, slots=True)
class Roles:
    """Which model plays which part."""

    baseline: str = "baseline"
    polychromic: str = "polychromic"
    grpo_from_baseline: str = "grpo_from_baseline"
    grpo_from_polychromic: str = "grpo_from_polychromic"
    baseline_warmstart: str = "baseline_warmstart"
    polychromic_warmstart: str = "polychromic_warmstart"

    @property
    def compared(self) -> tuple[str, str, str, str]:
        """The four of the comparison."""
        return self.baseline, self.polychromic, self.grpo_from_baseline, self.grpo_from_polychromic

    @property
    def warmstart_of(self) -> dict[str, str]:
        """GRPO arm -> the model that it starts from."""
        return {
            self.grpo_from_baseline: self.baseline_warmstart,
            self.grpo_from_polychromic: self.polychromic_warmstart,
        }


@dataclass(frozen=True, slots=True)
class Settings:
    """How to measure uncertainty."""

    ks: tuple[int, ...] = (1, 5, 10)
    resamples: int = 4000
    confidence: float = 0.95
    alpha: float = 0.05
    seed: int = 0

    @property
    def primary(self) -> str:
        """The metric that questions are answered and models ranked by: Pass@k at the largest k."""
        return f"pass_at_{max(self.ks)}"

    @property
    def headline(self) -> tuple[str, ...]:
        """The few metrics of results/metrics.json and of the contrasts."""
        passes = [f"pass_at_{k}" for k in sorted({min(self.ks), max(self.ks)})]
        return (*passes, *HEADLINE)

    @property
    def needed(self) -> tuple[str, ...]:
        """Every metric that is compared or shown."""
        return tuple(dict.fromkeys((*self.headline, *(f"pass_at_{k}" for k in self.ks), *BESIDE)))


@dataclass(frozen=True, slots=True)
class Results:
    """Every model measured with every seed, on the same posts in the same order."""

    models: tuple[str, ...]
    seeds: tuple[int, ...]
    samples: int
    posts: int
    values: Mapping[str, Mapping[str, np.ndarray]]  # model -> metric -> (seeds, posts), NaN where undefined
    passing: Mapping[str, np.ndarray]  # model -> (seeds, posts)
    human: Mapping[str, np.ndarray]  # metric -> (1, posts)


def read_results(
    models: Sequence[str], seeds: Sequence[int], evaluations: Path, roles: Roles, settings: Settings
) -> Results:
    """Read every per_post.json. Raises InputError naming all that is missing, damaged or on other posts."""
    needed = (*roles.compared, *roles.warmstart_of.values())
    problems = [
        Problem("params.yaml:models", f"no {name}", "all models of the comparison", f"Add {name} to models.")
        for name in dict.fromkeys(needed)
        if name not in models
    ]
    found: dict[str, list[Measured]] = {model: [] for model in models}
    first: Measured | None = None
    for model in models:
        for seed in seeds:
            path = evaluations / model / f"seed-{seed}" / "per_post.json"
            try:
                measured = read_per_post(path)
            except InputError as error:
                problems += error.problems if path.is_file() else [_missing(model, seed, path, seeds)]
                continue
            first = first or measured
            if (measured.posts, measured.samples) != (first.posts, first.samples):
                found_here = f"{len(measured.posts)} posts with {measured.samples} replies, not those of other models"
                expected = f"the same {len(first.posts)} posts in the same order with {first.samples} replies each"
                problems.append(Problem(str(path), found_here, expected, "Run `dvc repro` to evaluate it again."))
            absent = [name for name in settings.needed if name not in measured.metrics]
            if absent:
                remedy = "Run `dvc repro` to evaluate it again."
                problems.append(Problem(str(path), f"no {', '.join(absent)}", "every metric to compare", remedy))
            found[model].append(measured)
    if problems or first is None:
        raise InputError(problems or [Problem("params.yaml:models", "no models", "at least four", "Name them.")])
    return Results(
        models=tuple(models),
        seeds=tuple(seeds),
        samples=first.samples,
        posts=len(first.posts),
        values={
            model: {name: np.stack([m.metrics[name] for m in runs]) for name in settings.needed}
            for model, runs in found.items()
        },
        passing={model: np.stack([m.passing for m in runs]) for model, runs in found.items()},
        human={name: values[None, :] for name, values in first.human.items()},
    )


def _missing(model: str, seed: int, path: Path, seeds: Sequence[int]) -> Problem:
    listed = ", ".join(map(str, seeds))
    remedy = "Run `dvc repro` to make what is missing, or take the model out of models, or the seed out of seeds."
    found, expected = f"no evaluation of {model} with seed {seed}", f"one for each of the seeds {listed}"
    return Problem(str(path), found, expected, remedy)


def mean_interval(values: np.ndarray, settings: Settings) -> Interval | None:
    """Mean of ``values`` (seeds, posts) over the posts defined for every seed; None with fewer than two of them."""
    defined = values[:, ~np.isnan(values).any(axis=0)]
    if defined.shape[1] < 2:
        return None
    return bootstrap.mean_interval(
        defined, resamples=settings.resamples, confidence=settings.confidence, seed=settings.seed
    )


def headroom(metric: str) -> tuple[float, float] | None:
    """The least and the most that a metric can be; None where it has no ends that models come near."""
    bounded = metric.startswith("pass_at_") or metric in ("self_bleu", "rouge_1", "rouge_2", "rouge_l", "well_formed")
    return (0.0, 1.0) if bounded else None


def label(metric: str) -> str:
    """A metric's name as a reader knows it."""
    if metric.startswith("pass_at_"):
        return f"Pass@{metric.removeprefix('pass_at_')}"
    return _LABELS.get(metric, metric.replace("_", " "))


_LABELS = {
    "self_bleu": "self-BLEU",
    "rouge_1": "ROUGE-1",
    "rouge_2": "ROUGE-2",
    "rouge_l": "ROUGE-L",
    "well_formed": "well-formed",
    "cross_entropy": "cross-entropy of human replies",
}
