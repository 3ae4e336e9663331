"""What models would leave of which it is known how good and how varied their replies are at every temperature."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from polychrome.files import write_json
from polychrome.frontier.points import points_file
from polychrome.measures.passk import pass_at_k
from polychrome.params import Params, load_params
from tests.evaluation.fakes import settings

TEMPERATURES, POSTS, SAMPLES = (0.6, 0.8, 1.0, 1.2, 1.4), 40, 10
DECODINGS = ("temperature", "min_p", "mmr")


def params_of(models: tuple[str, ...], seeds: tuple[int, ...] = (1, 2, 3), resamples: int = 400) -> Params:
    """The committed parameters with other models and seeds."""
    read = load_params(Path(__file__).parents[2] / "params.yaml")
    return replace(read, models=models, seeds=seeds, evaluation=settings(resamples))


def write_model(
    root: Path, model: str, seed: int, better: float = 0.0, varied: float = 0.0, alone: bool = False
) -> Path:
    """Hotter is worse and more varied; ``better`` moves the log-odds of a pass, ``varied`` the semantic diversity.

    ``alone`` is decoded in every way. What a post makes of it is the same for all, the draw is the model's own.
    """
    generator, posts = np.random.default_rng([seed, *map(ord, model)]), np.random.default_rng(0).normal(size=(2, POSTS))
    points = []
    for decoding in DECODINGS if alone else DECODINGS[:1]:
        for place, temperature in enumerate(TEMPERATURES):
            chance = 1 / (1 + np.exp(-(posts[0] + better - 0.3 - 0.35 * place)))
            passing = generator.binomial(SAMPLES, chance)
            noise = 0.05 * generator.normal(size=POSTS) + 0.05 * posts[1]
            metrics = {f"pass_at_{k}": pass_at_k(SAMPLES, passing, k).tolist() for k in (1, 5, 10)}
            metrics |= {
                "semantic_diversity": (0.55 + 0.08 * place + varied + noise).tolist(),
                "distinct_k": [None] * POSTS,
            }
            points.append({"decoding": decoding, "temperature": temperature, "metrics": metrics})
    path = points_file(model, seed, root)
    write_json(path, {"posts": [f"t{i}" for i in range(POSTS)], "samples": SAMPLES, "points": points})
    return path
