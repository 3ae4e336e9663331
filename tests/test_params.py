"""params.yaml is checked as a whole: every problem at once, each with its line and key."""

import os
import re
import subprocess
import sys
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Annotated, get_origin

import pytest

from polychrome.errors import InputError
from polychrome.models.settings import UntouchedArm
from polychrome.params import KINDS, MOVED, Params, load_params, main, parse_params
from polychrome.reading import SettingsFile, hints_of
from polychrome.training.methods.cross_entropy import CrossEntropyArm
from polychrome.training.methods.grpo import GrpoArm
from polychrome.training.methods.polychromic import PolychromicArm

GOOD = (Path(__file__).parents[1] / "params.yaml").read_text()


def changed(key: str, value: str) -> str:
    """The shipped file with ``value``, as written, in place of that of a dotted key."""
    _, node = SettingsFile(GOOD, "params.yaml").places[key]
    return GOOD[: node.start_mark.index] + value + GOOD[node.end_mark.index :]


def problems(text: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        parse_params(text)
    return str(caught.value).split("\n")


def line_of(words: str) -> int:
    return GOOD[: GOOD.index(words)].count("\n") + 1


def test_the_shipped_file_becomes_nested_sections_with_the_types_they_declare():
    params = parse_params(GOOD)
    kinds = {name: type(arm) for name, arm in params.arms.items() if not name.startswith("control_")}
    assert set(kinds.values()) == {UntouchedArm, CrossEntropyArm, PolychromicArm, GrpoArm} <= set(KINDS.values())
    assert isinstance(params.seeds, tuple)
    assert isinstance(params.lora.alpha, float)  # an integer is a number
    assert params.arms["grpo_from_baseline"].epsilon_high is None
    assert params.arms["polychromic"].lambda_ == 1.5
    assert params.warmstarts["grpo_from_baseline"] == "baseline_warmstart"
    with pytest.raises(AttributeError):
        params.data.min_words = 4


def test_a_control_is_an_arm_with_some_keys_changed():
    params, arms = parse_params(GOOD), parse_params(GOOD).arms
    assert arms["control_beta_0"] == replace(arms["grpo_from_baseline"], beta=0.0) != arms["grpo_from_baseline"]
    assert arms["control_lambda_zero"] == replace(arms["polychromic"], lambda_=0.0)
    assert params.warmstarts["control_beta_0"] == "baseline_warmstart"
    assert params.trained_by_sft == (*params.sft_arms, "control_lambda_zero")


def test_an_arm_that_is_called_as_a_control_is_reported():
    told = problems(GOOD.replace("\n  prompted: ", "\n  control_beta_0: "))
    assert any("beta_0: found arms.control_beta_0 as well, which this variant becomes" in line for line in told)


def test_a_reward_of_ones_own_is_named_by_module_and_function():
    own = "custom_rewards.example:brevity"
    assert parse_params(changed("arms.grpo_from_baseline.reward", own)).arms["grpo_from_baseline"].reward == own


def test_models_and_rewards_of_ones_own_have_to_be_where_dvc_sees_them_change(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my/base").mkdir(parents=True)
    (tmp_path / "mine.py").touch()
    (unwatched,) = problems(changed("assets.base_model", "my/base"))
    assert unwatched.endswith("a folder in assets.watched (local), which DVC watches. Set assets.watched: my/base.")
    assert parse_params(changed("assets.base_model", "my/base").replace("watched: local", "watched: my"))
    elsewhere = problems(changed("arms.grpo_from_baseline.reward", "mine:brevity"))  # its variants have it, too
    assert all("found mine:brevity; expected a function in custom_rewards/, which DVC" in line for line in elsewhere)


@pytest.mark.parametrize("value", ["1e-4", "1e-04", "1.0E-4", "0.0001"])
def test_numbers_mean_what_dvc_takes_them_for(value):
    """`dvc exp run -S ...=1e-4` writes what YAML 1.1 parsers take for text and DVC for a number."""
    assert parse_params(changed("arms.baseline.learning_rate", value)).arms["baseline"].learning_rate == 1e-4


@pytest.mark.parametrize(
    ("key", "value", "words"),  # key|what follows where the problem is inside its value
    [
        ("data.min_words", "three", 'found the text "three"; expected an integer >= 1'),
        ("data.min_words", '"3"', "Remove the quotes"),
        ("data.min_words", "true", "found the boolean true"),
        ("data.min_words", "3.0", "found the number 3.0"),
        ("data.min_words", "0", "found the integer 0; expected an integer >= 1. Choose"),
        ("data.min_words", "null", "found null"),
        ("data.min_words", "[3]", "found a list"),
        ("data.path", "2001-01-01", 'Quote it: "2001-01-01"'),
        ("data.path", '""', "text that is not empty (file or folder of the source)"),
        ("train.warmup_ratio", "1.5", "a number >= 0 and <= 1"),
        ("train.warmup_ratio", ".nan", ".nan"),
        ("train.weight_decay", ".inf", "expected a number >= 0"),
        ("train.weight_decay", "1e-2x", 'found the text "1e-2x"'),
        ("train.keep_best", "1", "expected true or false"),
        ("compute.processes", "0", "an integer >= 1"),
        ("compute.shard", "true", "found true, and processes: 1; expected two processes at least"),
        ("data.path", '"~/mine.csv"', "expected the whole path: DVC takes ~ for a name. Write /"),
        ("data.columns|.repply", "{repply: body}", "Did you mean reply?"),
        ("data.strip|[0]", "[handels]", "Did you mean handles?"),
        ("data.source", "chitchta", "Did you mean chitchat?"),
        ("data.source", "3", 'Quote it: "3"'),
        ("seeds", "[]", "at least one item"),
        ("seeds", "[1, 2, 1]", "1 more than once"),
        ("seeds|[1]", "[1, -2]", "an integer >= 0"),
        ("seeds", "42", "Write it as [a, b]"),
        ("sft_arms|[0]", "[base line]", "letters, digits and _"),
        ("arms.polychromic.objective", "polychrome", "polychromic?"),
        ("arms.polychromic.objective", "[polychromic]", "one of untouched, cross_entropy"),
        ("arms.polychromic.samples", "2", "an integer >= 3"),
        ("arms.polychromic.lambda", "-1", "a number >= 0"),
        ("arms.polychromic.posts_per_step", "99", "batch_size (16)"),
        ("arms.grpo_from_polychromic.loss_type", "papo", "Did you mean dapo?"),
        ("arms.grpo_from_polychromic.epsilon_high", "0", "null or a number > 0"),
        ("arms.grpo_from_polychromic.batch_size", "65", "at most the pairs of phase2_grpo (64)"),
        ("arms.grpo_from_polychromic.data", "phase3", "phase2_grpo"),
        ("arms.grpo_from_polychromic.reward", "lernt", "audience or module:function"),
        ("reward.weights.relevance", "-1", "a number >= 0"),
        ("reward.weights", "{relevance: 0, length: 0}", "at least one above 0"),
        ("reward.weights", "{}", "at least one item"),
        ("reward.weights|.2", "{2: 1.0}", "letters, digits and _"),
        ("reward.mix", "{heuristic: 0, learned: 0}", "at least one above 0"),
        ("reward.mix|.heuristics", "{heuristics: 1}", "Did you mean heuristic?"),
        ("controls.seed", "7", "one of seeds (42)"),
        ("controls.variants.beta_0", "{of: zero_shot}", "an arm that is trained"),
        ("controls.variants.beta_0", "{of: polychrom}", "Did you mean polychromic?"),
        ("controls.variants.beta_0", "{beta: 0.0}", "expected text"),
        ("experiment.compared|.baseline", "{baseline: zero_short, polychromic: zero_shot}", "Did you mean zero_shot?"),
        ("llm_judge.contrasts|[0].a", "[{a: base, b: zero_shot}]", "one of models"),
        ("llm_judge.contrasts|[0].b", "[{a: baseline}]", "no such key"),
        ("gaming.judge_fall", "0", "a number > 0 and <= 1"),
        ("alarms.kl_warn", "16", "at most alarms.kl_stop (15.0)"),
        ("evaluation.ks|[2]", "[1, 5, 11]", "at most n = sampling.samples (10)"),
        ("evaluation.ks", "[5, 10]", "1 among them"),
        ("models|[0]", "[zero_short]", "Did you mean zero_shot?"),
        ("untouched|[1]", "[zero_shot, baseline]", "objective untouched"),
        ("sft_arms|[1]", "[baseline_warmstart, baselin, polychromic_warmstart]", "Did you mean baseline?"),
        ("sft_arms|[0]", "[grpo_from_baseline]", "objective cross_entropy or polychromic"),
    ],
)
def test_a_bad_value_is_reported_with_its_line_and_key(key, value, words):
    place, _, inside = key.partition("|")
    [told] = [line for line in problems(changed(place, value)) if f":{place}{inside}: " in line]
    assert words in told
    number = int(told.split(":")[1])
    assert GOOD.split("\n")[number - 1].count(f"{place.rpartition('.')[2]}: ") == 1


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("  min_words: 3 ", "  min_wrods: 3 ", "data.min_wrods: found unknown key; expected a known key. Did you mean"),
        ("  epochs: 3 ", "  num_train_epochs: 3 ", "It is called epochs here."),
        ("sampling:\n", "samplings:\n", "samplings: found unknown key; expected a known key. Did you mean sampling?"),
        ("\narms:", "\narms: 3\nother:", "arms: found the integer 3; expected a mapping of names. Indent its keys"),
        ("\ncompute:", "\ncompute: 2\nother:", "compute: found the integer 2; expected a section of keys"),
        ("\n  zero_shot: {", "\n  zero_shot: 1 #", "arms.zero_shot: found the integer 1; expected a section of keys"),
        ("    objective: polychromic\n", "", "arms.polychromic: found no key objective"),
        ("\n  prompted: ", "\n  2prompted: ", "arms.2prompted: found 2prompted; expected a name of letters"),
        ("  beta_0: {of: grpo_from_baseline, ", "  beta_0: {of: polychromic, lambd: 0, ", "Did you mean lambda?"),
        ("  limit: 20000 ", "  min_words: 4 ", "data.min_words: found a second value; expected min_words once (first"),
        ("  min_words: 3 ", "  min_words: [3 ", "expected valid YAML"),
        ("  min_words: 3 ", "  min_words: !!python/none 3 ", "expected valid YAML"),
    ],
)  # fmt: skip
def test_a_bad_key_is_reported_with_its_line(old, new, told):
    assert GOOD.count(old) >= 1
    found = [line for line in problems(GOOD.replace(old, new, 1)) if told in line]
    assert len(found) == 1
    assert abs(int(found[0].split(":")[1]) - line_of(old)) <= 1


def test_a_missing_key_is_reported_at_its_section_and_an_empty_file_as_such():
    assert all("found an empty file" in problems(text)[0] for text in ("", "# only a comment\n"))
    text = re.sub("  limit: .*\n", "", GOOD)
    where = f"params.yaml:{line_of('data:')}:data.limit"
    assert problems(text) == [f"{where}: found no such key; expected an integer >= 0. Add `limit:` here."]


def test_a_sharded_base_is_computed_by_pytorch_and_not_in_4_bits():
    text = changed("compute.shard", "true").replace("  processes: 1 ", "  processes: 2 ")
    assert parse_params(text).compute.shard
    (compiled,) = problems(text.replace("  kernels: auto ", "  kernels: compiled "))
    assert "compute.shard: found true, and kernels: compiled; expected kernels: auto or torch." in compiled
    (in_4bit,) = problems(text.replace("  load_in_4bit: false ", "  load_in_4bit: true "))
    assert "compute.shard: found true, and assets.load_in_4bit: true; expected one of the two." in in_4bit


def test_a_key_that_has_moved_or_gone_is_answered_with_its_new_name_or_why(monkeypatch):
    monkeypatch.setitem(MOVED, "data.shortest", "It is called data.min_words here.")
    assert "It is called data.min_words here." in problems(GOOD.replace("  min_words:", "  shortest:"))[1]
    (told,) = problems(GOOD.replace("  max_dollars:", "  retries: 5\n  max_dollars:"))
    assert "llm_judge.retries: found unknown key; expected a known key. Delete it: the vendor's client" in told


def test_a_start_needs_its_warm_start_and_an_arm_for_each_recipe():
    text = changed("grpo_starts", "[baseline, polychromic, mine]")
    warmstart, arm = problems(text)
    assert "mine_warmstart" in warmstart
    assert "grpo_from_mine" in arm


def test_all_problems_are_reported_in_the_order_of_the_file_and_one_does_not_hide_another():
    text = changed("evaluation.ks", "[1, 11]").replace("min_words: 3", "min_words: x")
    text = text.replace("seeds: [42]", "seeds: []")
    keys = [line.split(": ")[0].split(":")[2] for line in problems(text)]
    assert keys == ["seeds", "data.min_words", "evaluation.ks[1]"]


def test_the_command_says_ok_or_reports_the_problems(tmp_path, capsys):
    path = tmp_path / "params.yaml"
    assert main([str(path)]) == 1
    assert "no such file" in capsys.readouterr().err
    path.write_text(GOOD)
    assert main([str(path)]) == 0
    assert load_params(path) == parse_params(GOOD)
    assert "ok (6 arms to train, 8 models to compare, 1 seed)" in capsys.readouterr().out
    path.write_text(changed("data.limit", "-1"))
    assert main([str(path)]) == 1
    assert f"{path}:{line_of('  limit')}:data.limit" in capsys.readouterr().err


def declared(kind):
    """(dotted key, rule) of every value in a section."""
    for key, hint in hints_of(kind).items():
        if is_dataclass(hint):
            yield from ((f"{key}.{inner}", rule) for inner, rule in declared(hint))
        elif get_origin(hint) is Annotated:
            yield key, hint.__metadata__[0]


def test_every_comment_of_a_key_is_the_one_that_is_declared_and_every_key_has_one():
    lines, places = GOOD.split("\n"), SettingsFile(GOOD, "params.yaml").places

    def comment(where):
        line = lines[places[where][0] - 1]
        own_line = line.lstrip().startswith(where.rpartition(".")[2] + ":")
        return line.partition("  # ")[2] if own_line else ""

    assert {where: comment(where) for where, _ in declared(Params)} == {k: rule.comment for k, rule in declared(Params)}
    explained = {("prompt", rule.comment) for key, rule in declared(UntouchedArm) if key == "prompt"}  # on one line
    arms = {name: type(arm) for name, arm in parse_params(GOOD).arms.items() if not name.startswith("control_")}
    every = [(name, key, rule) for name, kind in arms.items() for key, rule in declared(kind)]
    written = [one for one in every if f"arms.{one[0]}.{one[1]}" in places]  # another has its default
    for name, key, rule in written:
        assert comment(f"arms.{name}.{key}") in ("", rule.comment)
        explained |= {(key, comment(f"arms.{name}.{key}"))}
    assert {(key, rule.comment) for _, key, rule in written} <= explained


@pytest.mark.parametrize(
    "code",
    [
        "import polychrome.params; assert not {'torch', 'scipy'} & set(sys.modules)",  # every stage reads them first
        "sys.modules.update(pydantic=None, ruamel=None); import polychrome.training.loop",
    ],
)
def test_reading_parameters_does_not_wait_for_training_nor_training_need_what_reads_them(code):
    assert subprocess.run([sys.executable, "-c", f"import sys; {code}"], env=os.environ, check=False).returncode == 0
