"""Stage `untouched`: the base model as it is. Usage: python stages/untouched.py <model> <seed>."""

import sibling

from polychrome import paths, stage
from polychrome.models.recipes import recipe_of, write_untouched
from polychrome.params import load_params


def main() -> None:
    model, seed = stage.arm_and_seed()
    directory = paths.model_dir(model, seed)
    write_untouched(directory, recipe_of(load_params(), model, seed))
    print(f"{model}, seed {seed}: the base model as it is; recorded in {directory}")


if __name__ == "__main__":
    stage.run(main)
