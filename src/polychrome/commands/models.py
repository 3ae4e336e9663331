"""Which trained model is meant."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from polychrome import paths
from polychrome.declare import nearest
from polychrome.errors import bad

if TYPE_CHECKING:
    from polychrome.params import Params


def spelled(asked: str, params: "Params") -> tuple[str, int]:
    """(arm, seed) of "<arm>/seed-<n>", with "models/" before it or not; "<arm>" alone has the first of `seeds`.

    Raises InputError for what is spelled otherwise, and for an arm that params.yaml has not.
    """
    arm, _, seed = asked.removeprefix("models/").strip("/").partition("/")
    number = re.fullmatch(r"seed-(\d+)", seed or f"seed-{params.seeds[0]}")
    if not number or arm not in params.arms:
        expected = "<arm>/seed-<n>, an arm of params.yaml"
        raise bad("the model", asked, expected, "Correct it." if arm in params.arms else nearest(arm, params.arms))
    return arm, int(number[1])


def named(asked: str | None, params: "Params") -> tuple[str, int]:
    """(arm, seed) of a model that is there, as :func:`spelled`; None is the last of `models` in params.yaml.

    Raises InputError, naming those there are, when it is not among them.
    """
    arm, seed = spelled(asked or params.models[-1], params)
    if not (paths.model_dir(arm, seed) / paths.RECIPE).is_file():
        known = sorted(str(path.parent.relative_to("models")) for path in Path("models").glob("*/seed-*/recipe.json"))
        found, there = f"{arm}/seed-{seed}", f"a model in models/: {', '.join(known) or 'the folder is empty'}"
        raise bad("the model", found, there, nearest(found, known) if known else "Make them: `dvc repro`.")
    return arm, seed
