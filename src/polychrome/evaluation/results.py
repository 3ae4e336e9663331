"""What was measured of every model with every seed, on the same posts in the same order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from polychrome.errors import InputError, Problem
from polychrome.evaluation.evaluate import Measured, read_per_post
from polychrome.evaluation.metrics import compared
from polychrome.evaluation.settings import EvaluationSettings

_AGAIN = "Run `dvc repro` to evaluate it again."
_MAKE = "Run `dvc repro` to make what is missing, or remove the model from models, or the seed from seeds."


@dataclass(frozen=True, slots=True)
class Results:
    """Every model measured with every seed, on the same posts in the same order."""

    models: tuple[str, ...]
    seeds: tuple[int, ...]
    samples: int
    posts: int
    values: Mapping[str, Mapping[str, np.ndarray]]  # model -> metric -> (seeds, posts), NaN where undefined
    pass_curve: Mapping[str, np.ndarray]  # model -> (seeds, posts, samples), Pass@1 to Pass@n
    human: Mapping[str, np.ndarray]  # metric -> (1, posts)

    def relevance(self, *models: str) -> list[np.ndarray]:
        """(seeds, posts) of each model, NaN where the encoder does not know the script of the post or of a reply."""
        return [self.values[model]["relevance"] for model in models]


def read_results(
    models: Sequence[str], seeds: Sequence[int], evaluations: str | Path, settings: EvaluationSettings
) -> Results:
    """Read every per_post.json. Raises InputError naming all that is missing, damaged or on other posts."""
    problems: list[Problem] = []
    found: dict[str, list[Measured]] = {model: [] for model in models}
    first: Measured | None = None
    needed = compared(settings)
    for model, seed in product(models, seeds):
        path = Path(evaluations) / model / f"seed-{seed}" / "per_post.json"
        try:
            measured = read_per_post(path)
        except InputError as error:
            expected = f"one for each of the seeds {', '.join(map(str, seeds))}"
            missing = Problem(str(path), f"no evaluation of {model} with seed {seed}", expected, _MAKE)
            problems += error.problems if path.is_file() else [missing]
            continue
        first = first or measured
        if (measured.posts, measured.samples) != (first.posts, first.samples):
            here = f"{len(measured.posts)} posts with {measured.samples} replies, not those of other models"
            expected = f"the same {len(first.posts)} posts in the same order with {first.samples} replies each"
            problems.append(Problem(str(path), here, expected, _AGAIN))
        absent = [name for name in needed if name not in measured.metrics]
        if absent:
            problems.append(Problem(str(path), f"no {', '.join(absent)}", "every metric to compare", _AGAIN))
        found[model].append(measured)
    if problems or first is None:
        raise InputError(problems or [Problem("params.yaml:models", "no models", "at least one", "Name them.")])
    return Results(
        models=tuple(models),
        seeds=tuple(seeds),
        samples=first.samples,
        posts=len(first.posts),
        values={
            model: {name: np.stack([m.metrics[name] for m in runs]) for name in needed} for model, runs in found.items()
        },
        pass_curve={model: np.stack([m.pass_curve for m in runs]) for model, runs in found.items()},
        human={name: values[None, :] for name, values in first.human.items()},
    )
