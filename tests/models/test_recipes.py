"""A model carries how it was made, and whoever uses it finds out when params.yaml has moved on."""

import json

import pytest

from polychrome.errors import InputError
from polychrome.models.recipes import check_recipe, recipe_of, write_untouched
from polychrome.params import load_params


@pytest.fixture
def params(workspace):
    return load_params(workspace / "params.yaml")


def test_a_recipe_names_arm_seed_and_every_parameter_of_the_arm(params):
    recipe = recipe_of(params, "baseline", 42)
    assert (recipe["arm"], recipe["seed"]) == ("baseline", 42)
    assert recipe["params"]["learning_rate"] == params.arms["baseline"].learning_rate
    assert "warmstart" not in recipe


def test_a_grpo_recipe_also_names_its_warm_start(params):
    assert recipe_of(params, "grpo_from_polychromic", 42)["warmstart"] == "polychromic_warmstart"


def test_an_unknown_arm_is_told_with_the_arms_there_are(params):
    with pytest.raises(InputError, match=r"params\.yaml:arms: found 'fancy'; expected one of .*polychromic"):
        recipe_of(params, "fancy", 42)


def test_a_model_is_recognised_by_its_own_recipe_and_by_no_other(params, tmp_path):
    recipe = recipe_of(params, "zero_shot", 42)
    write_untouched(tmp_path / "model", recipe)
    check_recipe(tmp_path / "model", recipe)
    for changed in ({"seed": 43}, {"params": {**recipe["params"], "prompt": "careful"}}):
        with pytest.raises(InputError, match=rf"another recipe \(differs in {next(iter(changed))}\).*dvc repro"):
            check_recipe(tmp_path / "model", {**recipe, **changed})


def test_a_model_that_is_not_there_or_damaged_is_told(params, tmp_path):
    recipe = recipe_of(params, "zero_shot", 42)
    with pytest.raises(InputError, match="no such file"):
        check_recipe(tmp_path / "model", recipe)
    write_untouched(tmp_path / "model", recipe)
    (tmp_path / "model/recipe.json").write_text("{")
    with pytest.raises(InputError, match="expected valid JSON"):
        check_recipe(tmp_path / "model", recipe)


def test_an_untouched_model_is_its_recipe_alone(params, tmp_path):
    write_untouched(tmp_path / "model", recipe_of(params, "prompted", 42))
    assert [f.name for f in (tmp_path / "model").iterdir()] == ["recipe.json"]
    found = json.loads((tmp_path / "model/recipe.json").read_text())
    assert found["params"]["prompt"] == params.arms["prompted"].prompt


def test_recipes_do_not_depend_on_the_order_of_keys(params, tmp_path):
    recipe = recipe_of(params, "zero_shot", 42)
    write_untouched(tmp_path / "model", recipe)
    check_recipe(tmp_path / "model", dict(reversed(recipe.items())))
