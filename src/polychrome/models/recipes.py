"""How a model was made travels with it, and whoever uses the model checks that params.yaml still says the same."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from polychrome.errors import bad
from polychrome.files import read_json, to_json, whole_directory, write_json
from polychrome.params import Params
from polychrome.paths import RECIPE


def recipe_of(params: Params, name: str, seed: int) -> dict[str, Any]:
    """How a model is made, as far as params.yaml says: kept beside it and checked by whoever uses it."""
    if name not in params.arms:
        known = ", ".join(params.arms)
        raise bad("params.yaml:arms", repr(name), f"one of {known}", "Correct the name, or add the arm.")
    recipe = {"arm": name, "seed": seed, "params": asdict(params.arms[name])}
    if name in params.warmstarts:
        recipe["warmstart"] = params.warmstarts[name]
    return recipe


def write_untouched(directory: Path, recipe: Mapping[str, Any]) -> None:
    """Say in ``directory`` that this model is the base model as it is."""
    with whole_directory(directory) as folder:
        write_json(folder / RECIPE, dict(recipe))


def check_recipe(directory: Path, expected: Mapping[str, Any]) -> None:
    """Raise InputError unless the model in ``directory`` was made by the recipe that params.yaml now describes."""
    found = read_json(directory / RECIPE)
    if to_json(found) != to_json(dict(expected)):
        differing = [key for key in {*found, *expected} if found.get(key) != expected.get(key)]
        made = f"a model made by another recipe (differs in {', '.join(sorted(differing))})"
        arm = f"the arm {expected['arm']} as params.yaml describes it"
        raise bad(str(directory / RECIPE), made, arm, "Train it again: `dvc repro`.")
