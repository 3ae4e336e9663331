"""params.yaml is checked as a whole: every problem at once, each with its line and key."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from polychrome.errors import InputError
from polychrome.models.settings import UntouchedArm
from polychrome.params import load_params, main, parse_params
from polychrome.training.settings import CrossEntropyArm, GrpoArm, PolychromicArm

REPOSITORY = Path(__file__).parents[1]

GOOD = """\
seeds: [42]
sft_arms: [baseline, baseline_warmstart, polychromic]
grpo_recipes: [grpo_from]
grpo_starts: [baseline]
untouched: [zero_shot, prompted]
models: [zero_shot, baseline, grpo_from_baseline]
assets: {base_model: some-model, encoder: some-encoder, conversations: chitchat, load_in_4bit: false}
compute: {dtype: auto, threads: 2, kernels: auto, memory_mib: 1024}
data:
  source: chitchat
  path: replies.jsonl
  min_words: 3
  max_post_words: 25
  max_reply_words: 18
  near_duplicate: 0.8
  limit: 0
split:
  {seed: 7, phase1_pairs: 32, phase2_pairs: 16, test_pairs: 8, validation_pairs: 4, judge_pairs: 60,
   reward_pairs: 60, near_duplicate: 1, min_p: 0.05}
prompt: {plain: Reply., max_prompt_tokens: 96, max_reply_tokens: 32}
lora: {rank: 16, alpha: 32, dropout: 0.0, layers: 0, targets: [q_proj]}
train:
  weight_decay: 0.01
  warmup_ratio: 0.1
  max_grad_norm: 1.0
  gradient_accumulation: 1
  checkpoint_every: 10
  evaluate_every: 0
  patience: 0
  keep_best: false
arms:
  zero_shot: {objective: untouched, prompt: Reply.}
  prompted: {objective: untouched, prompt: Reply well.}
  baseline: &sft {objective: cross_entropy, data: full, epochs: 3, learning_rate: 1e-4, batch_size: 8}
  baseline_warmstart: *sft
  polychromic:
    objective: polychromic
    data: phase1_sft
    epochs: 2
    learning_rate: 1.0e-4
    batch_size: 8
    lambda: 0.5
    diversity: semantic
    samples: 4
    posts_per_step: 4
    diversity_temperature: 1.0
    max_new_tokens: 24
    gate: true
  grpo_from_baseline:
    objective: grpo
    data: phase2_grpo
    epochs: 3
    learning_rate: 1.0e-5
    batch_size: 4
    num_generations: 4
    beta: 0.1
    epsilon: 0.2
    epsilon_high: null
    num_iterations: 1
    loss_type: dapo
    scale_rewards: group
    temperature: 0.8
    top_p: 1.0
    top_k: 0
    max_new_tokens: 24
    reward: heuristic
    shuffle_rewards: false
sampling: {samples: 10, temperature: 0.8, top_p: 1.0, top_k: 0, max_new_tokens: 24}
reward:
  weights: {relevance: 1, length: 0.5}
  mix: {heuristic: 1, learned: 1}
  diversity_form: none
  diversity_weight: 0.2
  learned: {learning_rate: 0.001, penalty: 1.0, epochs: 5, patience: 2}
alarms: {kl_warn: 10, kl_stop: 15, reward_flat_steps: 20, length_collapse_ratio: 0.3}
evaluation: {ks: [1, 5, 10], bootstrap: 1000, confidence: 0.95, alpha: 0.05}
gaming: {judge_fall: 0.25, length_change: 0.5, genericness_rise: 0.15, copy_rise: 0.1, repetition_rise: 0.05,
         near_identical_rise: 0.15, truncation_rise: 0.15, near_identical: 0.6}
report: {price_per_hour: 0.1, currency: USD}
llm_judge:
  contrasts: [{a: baseline, b: zero_shot}]
  backend: openai
  model: local
  base_url: ""
  answer: auto
  temperature: null
  max_tokens: 512
  timeout_s: 60
  retries: 5
  requests_per_minute: 50
  max_dollars: 1
  max_calls: 1000
  dollars_per_million_input: 1
  dollars_per_million_output: 2
  posts: 0
  replies: 0
  rubric: ""
  cache: .cache/llm_judge
  seed: 0
controls:
  seed: 42
  variants:
    free: {of: grpo_from_baseline, beta: 0.0}
    plain: {of: polychromic, lambda: 0.0}
"""


def problems(*changes: tuple[str, str]) -> list[str]:
    """What is told about the good file when each ``(old, new)`` has been put in, once each."""
    text = GOOD
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    with pytest.raises(InputError) as caught:
        parse_params(text)
    return str(caught.value).split("\n")


def line_of(words: str) -> int:
    return GOOD[: GOOD.index(words)].count("\n") + 1


def test_the_shipped_file_is_good():
    load_params(REPOSITORY / "params.yaml")


def test_a_good_file_becomes_nested_dataclasses_with_the_types_they_declare():
    params = parse_params(GOOD)
    assert params.data.min_words == 3
    assert params.lora.targets == ("q_proj",)
    assert isinstance(params.lora.alpha, float)  # an integer is a number
    assert isinstance(params.arms["zero_shot"], UntouchedArm)
    assert isinstance(params.arms["baseline"], CrossEntropyArm)
    assert isinstance(params.arms["grpo_from_baseline"], GrpoArm)
    assert params.arms["grpo_from_baseline"].epsilon_high is None
    polychromic = params.arms["polychromic"]
    assert isinstance(polychromic, PolychromicArm)
    assert polychromic.lambda_ == 0.5
    assert params.reward.weights == {"relevance": 1.0, "length": 0.5}
    assert params.warmstarts["grpo_from_baseline"] == "baseline_warmstart"


def test_a_control_is_an_arm_with_some_keys_changed():
    params = parse_params(GOOD)
    arms = params.arms
    assert arms["control_free"] == replace(arms["grpo_from_baseline"], beta=0.0) != arms["grpo_from_baseline"]
    assert arms["control_plain"] == replace(arms["polychromic"], lambda_=0.0)
    assert params.warmstarts["control_free"] == "baseline_warmstart"
    assert params.trained_by_sft == ("baseline", "baseline_warmstart", "polychromic", "control_plain")


def test_a_reward_of_ones_own_is_named_by_module_and_function():
    params = parse_params(GOOD.replace("    reward: heuristic", "    reward: custom_rewards.example:brevity"))
    assert params.arms["grpo_from_baseline"].reward == "custom_rewards.example:brevity"


def test_numbers_mean_what_dvc_takes_them_for():
    """`dvc exp run -S ...=1e-5` writes `1e-05`, which YAML 1.1 parsers take for text and DVC for a number."""
    assert parse_params(GOOD).arms["baseline"].learning_rate == 1e-4


def test_nothing_read_can_be_changed_afterwards():
    with pytest.raises(AttributeError):
        parse_params(GOOD).data.min_words = 4


@pytest.mark.parametrize(
    ("old", "new", "key", "words"),
    [
        ("  min_words: 3", "  min_wrods: 3", "data.min_wrods", "Did you mean min_words?"),
        ("  min_words: 3", "  min_words: three", "data.min_words", 'found the text "three"; expected an integer >= 1'),
        ("  min_words: 3", '  min_words: "3"', "data.min_words", "Take the quotes away"),
        ("  min_words: 3", "  min_words: true", "data.min_words", "found the boolean true"),
        ("  min_words: 3", "  min_words: 3.0", "data.min_words", "found the number 3.0"),
        ("  min_words: 3", "  min_words: 0", "data.min_words", "found the integer 0; expected an integer >= 1"),
        ("  min_words: 3", "  min_words:", "data.min_words", "found null"),
        ("  min_words: 3", "  min_words: [3]", "data.min_words", "found a list"),
        ("  warmup_ratio: 0.1", "  warmup_ratio: 1.5", "train.warmup_ratio", "a number >= 0 and <= 1"),
        ("  warmup_ratio: 0.1", "  warmup_ratio: .nan", "train.warmup_ratio", ".nan"),
        ("  weight_decay: 0.01", "  weight_decay: .inf", "train.weight_decay", "expected a number >= 0"),
        ("  warmup_ratio: 0.1", '  warmup_ratio: "1e-5"', "train.warmup_ratio", "Take the quotes away"),
        ("  source: chitchat", "  source: chitchta", "data.source", "Did you mean chitchat?"),
        ("  source: chitchat", "  source: 3", "data.source", 'Quote it: "3"'),
        ("  path: replies.jsonl", '  path: ""', "data.path", "file or folder of the source"),
        (
            "compute: {dtype: auto, threads: 2, kernels: auto, memory_mib: 1024}",
            "compute: 2",
            "compute",
            "a section of keys",
        ),
        ("seeds: [42]", "seeds: []", "seeds", "at least one item"),
        ("seeds: [42]", "seeds: [1, 2, 1]", "seeds", "1 more than once"),
        ("seeds: [42]", "seeds: [1, -2]", "seeds[1]", "an integer >= 0"),
        ("seeds: [42]", "seeds: 42", "seeds", "Write it as [a, b]"),
        ("sft_arms: [baseline,", "sft_arms: [base line,", "sft_arms[0]", "letters, digits and _"),
        ("    objective: polychromic", "    objective: polychrome", "arms.polychromic.objective", "polychromic?"),
        ("    samples: 4", "    samples: 2", "arms.polychromic.samples", "an integer >= 3"),
        ("    lambda: 0.5", "    lambda: -1", "arms.polychromic.lambda", "a number >= 0"),
        ("    posts_per_step: 4", "    posts_per_step: 9", "arms.polychromic.posts_per_step", "batch_size (8)"),
        ("    num_generations: 4", "    num_generations: 1", "arms.grpo_from_baseline.num_generations", ">= 2"),
        ("    loss_type: dapo", "    loss_type: papo", "arms.grpo_from_baseline.loss_type", "Did you mean dapo?"),
        (
            "    epsilon_high: null",
            "    epsilon_high: 0",
            "arms.grpo_from_baseline.epsilon_high",
            "null or a number > 0",
        ),
        ("    batch_size: 4", "    batch_size: 17", "arms.grpo_from_baseline.batch_size", "(16)"),
        ("data: phase2_grpo", "data: phase3", "arms.grpo_from_baseline.data", "phase2_grpo"),
        ("relevance: 1, length: 0.5", "relevance: 0, length: 0", "reward.weights", "at least one above 0"),
        ("heuristic: 1, learned: 1", "heuristic: 0, learned: 0", "reward.mix", "at least one above 0"),
        ("mix: {heuristic: 1,", "mix: {heuristics: 1,", "reward.mix.heuristics", "Did you mean heuristic?"),
        ("  seed: 42\n  variants", "  seed: 7\n  variants", "controls.seed", "one of seeds (42)"),
        ("    reward: heuristic", "    reward: lernt", "arms.grpo_from_baseline.reward", "hybrid or module:function"),
        ("{of: polychromic, lambda: 0.0}", "{of: zero_shot}", "controls.variants.plain", "an arm that is trained"),
        ("{of: polychromic, lambda: 0.0}", "{of: polychrom}", "controls.variants.plain", "Did you mean polychromic?"),
        ("{of: polychromic, lambda: 0.0}", "{lambda: 0.0}", "controls.variants.plain", "text"),
        ("{of: polychromic, lambda: 0.0}", "{of: polychromic, lambd: 0}", "arms.control_plain.lambd", "mean lambda?"),
        ("{a: baseline, b: zero_shot}", "{a: base, b: zero_shot}", "llm_judge.contrasts[0].a", "one of models"),
        ("{a: baseline, b: zero_shot}", "{a: baseline}", "llm_judge.contrasts[0].b", "no such key"),
        ("judge_fall: 0.25", "judge_fall: 0", "gaming.judge_fall", "a number > 0 and <= 1"),
        ("kl_warn: 10", "kl_warn: 16", "alarms.kl_warn", "alarms.kl_stop (15.0)"),
        ("ks: [1, 5, 10]", "ks: [1, 5, 11]", "evaluation.ks[2]", "at most n = sampling.samples (10)"),
        ("ks: [1, 5, 10]", "ks: [5, 10]", "evaluation.ks", "1 among them"),
        ("models: [zero_shot,", "models: [zero_short,", "models[0]", "Did you mean zero_shot?"),
        ("sft_arms: [baseline,", "sft_arms: [baselin,", "sft_arms[0]", "Did you mean baseline?"),
        ("untouched: [zero_shot,", "untouched: [baseline, zero_shot,", "untouched[0]", "objective untouched"),
        ("sft_arms: [baseline,", "sft_arms: [grpo_from_baseline,", "sft_arms[0]", "cross_entropy or polychromic"),
    ],
)
def test_a_bad_value_is_told_with_its_line_and_key(old, new, key, words):
    told = [line for line in problems((old, new)) if f":{key}: " in line]
    assert len(told) == 1
    assert words in told[0]
    line = line_of(old)
    assert told[0].startswith(f"params.yaml:{line}:")


def test_a_start_needs_its_warm_start_and_an_arm_for_each_recipe():
    told = problems(("grpo_starts: [baseline]", "grpo_starts: [baseline, polychromic]"))
    assert ["polychromic_warmstart" in told[0], "grpo_from_polychromic" in told[1]] == [True, True]
    assert len(told) == 2


def test_a_missing_key_is_told_at_its_section():
    assert problems(("  limit: 0\n", "")) == [
        f"params.yaml:{line_of('data:')}:data.limit: found no such key; expected an integer >= 0. Add `limit:` here."
    ]


def test_a_key_given_twice_is_told_where_it_is_second():
    [told] = problems(("  limit: 0\n", "  limit: 0\n  min_words: 4\n"))
    assert told.startswith(f"params.yaml:{line_of('  limit') + 1}:data.min_words: found a second value")


def test_an_arm_without_objective_is_told():
    assert "no key objective" in problems(("    objective: grpo\n", ""))[0]


def test_all_problems_are_told_in_the_order_of_the_file_and_one_does_not_hide_another():
    told = problems(
        ("  min_words: 3", "  min_words: x"), ("ks: [1, 5, 10]", "ks: [1, 11]"), ("seeds: [42]", "seeds: []")
    )
    assert [line.split(": ")[0].split(":")[2] for line in told] == ["seeds", "data.min_words", "evaluation.ks[1]"]


def test_broken_yaml_is_told_with_its_line():
    [told] = problems(("  min_words: 3", "  min_words: [3"))
    assert told.startswith("params.yaml:")
    assert "expected valid YAML" in told


@pytest.mark.parametrize("text", ["", "# only a comment\n"])
def test_an_empty_file_is_told(text):
    with pytest.raises(InputError, match="an empty file"):
        parse_params(text)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_params(tmp_path / "params.yaml")


def test_the_command_says_ok_or_tells_the_problems(tmp_path, capsys):
    path = tmp_path / "params.yaml"
    path.write_text(GOOD)
    assert main([str(path)]) == 0
    assert "ok (4 arms to train, 3 models to compare, 1 seeds)" in capsys.readouterr().out
    path.write_text(GOOD.replace("limit: 0", "limit: -1"))
    assert main([str(path)]) == 1
    assert f"{path}:{line_of('  limit')}:data.limit" in capsys.readouterr().err


def test_reading_parameters_does_not_wait_for_torch():
    """Every stage and every preset switch reads them first."""
    code = "import sys, polychrome.params; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ, check=False).returncode == 0
