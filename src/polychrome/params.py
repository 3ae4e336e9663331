"""params.yaml, read and checked: every problem told at once, each as file:line:key.

A section is a frozen dataclass and a key is one line in it, with its range beside its type; a new key is one
line here and one in params.yaml. The file is read by the parser DVC reads it with (YAML 1.2), so that it means
the same to the stages as to `dvc status`. Run `python -m polychrome.params` to check the file alone.
"""

from __future__ import annotations

import difflib
import math
import re
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from polychrome.errors import InputError, Problem, bad
from polychrome.paths import CONTROL

SOURCES = ("chitchat", "tweets")
REWARDS = r"heuristic|learned|hybrid|[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*"
SFT_DATA = ("full", "phase1_sft")  # what the stage sft depends on
GRPO_DATA = ("phase2_grpo",)  # what the stage grpo depends on
NAME = r"[A-Za-z][A-Za-z0-9_]*"  # arms name folders and DVC stages


def key(
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: Sequence[str] | None = None,
    pattern: str | None = None,
    words: str | None = None,
    empty: bool = True,
    unique: bool = False,
) -> Any:
    """One key of a section. Bounds, choices and pattern hold for a value, or for each item of a list or mapping.

    ``words`` says in words what ``pattern`` matches. ``empty=False`` wants at least one item or character;
    ``unique=True`` wants no item twice.
    """
    given = {name: value for name, value in locals().items() if value is not None}
    return field(metadata=given)


# --- sections -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class AssetParams:
    """Where the pretrained parts come from."""

    base_model: str = key(empty=False)
    encoder: str = key(empty=False)
    conversations: str = key(choices=("chitchat", "none"))
    load_in_4bit: bool


@dataclass(frozen=True, kw_only=True)
class ComputeParams:
    """What the machine is asked for."""

    dtype: str = key(choices=("auto", "float32", "bfloat16"))
    threads: int = key(minimum=1)
    kernels: str = key(choices=("auto", "compiled", "torch"))
    memory_mib: int = key(minimum=64)


@dataclass(frozen=True, kw_only=True)
class DataParams:
    """The source and its cleaning thresholds."""

    source: str = key(choices=SOURCES)
    path: str
    min_words: int = key(minimum=1)
    max_post_words: int = key(minimum=1)
    max_reply_words: int = key(minimum=1)
    near_duplicate: float = key(above=0, maximum=1)
    limit: int = key(minimum=0)


@dataclass(frozen=True, kw_only=True)
class SplitParams:
    """Sizes of the phases and the thresholds that may fail the stage."""

    seed: int = key(minimum=0)
    phase1_pairs: int = key(minimum=4)
    phase2_pairs: int = key(minimum=4)
    test_pairs: int = key(minimum=4)
    validation_pairs: int = key(minimum=4)
    judge_pairs: int = key(minimum=50)
    reward_pairs: int = key(minimum=50)
    near_duplicate: float = key(above=0, maximum=1)
    min_p: float = key(minimum=0, below=1)


@dataclass(frozen=True, kw_only=True)
class PromptParams:
    """System prompts and token limits."""

    plain: str = key(empty=False)
    max_prompt_tokens: int = key(minimum=1)
    max_reply_tokens: int = key(minimum=1)


@dataclass(frozen=True, kw_only=True)
class LoraParams:
    """The adapter."""

    rank: int = key(minimum=1)
    alpha: float = key(above=0)
    dropout: float = key(minimum=0, below=1)
    layers: int = key(minimum=0)
    targets: tuple[str, ...] = key(empty=False, unique=True)


@dataclass(frozen=True, kw_only=True)
class TrainParams:
    """The training loop, common to all arms."""

    weight_decay: float = key(minimum=0)
    warmup_ratio: float = key(minimum=0, maximum=1)
    max_grad_norm: float = key(above=0)
    gradient_accumulation: int = key(minimum=1)
    checkpoint_every: int = key(minimum=1)
    evaluate_every: int = key(minimum=0)
    patience: int = key(minimum=0)
    keep_best: bool


@dataclass(frozen=True, kw_only=True)
class UntouchedArm:
    """The base model as it is."""

    objective: str = key(choices=("untouched",))
    prompt: str = key(empty=False)


@dataclass(frozen=True, kw_only=True)
class CrossEntropyArm:
    """An arm trained by cross-entropy alone."""

    objective: str = key(choices=("cross_entropy",))
    data: str = key(choices=SFT_DATA)
    epochs: int = key(minimum=1)
    learning_rate: float = key(above=0)
    batch_size: int = key(minimum=1)


@dataclass(frozen=True, kw_only=True)
class PolychromicArm:
    """An arm trained by cross-entropy minus lambda times set diversity."""

    objective: str = key(choices=("polychromic",))
    data: str = key(choices=SFT_DATA)
    epochs: int = key(minimum=1)
    learning_rate: float = key(above=0)
    batch_size: int = key(minimum=1)
    lambda_: float = key(minimum=0)
    diversity: str = key(choices=("semantic", "self_bleu", "distinct_n"))
    samples: int = key(minimum=3)  # the leave-one-out baseline is a mean over pairs of the others
    posts_per_step: int = key(minimum=1)
    diversity_temperature: float = key(above=0)
    max_new_tokens: int = key(minimum=1)
    gate: bool


@dataclass(frozen=True, kw_only=True)
class GrpoArm:
    """An arm trained by GRPO from a warm-start; names and meanings are those of TRL's GRPOConfig."""

    objective: str = key(choices=("grpo",))
    data: str = key(choices=GRPO_DATA)
    epochs: int = key(minimum=1)
    learning_rate: float = key(above=0)
    batch_size: int = key(minimum=1)
    num_generations: int = key(minimum=2)
    beta: float = key(minimum=0)
    epsilon: float = key(above=0)
    epsilon_high: float | None = key(above=0)
    num_iterations: int = key(minimum=1)
    loss_type: str = key(choices=("grpo", "bnpo", "dr_grpo", "dapo"))
    scale_rewards: str = key(choices=("group", "none"))
    temperature: float = key(above=0)
    top_p: float = key(above=0, maximum=1)
    top_k: int = key(minimum=0)
    max_new_tokens: int = key(minimum=1)
    reward: str = key(pattern=REWARDS, words="heuristic, learned, hybrid or module:function")
    shuffle_rewards: bool


Arm = UntouchedArm | CrossEntropyArm | PolychromicArm | GrpoArm  # told apart by the key `objective`


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """How every model answers the test posts."""

    samples: int = key(minimum=1)
    temperature: float = key(above=0)
    top_p: float = key(above=0, maximum=1)
    top_k: int = key(minimum=0)
    max_new_tokens: int = key(minimum=1)


@dataclass(frozen=True, kw_only=True)
class RewardParams:
    """What the rewards are made of."""

    weights: Mapping[str, float] = key(minimum=0, empty=False)
    mix: Mapping[str, float] = key(minimum=0, empty=False)
    diversity_form: str = key(choices=("none", "additive", "multiplicative"))
    diversity_weight: float = key(minimum=0)
    learned: LearnedRewardParams


@dataclass(frozen=True, kw_only=True)
class LearnedRewardParams:
    """How the learned reward is trained."""

    learning_rate: float = key(above=0)
    penalty: float = key(minimum=0)
    epochs: int = key(minimum=1)
    patience: int = key(minimum=1)


@dataclass(frozen=True, kw_only=True)
class AlarmParams:
    """When training warns and when it stops."""

    kl_warn: float = key(above=0)
    kl_stop: float = key(above=0)
    reward_flat_steps: int = key(minimum=0)
    length_collapse_ratio: float = key(minimum=0, below=1)


@dataclass(frozen=True, kw_only=True)
class EvaluationParams:
    """Metrics and the statistics that compare models."""

    ks: tuple[int, ...] = key(minimum=1, empty=False, unique=True)
    bootstrap: int = key(minimum=1)
    confidence: float = key(above=0, below=1)
    alpha: float = key(above=0, below=1)


@dataclass(frozen=True, kw_only=True)
class GamingParams:
    """From where on a change between the first and the last epoch of GRPO counts."""

    judge_fall: float = key(above=0, maximum=1)
    length_change: float = key(above=0, maximum=1)
    genericness_rise: float = key(above=0, maximum=1)
    copy_rise: float = key(above=0, maximum=1)
    repetition_rise: float = key(above=0, maximum=1)
    near_identical_rise: float = key(above=0, maximum=1)
    truncation_rise: float = key(above=0, maximum=1)
    near_identical: float = key(above=0, maximum=1)


@dataclass(frozen=True, kw_only=True)
class LlmContrast:
    """Two models whose sets an LLM compares."""

    a: str = key(pattern=NAME)
    b: str = key(pattern=NAME)


@dataclass(frozen=True, kw_only=True)
class LlmJudgeParams:
    """The LLM judge: which endpoint, which model, what it may cost."""

    contrasts: tuple[LlmContrast, ...]
    backend: str = key(choices=("anthropic", "openai"))
    model: str = key(empty=False)
    base_url: str
    answer: str = key(choices=("auto", "tool", "json_schema", "json"))
    temperature: float | None = key(minimum=0)
    max_tokens: int = key(minimum=1)
    timeout_s: float = key(above=0)
    retries: int = key(minimum=0)
    requests_per_minute: float = key(above=0)
    max_dollars: float = key(minimum=0)
    max_calls: int = key(minimum=0)
    dollars_per_million_input: float = key(minimum=0)
    dollars_per_million_output: float = key(minimum=0)
    posts: int = key(minimum=0)
    replies: int = key(minimum=0)
    rubric: str
    cache: str = key(empty=False)
    seed: int = key(minimum=0)


@dataclass(frozen=True, kw_only=True)
class ReportParams:
    """What the report page says of cost."""

    price_per_hour: float = key(minimum=0)
    currency: str = key(empty=False)


@dataclass(frozen=True, kw_only=True)
class ControlsParams:
    """What `make controls` trains: each variant is the arm of that name with some keys changed."""

    seed: int = key(minimum=0)
    variants: Mapping[str, str]  # name -> the arm that it is a variant of; the variant is arms.control_<name>


@dataclass(frozen=True, kw_only=True)
class Params:
    """params.yaml as a whole."""

    seeds: tuple[int, ...] = key(minimum=0, empty=False, unique=True)
    sft_arms: tuple[str, ...] = key(pattern=NAME, unique=True)
    grpo_recipes: tuple[str, ...] = key(pattern=NAME, unique=True)
    grpo_starts: tuple[str, ...] = key(pattern=NAME, unique=True)
    untouched: tuple[str, ...] = key(pattern=NAME, unique=True)
    models: tuple[str, ...] = key(pattern=NAME, empty=False, unique=True)
    assets: AssetParams
    compute: ComputeParams
    data: DataParams
    split: SplitParams
    prompt: PromptParams
    lora: LoraParams
    train: TrainParams
    arms: Mapping[str, Arm] = key(empty=False)
    sampling: SamplingParams
    reward: RewardParams
    alarms: AlarmParams
    evaluation: EvaluationParams
    gaming: GamingParams
    report: ReportParams
    llm_judge: LlmJudgeParams
    controls: ControlsParams

    @property
    def warmstarts(self) -> dict[str, str]:
        """Each GRPO arm with the SFT arm that it starts from: ``<recipe>_<start>`` -> ``<start>_warmstart``.

        A control starts where the arm does that it is a variant of.
        """
        of_arms = {
            f"{recipe}_{start}": f"{start}_warmstart" for recipe in self.grpo_recipes for start in self.grpo_starts
        }
        return of_arms | {name: of_arms[arm] for name, arm in self._controls.items() if arm in of_arms}

    @property
    def trained_by_sft(self) -> tuple[str, ...]:
        """Every arm that the stage `sft` can train, controls among them."""
        return (*self.sft_arms, *(name for name, arm in self._controls.items() if arm in self.sft_arms))

    @property
    def _controls(self) -> dict[str, str]:
        return {f"{CONTROL}{name}": arm for name, arm in self.controls.variants.items()}


def load_params(path: str | Path = "params.yaml") -> Params:
    """Read and check ``path``. Raises InputError with every problem found, each as ``path:line:key``."""
    path = Path(path)
    if not path.is_file():
        raise bad(str(path), "no such file", "the parameters", "Run from the repository root.")
    return parse_params(path.read_text(encoding="utf-8"), str(path))


def parse_params(text: str, name: str = "params.yaml") -> Params:
    """Check the text of a parameter file; ``name`` is what problems call it. Raises InputError."""
    reader = _Reader(name)
    params = reader.read(text)
    if params is not _BAD:
        reader.problems.extend(_cross_checks(params, reader))
    if reader.problems:
        raise InputError(sorted(reader.problems, key=lambda problem: int(problem.where[len(name) + 1 :].split(":")[0])))
    return params


# --- what must agree between keys -----------------------------------------------------------------------------------


def _cross_checks(params: Params, reader: _Reader) -> Iterator[Problem]:
    """Problems between keys that are each well-formed; a check skips what is already told as bad."""
    for check in (
        _untouched_arms_exist,
        _sft_arms_exist,
        _grpo_arms_exist,
        _controls_exist,
        _llm_contrasts_known,
        _models_known,
        _arms_fit_data,
        _numbers_agree,
    ):
        yield from check(params, reader)


def _sft_arms_exist(params: Params, reader: _Reader) -> Iterator[Problem]:
    for index, name in enumerate(_known(params.sft_arms)):
        yield from _arm_is(params, reader, f"sft_arms[{index}]", name, (CrossEntropyArm, PolychromicArm))


def _grpo_arms_exist(params: Params, reader: _Reader) -> Iterator[Problem]:
    for index, start in enumerate(_known(params.grpo_starts)):
        where = f"grpo_starts[{index}]"
        if params.sft_arms is not _BAD and f"{start}_warmstart" not in params.sft_arms:
            expected = f"{start}_warmstart, which {start} starts from, in sft_arms"
            yield reader.problem(where, start, expected, "Add it to sft_arms, or drop this start.")
        for recipe in _known(params.grpo_recipes):
            yield from _arm_is(params, reader, where, f"{recipe}_{start}", (GrpoArm,))


def _arm_is(params: Params, reader: _Reader, where: str, name: str, kinds: tuple[type, ...]) -> Iterator[Problem]:
    arms = params.arms
    objectives = " or ".join(_objective(kind) for kind in kinds)
    if arms is _BAD or (name in arms and arms[name] is _BAD):
        return
    if name not in arms:
        yield reader.problem(where, name, f"an arm under arms: with objective {objectives}", _nearest(name, arms))
    elif not isinstance(arms[name], kinds):
        found = f"{name} with objective {_objective(type(arms[name]))}"
        yield reader.problem(where, found, f"objective {objectives}", "List it where its objective belongs.")


def _llm_contrasts_known(params: Params, reader: _Reader) -> Iterator[Problem]:
    contrasts = () if params.llm_judge is _BAD else _known(params.llm_judge.contrasts)
    models = _known(params.models)
    for index, contrast in enumerate(contrasts if models else ()):
        for side in ("a", "b"):
            name = getattr(contrast, side)
            if name is not _BAD and name not in models:
                where = f"llm_judge.contrasts[{index}].{side}"
                yield reader.problem(where, name, f"one of models: {', '.join(models)}", _nearest(name, models))


def _controls_exist(params: Params, reader: _Reader) -> Iterator[Problem]:
    parts = (params.controls, params.sft_arms, params.grpo_recipes, params.grpo_starts)
    if any(part is _BAD for part in parts) or params.controls.variants is _BAD:
        return
    known = (*params.sft_arms, *(f"{recipe}_{start}" for recipe in params.grpo_recipes for start in params.grpo_starts))
    seed, seeds = params.controls.seed, _known(params.seeds)
    if seeds and seed is not _BAD and seed not in seeds:
        expected = f"one of seeds ({', '.join(map(str, seeds))}): controls start from and are set beside its models"
        yield reader.problem("controls.seed", seed, expected, "Name one of them.")
    for name, arm in params.controls.variants.items():
        if arm is not _BAD and arm not in known:
            expected = f"an arm that is trained: {', '.join(known)}"
            yield reader.problem(f"controls.variants.{name}", f"of {arm}", expected, _nearest(arm, known))


def _models_known(params: Params, reader: _Reader) -> Iterator[Problem]:
    parts = (params.models, params.untouched, params.sft_arms, params.grpo_recipes, params.grpo_starts)
    if any(part is _BAD for part in parts):
        return
    known = (*params.untouched, *params.sft_arms, *params.warmstarts)
    for index, name in enumerate(params.models):
        if name not in known:
            yield reader.problem(f"models[{index}]", name, f"one of {', '.join(known)}", _nearest(name, known))


def _arms_fit_data(params: Params, reader: _Reader) -> Iterator[Problem]:
    """A step's diverse posts are among its batch, and a batch is among the arm's data."""
    split = params.split
    for name, arm in _known(params.arms, {}).items():
        if isinstance(arm, PolychromicArm) and _all_good(arm.posts_per_step, arm.batch_size):
            yield from _at_most(reader, f"arms.{name}.posts_per_step", arm.posts_per_step, "batch_size", arm.batch_size)
        if not _all_good(arm, split) or isinstance(arm, UntouchedArm):
            continue
        if not _all_good(arm.data, arm.batch_size, split.phase1_pairs, split.phase2_pairs):
            continue
        phases = {"phase1_sft": split.phase1_pairs, "phase2_grpo": split.phase2_pairs}
        pairs = phases.get(arm.data, sum(phases.values()))
        yield from _at_most(reader, f"arms.{name}.batch_size", arm.batch_size, f"the pairs of {arm.data}", pairs)


def _untouched_arms_exist(params: Params, reader: _Reader) -> Iterator[Problem]:
    for index, name in enumerate(_known(params.untouched)):
        yield from _arm_is(params, reader, f"untouched[{index}]", name, (UntouchedArm,))


def _at_most(reader: _Reader, dotted: str, value: float, name: str, limit: float) -> Iterator[Problem]:
    if value > limit:
        yield reader.problem(dotted, value, f"at most {name} ({limit})", "Lower this, or raise that.")


def _numbers_agree(params: Params, reader: _Reader) -> Iterator[Problem]:
    evaluation, sampling, alarms, data = params.evaluation, params.sampling, params.alarms, params.data
    if _all_good(evaluation, sampling) and _all_good(evaluation.ks, sampling.samples):
        for index, k in enumerate(evaluation.ks):
            yield from _at_most(reader, f"evaluation.ks[{index}]", k, "n = sampling.samples", sampling.samples)
    if alarms is not _BAD and _all_good(alarms.kl_warn, alarms.kl_stop):
        yield from _at_most(reader, "alarms.kl_warn", alarms.kl_warn, "alarms.kl_stop", alarms.kl_stop)
    if evaluation is not _BAD and _all_good(evaluation.ks) and 1 not in evaluation.ks:
        found = str(list(evaluation.ks))
        yield reader.problem("evaluation.ks", found, "1 among them, which the plane shows", "Add 1.")
    if data is not _BAD and _all_good(data.path) and not data.path:
        yield reader.problem("data.path", '""', "the file or folder of the source", "Name it.")
    mix = {} if params.reward is _BAD else _known(params.reward.mix, {})
    for name in mix:
        if name not in ("heuristic", "learned"):
            remedy = _nearest(name, ("heuristic", "learned"))
            yield reader.problem(f"reward.mix.{name}", name, "heuristic or learned", remedy)
    for name in ("weights", "mix"):
        weights = params.reward if params.reward is _BAD else getattr(params.reward, name)
        if weights is not _BAD and not any(value is _BAD or value > 0 for value in weights.values()):
            yield reader.problem(f"reward.{name}", "no weight above 0", "at least one above 0", "Raise one.")


# --- the reader -----------------------------------------------------------------------------------------------------


class _Bad:
    """Stands where a value was told as a problem, so that reading goes on."""


_BAD: Any = _Bad()
_NONE = type(None)


def _all_good(*values: Any) -> bool:
    return not any(value is _BAD for value in values)


def _known(value: Any, otherwise: Any = ()) -> Any:
    return otherwise if value is _BAD else value


class _Reader:
    """Turns YAML nodes into the dataclasses above, collecting problems and the line of every key."""

    def __init__(self, name: str):
        self.name = name
        self.problems: list[Problem] = []
        self.lines: dict[str, int] = {}
        self.yaml = YAML(typ="safe", pure=True)

    def read(self, text: str) -> Any:
        try:
            node = self.yaml.compose(text)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            found = " ".join(filter(None, (error.context, error.problem)))
            where = f"{self.name}:{mark.line + 1 if mark else 1}"
            self.problems.append(Problem(where, found, "valid YAML", "Mend the line (often its indentation)."))
            return _BAD
        if node is None:
            self.problems.append(Problem(f"{self.name}:1", "an empty file", "the parameters", "Restore the file."))
            return _BAD
        self.add_variants(node)
        return self.section(Params, node, "")

    def add_variants(self, root: Node) -> None:
        """Write every variant under ``controls`` out in full under ``arms``, and leave its arm's name in its place."""
        arms, variants = _child(root, "arms"), _child(_child(root, "controls"), "variants")
        if not isinstance(arms, MappingNode) or not isinstance(variants, MappingNode):
            return
        known = {str(name.value): arm for name, arm in arms.value}
        for place, (name, changes) in enumerate(variants.value):
            of = _child(changes, "of")
            if not isinstance(of, ScalarNode):
                continue  # told when it is read: text is expected there
            variants.value[place] = (name, of)
            arm = known.get(str(of.value))
            if isinstance(arm, MappingNode):
                changed = {str(key.value): (key, value) for key, value in arm.value}
                changed |= {str(key.value): (key, value) for key, value in changes.value if key.value != "of"}
                full = MappingNode(arm.tag, list(changed.values()), changes.start_mark, changes.end_mark)
                called = ScalarNode(name.tag, f"{CONTROL}{name.value}", name.start_mark, name.end_mark)
                arms.value.append((called, full))

    def problem(self, dotted: str, found: object, expected: str, remedy: str) -> Problem:
        return Problem(f"{self.name}:{self.lines.get(dotted, 1)}:{dotted}".rstrip(":"), str(found), expected, remedy)

    def tell(self, dotted: str, found: object, expected: str, remedy: str) -> Any:
        self.problems.append(self.problem(dotted, found, expected, remedy))
        return _BAD

    def items(self, node: MappingNode, dotted: str) -> Iterator[tuple[str, str, Node]]:
        """(key, dotted key, value node) of a mapping; a key given twice is told and its second value left out."""
        seen = set()
        for name_node, value in node.value:
            name = str(name_node.value)
            full = f"{dotted}.{name}" if dotted else name
            line = name_node.start_mark.line + 1
            if name in seen:
                first = f"{name} once (first on line {self.lines[full]})"
                self.problems.append(Problem(f"{self.name}:{line}:{full}", "a second value", first, "Delete one."))
                continue
            seen.add(name)
            self.lines[full] = line
            yield name, full, value

    def section(self, kind: type, node: Node, dotted: str) -> Any:
        """A dataclass of ``kind``; keys told as bad hold the bad mark."""
        if not isinstance(node, MappingNode):
            return self.tell(dotted, _shown(node), "a section of keys", "Indent its keys below it.")
        known = {item.name.removesuffix("_"): item for item in fields(kind)}
        hints = _hints(kind)
        values: dict[str, Any] = {}
        for name, full, value in self.items(node, dotted):
            if name not in known:
                self.tell(full, "unknown key", "a known key", _nearest(name, [k for k in known if k not in values]))
                continue
            item = known[name]
            values[item.name] = self.value(hints[item.name], value, full, item.metadata)
        for name, item in known.items():
            if item.name not in values:
                full = f"{dotted}.{name}" if dotted else name
                self.lines[full] = self.lines.get(dotted, 1)
                expected = _described(hints[item.name], item.metadata)
                values[item.name] = self.tell(full, "no such key", expected, f"Add `{name}:` here.")
        return kind(**values)

    def value(self, hint: Any, node: Node, dotted: str, rules: Mapping[str, Any]) -> Any:
        origin, arguments = get_origin(hint), get_args(hint)
        if is_dataclass(hint):
            return self.section(hint, node, dotted)  # type: ignore[arg-type]
        if origin is tuple:
            return self.sequence(arguments[0], node, dotted, rules)
        if origin is Mapping:
            return self.mapping(arguments[1], node, dotted, rules)
        if _is_union(origin) and all(is_dataclass(argument) for argument in arguments):
            return self.tagged(arguments, node, dotted)
        return self.scalar(hint, node, dotted, rules)

    def sequence(self, hint: Any, node: Node, dotted: str, rules: Mapping[str, Any]) -> Any:
        if not isinstance(node, SequenceNode):
            return self.tell(dotted, _shown(node), f"a list, each {_described(hint, rules)}", "Write it as [a, b].")
        values = []
        for index, item in enumerate(node.value):
            full = f"{dotted}[{index}]"
            self.lines[full] = item.start_mark.line + 1
            values.append(self.value(hint, item, full, {**rules, "empty": False}))
        if not values and not rules.get("empty", True):
            return self.tell(dotted, "an empty list", "at least one item", "Add one.")
        if rules.get("unique") and (twice := sorted({str(v) for v in values if v is not _BAD and values.count(v) > 1})):
            return self.tell(dotted, f"{', '.join(twice)} more than once", "each item once", "Delete the second.")
        return tuple(values) if _all_good(*values) else _BAD

    def mapping(self, hint: Any, node: Node, dotted: str, rules: Mapping[str, Any]) -> Any:
        if not isinstance(node, MappingNode):
            return self.tell(dotted, _shown(node), "a mapping of names", "Indent its names below it.")
        values = {name: self.value(hint, value, full, rules) for name, full, value in self.items(node, dotted)}
        for name in values:
            if not re.fullmatch(NAME, name):
                self.tell(f"{dotted}.{name}", name, "a name of letters, digits and _", "Rename it.")
        if not values and not rules.get("empty", True):
            return self.tell(dotted, "nothing", "at least one name", "Add one.")
        return values

    def tagged(self, kinds: tuple[Any, ...], node: Node, dotted: str) -> Any:
        """One of several dataclasses, chosen by the key ``objective``."""
        if not isinstance(node, MappingNode):
            return self.tell(dotted, _shown(node), "a section of keys", "Indent its keys below it.")
        objectives = {_objective(kind): kind for kind in kinds}
        given = next((value for name, value in node.value if name.value == "objective"), None)
        listed = f"one of {', '.join(objectives)}"
        if given is None:
            return self.tell(dotted, "no key objective", f"objective: {listed}", "Add `objective:` here.")
        if str(given.value) not in objectives:
            full = f"{dotted}.objective"
            self.lines[full] = given.start_mark.line + 1
            return self.tell(full, _shown(given), listed, _nearest(str(given.value), objectives))
        return self.section(objectives[str(given.value)], node, dotted)

    def scalar(self, hint: Any, node: Node, dotted: str, rules: Mapping[str, Any]) -> Any:
        expected = _described(hint, rules)
        if not isinstance(node, ScalarNode):
            return self.tell(dotted, _shown(node), expected, "Write a single value.")
        value = self.yaml.constructor.construct_object(node)
        kinds = get_args(hint) if _is_union(get_origin(hint)) else (hint,)
        if value is None and _NONE in kinds:
            return None
        kind = next(kind for kind in kinds if kind is not _NONE)
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:  # not isinstance: a bool is no int here
            return self.tell(dotted, _shown(node), expected, _type_remedy(kind, node))
        if not _holds(value, rules):
            remedy = _nearest(value, rules["choices"]) if "choices" in rules else "Choose a value in that range."
            return self.tell(dotted, _shown(node), expected, remedy)
        return value


def _child(node: Node | None, name: str) -> Node | None:
    pairs = node.value if isinstance(node, MappingNode) else ()
    return next((value for key, value in pairs if key.value == name), None)


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _is_union(origin: Any) -> bool:
    return origin in (Union, types.UnionType)


def _objective(kind: type) -> str:
    rules: Any = next(item.metadata for item in fields(kind) if item.name == "objective")
    return rules["choices"][0]


def _holds(value: Any, rules: Mapping[str, Any]) -> bool:
    if isinstance(value, str):
        named = value in rules.get("choices", (value,)) and re.fullmatch(rules.get("pattern", "(?s:.*)"), value)
        return bool(named and (value or rules.get("empty", True)))
    if isinstance(value, bool):
        return True
    return (  # false for nan and infinity, whatever the rules: nan compares with nothing, infinity is not below itself
        value >= rules.get("minimum", value)
        and value <= rules.get("maximum", value)
        and value > rules.get("above", -math.inf)
        and value < rules.get("below", math.inf)
    )


def _described(hint: Any, rules: Mapping[str, Any]) -> str:
    """What a value should be, in words: 'an integer >= 1'."""
    if "choices" in rules:
        return f"one of {', '.join(rules['choices'])}"
    kinds = get_args(hint) if _is_union(get_origin(hint)) else (hint,)
    words = {int: "an integer", float: "a number", str: "text", bool: "true or false", _NONE: "null"}
    described = " or ".join(words.get(kind, "a section") for kind in sorted(kinds, key=lambda kind: kind is not _NONE))
    signs = {"minimum": ">=", "above": ">", "maximum": "<=", "below": "<"}
    bounds = [f"{sign} {rules[name]}" for name, sign in signs.items() if name in rules]
    if "pattern" in rules:
        bounds.append(rules.get("words", "of letters, digits and _"))
    if not rules.get("empty", True) and str in kinds and "pattern" not in rules:
        bounds.append("that is not empty")
    return " ".join([described, " and ".join(bounds)]).rstrip()


def _type_remedy(kind: type, node: ScalarNode) -> str:
    if kind in (int, float) and node.style in ("'", '"'):
        return "Take the quotes away."
    if kind is str:
        return f'Quote it: "{node.value}".'
    if kind is float and (number := re.fullmatch(r"([+-]?\d+)[eE]([+-]?\d+)", str(node.value))):
        return f"Write {number[1]}.0e{number[2]}."
    return "Write it as such."


def _shown(node: Node) -> str:
    if isinstance(node, ScalarNode):
        tag = str(node.tag).rsplit(":", 1)[-1]
        words = {"int": "the integer", "float": "the number", "bool": "the boolean", "str": "the text"}
        text = f'"{node.value}"' if tag == "str" else str(node.value)
        return "null" if tag == "null" else f"{words.get(tag, tag)} {text}"
    return "a list" if isinstance(node, SequenceNode) else "a section of keys"


def _nearest(name: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"Did you mean {close[0]}?" if close else f"Known: {', '.join(known)}."


def main(arguments: Sequence[str] = sys.argv[1:]) -> int:
    """Check one file and say so."""
    path = arguments[0] if arguments else "params.yaml"
    try:
        params = load_params(path)
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    trained = len(params.sft_arms) + len(params.grpo_recipes) * len(params.grpo_starts)
    print(f"{path}: ok ({trained} arms to train, {len(params.models)} models to compare, {len(params.seeds)} seeds)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
