"""A model carries how it was made, and whoever uses it finds out when params.yaml has moved on."""

import json

import pytest

from polychrome.errors import InputError
from polychrome.models.recipes import check_recipe, recipe_of, write_untouched
from polychrome.params import load_params


@pytest.fixture
def params(workspace):
    return load_params(workspace / "params.yaml")


def test_a_recipe_names_arm_seed_warm_start_and_every_parameter_of_the_arm(params):
    recipe = recipe_of(params, "baseline", 42)
    assert (recipe["arm"], recipe["seed"], "warmstart" in recipe) == ("baseline", 42, False)
    assert recipe["params"]["learning_rate"] == params.arms["baseline"].learning_rate
    assert recipe_of(params, "grpo_from_polychromic", 42)["warmstart"] == "polychromic_warmstart"
    with pytest.raises(InputError, match=r"params\.yaml:arms: found 'fancy'; expected one of .*polychromic"):
        recipe_of(params, "fancy", 42)


def test_a_model_is_recognised_by_its_own_recipe_in_any_order_and_by_no_other(params, tmp_path):
    recipe, model = recipe_of(params, "zero_shot", 42), tmp_path / "model"
    with pytest.raises(InputError, match="no such file"):
        check_recipe(model, recipe)
    write_untouched(model, recipe)
    assert [file.name for file in model.iterdir()] == ["recipe.json"]
    assert json.loads((model / "recipe.json").read_text())["params"]["prompt"] == params.arms["zero_shot"].prompt
    check_recipe(model, dict(reversed(recipe.items())))
    for changed in ({"seed": 43}, {"params": {**recipe["params"], "prompt": "careful"}}):
        with pytest.raises(InputError, match=rf"another recipe \(differs in {next(iter(changed))}\).*dvc repro"):
            check_recipe(model, {**recipe, **changed})
    (model / "recipe.json").write_text("{")
    with pytest.raises(InputError, match="expected valid JSON"):
        check_recipe(model, recipe)
