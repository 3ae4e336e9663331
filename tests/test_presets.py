"""A preset changes the values it names and nothing else, and never loses what somebody wrote."""

import subprocess
from itertools import product
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from polychrome.errors import InputError
from polychrome.params import parse_params
from polychrome.presets import apply_preset, main, override, preset_names, switch
from polychrome.training.methods import METHODS

REPOSITORY = Path(__file__).parents[1]
SHIPPED = (REPOSITORY / "params.yaml").read_text(encoding="utf-8")
PRESETS = REPOSITORY / "presets"
SIZES = [name for name in preset_names(PRESETS) if name != "default"]

BASE = """\
# how much
size: 100                  # pairs, >= 1
name: "plain"  # text
train:
  rate: 1.0e-4             # > 0
  ks: [1, 5, 10]           # each at most n
  empty:                   # null
arms: {one: {epochs: 3, rate: 1.0}, two: {epochs: 3}}
"""


def test_only_the_named_values_change_and_comments_keep_their_column_where_there_is_room():
    changed = override(BASE, "size: 8\ntrain: {rate: 1.0e-5, ks: [1, 2]}\narms:\n  one: {epochs: 1}\n")
    new = BASE.replace("size: 100  ", "size: 8    ").replace("1.0e-4", "1.0e-5").replace("[1, 5, 10]", "[1, 2]    ")
    assert changed == new.replace("one: {epochs: 3", "one: {epochs: 1")
    assert "size: 1000000".ljust(27) + "# pairs" in override(BASE, "size: 1000000")
    assert 'name: "something longer"  # text\n' in override(BASE, 'name: "something longer"')


OPEN_BASE = """\
arms:
  one:
    objective: plain         # a name
    epochs: 3                # >= 1
  two: {objective: plain, epochs: 5}  # as written
experiment:
  compared: {one: zero}      # arm: start
  questions:                 # in words
    - {id: Q1}
    - {id: Q2}
  criteria: [a, b]           # each a name
controls:
  variants:                  # name: of
    calm: {of: one, epochs: 1}  # not so long
# the end
"""


def test_arms_controls_and_what_is_compared_may_be_added_and_come_last():
    overrides = "arms: {three: {objective: other, size: 4}}\nexperiment: {compared: {three: zero}}\n"
    changed = override(OPEN_BASE, overrides + "controls: {variants: {wild: {of: three, size: 2}}}\n")
    new = OPEN_BASE.replace("  # as written\n", "  # as written\n  three: {objective: other, size: 4}\n")
    new = new.replace("{one: zero}  ", "{one: zero, three: zero}  ")
    assert changed == new.replace("# the end", "    wild: {of: three, size: 2}\n# the end")


def test_an_arm_of_a_preset_is_like_another_one_and_says_only_what_differs():
    added = override(OPEN_BASE, "arms:\n  one: {epochs: 9}\n  three: {like: one, objective: other, size: 4}\n")
    assert "    epochs: 9                # >= 1\n" in added
    assert "\n  three: {objective: other, epochs: 9, size: 4}\nexperiment" in added
    again = override(added, "arms: {three: {like: two, size: 8}}")  # written whole: nothing of what it was stays
    assert again == added.replace("objective: other, epochs: 9, size: 4", "objective: plain, epochs: 5, size: 8")
    with pytest.raises(InputError, match=r"mine.yaml:1:arms.three.like: found onne; .* Did you mean one"):
        override(OPEN_BASE, "arms: {three: {like: onne}}", "mine.yaml")


def test_a_list_of_several_lines_is_replaced_by_another_one_whatever_its_indentation():
    overrides = "experiment:\n questions:\n  - {id: Q7}\n  # why\n  - {id: Q8}\n criteria: [a,\n  c]\n"
    new = OPEN_BASE.replace("    - {id: Q1}\n    - {id: Q2}\n", "    - {id: Q7}\n    # why\n    - {id: Q8}\n")
    assert override(OPEN_BASE, overrides) == new.replace("[a, b]           #", "[a,\n  c]         #")
    none = leaves(OPEN_BASE) | {"experiment.questions": []}
    assert leaves(override(OPEN_BASE, "experiment: {questions: []}")) == none


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ("sizes: 1\ntrain:\n  rat: 2\n", "mine.yaml:1:sizes: .*\nmine.yaml:3:train.rat: .*Did you mean rate"),
        ("train.ratt: 1\n", "mine.yaml:1:train.ratt: found unknown key"),
        ("train: 3", "a different nesting"),
        ("size: {a: 1}", "a different nesting"),
        ("train:\n  ks:\n    - 1\n    - 2\n", "several lines"),
        ("train: {more: 1}", "unknown key"),
        ("arms: {one: {epoch: 1}}", "mine.yaml:1:arms.one.epoch: .*Did you mean epochs"),
        ("size: [1", "valid YAML"),
        ("", "an empty file"),
    ],
)
def test_what_cannot_be_put_in_is_reported_all_of_it_with_its_line(overrides, told):
    with pytest.raises(InputError, match=told):
        override(BASE, overrides, "mine.yaml")


def leaves(text):
    """Dotted key -> value."""

    def walk(values, dotted):
        for key, value in values.items():
            yield from walk(value, f"{dotted}{key}.") if isinstance(value, dict) else [(f"{dotted}{key}", value)]

    return dict(walk(YAML(typ="safe").load(text), ""))


@pytest.mark.parametrize("name", SIZES)
def test_a_shipped_preset_makes_good_params_and_repeats_nothing(name):
    made, shipped = leaves(apply_preset(SHIPPED, name, PRESETS)), leaves(SHIPPED)
    overrides = leaves((PRESETS / f"{name}.yaml").read_text(encoding="utf-8"))
    assert {key for key in shipped if made[key] != shipped[key]} == overrides.keys() & shipped.keys()
    for key, value in overrides.items():  # an added arm says what its model has otherwise
        arm, _, of = key.rpartition(".")
        like = overrides.get(f"{arm}.like")
        assert of == "like" if key not in made else made[key] == value != made.get(f"{like}.{of}", ...)


def test_the_paper_preset_is_the_two_phase_experiment():
    params = parse_params(apply_preset(SHIPPED, "paper", PRESETS))
    assert (params.assets.base_model, params.assets.load_in_4bit) == ("Qwen/Qwen3-8B", True)
    assert (params.split.phase1_pairs, params.split.phase2_pairs, params.split.test_pairs) == (2500, 2500, 500)
    assert (params.lora.rank, params.lora.alpha, params.lora.dropout) == (16, 16, 0.1)
    assert params.prompt.max_prompt_tokens + params.prompt.max_reply_tokens == 512
    assert [params.arms[name].epochs for name in params.sft_arms] == [3, 3, 2, 2]
    for arm in (params.arms["grpo_from_baseline"], params.arms["grpo_from_polychromic"]):
        assert (arm.num_generations, arm.beta, arm.temperature, arm.learning_rate) == (4, 0.1, 0.8, 1e-5)


def test_the_study_is_the_experiment_at_full_size_with_sets_from_both_starts_and_the_conversations_have_room_for_it():
    study = parse_params(apply_preset(SHIPPED, "study", PRESETS))
    split, arms = study.split, study.arms
    assert (split.phase1_pairs, split.phase2_pairs, split.test_pairs) == (2500, 2500, 500)
    assert study.seeds == (42, 123, 456)
    assert [arms[name].epochs for name in study.sft_arms] == [3, 3, 2, 2]
    climbing = [f"{recipe}_from_{start}" for recipe in ("grpo", "set_poly") for start in ("baseline", "polychromic")]
    assert [arms[name].epochs for name in climbing] == [3, 3, 3, 3]
    assert set(study.models) == {*study.untouched, *study.sft_arms, *climbing}
    # of 40,000 pairs of the shipped conversations, those of 500 test conversations are 500 and 14,925 more
    needed = sum(split.pairs_of(part) for part in ("phase1", "phase2", "validation", "judge", "reward"))
    assert (study.data.limit, needed) == (40_000, 15_100)
    assert needed < study.data.limit - split.test_pairs - 14_925


def test_the_captions_preset_counts_scenes_of_which_there_are_158():
    captions = parse_params(apply_preset(SHIPPED, "captions", PRESETS))
    split, parts = captions.split, ("phase1", "phase2", "test", "validation", "judge", "reward")
    assert sum(getattr(split, f"{part}_pairs") for part in parts) <= 158
    assert [split.pairs_of(part) for part in parts] == [576, 576, 50, 96, 80, 288]


def test_the_smoke_preset_trains_every_arm_and_compares_every_model_and_has_one_that_climbs_sets():
    smoke, shipped = parse_params(apply_preset(SHIPPED, "smoke", PRESETS)), parse_params(SHIPPED)
    sets = {f"set_poly_from_{start}": f"{start}_warmstart" for start in shipped.grpo_starts}
    assert smoke.models == (*shipped.models, *sets)
    assert smoke.warmstarts.items() - shipped.warmstarts.items() == sets.items()
    for name in ("sft_arms", "assets"):
        assert getattr(smoke, name) == getattr(shipped, name)


def test_the_methods_preset_has_every_method_from_every_start_also_at_the_size_of_smoke():
    smoke = apply_preset(SHIPPED, "smoke", PRESETS)
    for base in (SHIPPED, smoke):
        plain, params = parse_params(base), parse_params(apply_preset(base, "methods", PRESETS))
        assert {arm.objective for arm in params.arms.values()} == {"untouched", *METHODS}
        assert set(params.models) == {name for name in params.arms if not name.startswith("control_")}
        for recipe, start in product(params.grpo_recipes, params.grpo_starts):
            arm, grpo = params.arms[f"{recipe}_{start}"], plain.arms[f"grpo_from_{start}"]
            assert (arm.epochs, arm.num_generations, arm.beta) == (grpo.epochs, grpo.num_generations, grpo.beta)


@pytest.mark.parametrize(("name", "words"), [("smok", "Did you mean smoke"), ("mine", "seeds: found no items")])
def test_a_preset_that_is_unknown_or_makes_bad_params_is_reported_and_writes_nothing(name, words, tmp_path):
    (tmp_path / "mine.yaml").write_text("seeds: []\n")
    (tmp_path / "smoke.yaml").write_text("seeds: [1]\n")
    with pytest.raises(InputError, match=words):
        switch(name, SHIPPED, tmp_path / "params.yaml", tmp_path)
    assert not (tmp_path / "params.yaml").exists()


def test_presets_do_not_add_up_and_edits_that_are_not_committed_are_not_lost(tmp_path):
    out = tmp_path / "params.yaml"
    for name in ("smoke", "paper", "smoke", "default"):
        switch(name, SHIPPED, out, PRESETS)
        assert out.read_text() == apply_preset(SHIPPED, name, PRESETS)
    assert out.read_text() == SHIPPED
    mine = SHIPPED.replace("price_per_hour: 0.10", "price_per_hour: 0.25")
    out.write_text(mine)
    with pytest.raises(InputError, match="edits that are not committed"):
        switch("smoke", SHIPPED, out, PRESETS)
    assert out.read_text() == mine
    switch("smoke", mine, out, PRESETS)  # committed, they stay
    assert parse_params(out.read_text()).report.price_per_hour == 0.25


def test_the_command_changes_the_committed_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "smoke.yaml").write_bytes((PRESETS / "smoke.yaml").read_bytes())
    (tmp_path / "params.yaml").write_text(SHIPPED)
    assert main(["smoke"]) == 1
    assert "no committed version" in capsys.readouterr().err
    subprocess.run("git init -q; git add .; git -c user.name=a -c user.email=a@b commit -qm a", shell=True, check=True)
    assert main(["smoke"]) == 0
    assert "params.yaml: preset smoke" in capsys.readouterr().out
    smoke = (tmp_path / "params.yaml").read_text()
    assert smoke == apply_preset(SHIPPED, "smoke")
    (tmp_path / "params.yaml").write_text(smoke + "# mine\n")
    assert main(["default"]) == 1
    assert main(["default", "--force"]) == 0
    assert (tmp_path / "params.yaml").read_text() == SHIPPED
    assert main([]) == 1
    assert "one of default, smoke" in capsys.readouterr().err
