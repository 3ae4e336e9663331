"""params.yaml, read and checked: every problem reported at once, each as file:line:key.

A section is declared once, in the room that uses it (:mod:`polychrome.declare`); here stand the root, what must agree
between sections, and how a problem is worded. The file is read by the parser that DVC reads it with (YAML 1.2), so that
it means the same to the stages as to `dvc status`. Run `python -m polychrome.params` to check the file alone.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from polychrome.audit.settings import ControlSettings, GamingSettings
from polychrome.declare import NAME, Rule, Section, at_most, nearest
from polychrome.engine.settings import ComputeSettings
from polychrome.errors import InputError, Problem, bad
from polychrome.evaluation.settings import AnswerSettings, EvaluationSettings
from polychrome.llm_judge.settings import LlmJudgeSettings
from polychrome.models.settings import AssetSettings, LoraSettings, PromptSettings, UntouchedArm
from polychrome.pairs.settings import DataSettings, SplitSettings
from polychrome.paths import CONTROL
from polychrome.reporting.settings import ReportSettings
from polychrome.rewards.settings import RewardSettings
from polychrome.training.alarms import Alarms
from polychrome.training.methods import METHODS
from polychrome.training.settings import TrainSettings

KINDS: dict[str, Any] = {  # objective -> the settings of its arms
    "untouched": UntouchedArm,
    **{objective: method.settings for objective, method in METHODS.items()},
}
MOVED = {  # what people look for, by its dotted key or its last part -> what it is called here
    "max_completion_length": "max_new_tokens",
    "num_train_epochs": "epochs",
    "per_device_train_batch_size": "batch_size",
    "llm_judge.dollars_per_million_input": "dollars_per_million: [input, output]",
    "llm_judge.dollars_per_million_output": "dollars_per_million: [input, output]",
}
GONE = {  # a key that is no more -> what is so without it
    "llm_judge.answer": "the verdict is a tool call with anthropic, a response_format with openai",
    "llm_judge.cache": "answers are kept in .cache/llm_judge.sqlite",
    "llm_judge.retries": "the vendor's client repeats what may pass up to 5 times",
    "llm_judge.rubric": "the rubric is src/polychrome/llm_judge/rubric.md",
    "llm_judge.temperature": "a server of your own is asked at 0, a vendor at its own",
    "llm_judge.timeout_s": "a call fails after 60 seconds without a byte",
}


def _names(text: str, empty: bool = True) -> Rule:
    return replace(NAME, text=text, empty=empty, unique=True)


@dataclass(frozen=True, kw_only=True)
class Params(Section):
    """params.yaml as a whole."""

    seeds: Annotated[
        tuple[int, ...],
        Rule("integers; each trains and answers every model again", minimum=0, empty=False, unique=True),
    ]
    sft_arms: Annotated[tuple[str, ...], _names("names of arms below, trained by `sft`")]
    grpo_recipes: Annotated[tuple[str, ...], _names("each recipe runs from each start: the arm is <recipe>_<start>")]
    grpo_starts: Annotated[tuple[str, ...], _names("the arm starts from <start>_warmstart")]
    untouched: Annotated[tuple[str, ...], _names("the base model as it is, each with its own system prompt")]
    models: Annotated[tuple[str, ...], _names("what is answered, evaluated and compared", empty=False)]
    assets: AssetSettings
    compute: ComputeSettings
    data: DataSettings
    split: SplitSettings
    prompt: PromptSettings
    lora: LoraSettings
    train: TrainSettings
    arms: Mapping[str, Any]  # each as KINDS has it for its objective
    sampling: AnswerSettings
    reward: RewardSettings
    alarms: Alarms
    evaluation: EvaluationSettings
    gaming: GamingSettings
    report: ReportSettings
    llm_judge: LlmJudgeSettings
    controls: ControlSettings

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
    file = _File(text, name)
    good = file.read()
    for problem in _disagreements(good, file.values.get("arms") or ()):
        file.report(problem)
    if file.problems:
        raise InputError([problem for _, problem in sorted(file.problems, key=lambda placed: placed[0])])
    return Params(**good)


# --- what must agree between sections ---------------------------------------------------------------------------------


def _disagreements(good: Mapping[str, Any], written: Collection[str]) -> Iterator[Problem]:
    """What is wrong between sections. ``good`` are those without a problem of their own, ``written`` all arms."""
    arms, sft, untouched = good.get("arms", {}), good.get("sft_arms", ()), good.get("untouched", ())
    starts, recipes = good.get("grpo_starts", ()), good.get("grpo_recipes", ())

    def arm_is(where: str, name: str, stage: str) -> Iterator[Problem]:
        objectives = " or ".join(objective for objective, kind in KINDS.items() if kind.stage == stage)
        if name in arms and arms[name].stage != stage:
            found = f"{name} with objective {arms[name].objective}"
            yield Problem(where, found, f"objective {objectives}", "List it where its objective belongs.")
        elif name not in written:
            yield Problem(where, name, f"an arm under arms: with objective {objectives}", nearest(name, arms))

    def known(where: str, name: str, names: Sequence[str], what: str = "one of", found: str = "") -> Iterator[Problem]:
        if name not in names:
            yield Problem(where, f"{found}{name}", f"{what} {', '.join(names)}", nearest(name, names))

    for index, name in enumerate(untouched):
        yield from arm_is(f"untouched[{index}]", name, "untouched")
    for index, name in enumerate(sft):
        yield from arm_is(f"sft_arms[{index}]", name, "sft")
    for index, start in enumerate(starts):
        if "sft_arms" in good and f"{start}_warmstart" not in sft:
            expected = f"{start}_warmstart, which {start} starts from, in sft_arms"
            yield Problem(f"grpo_starts[{index}]", start, expected, "Add it to sft_arms, or drop this start.")
        for recipe in recipes:
            yield from arm_is(f"grpo_starts[{index}]", f"{recipe}_{start}", "grpo")
    if {"sft_arms", "grpo_starts", "grpo_recipes", "untouched"} <= set(good):
        trained = (*sft, *(f"{recipe}_{start}" for recipe in recipes for start in starts))
        for index, name in enumerate(good.get("models", ())):
            yield from known(f"models[{index}]", name, (*untouched, *trained))
        for name, arm in good["controls"].variants.items() if "controls" in good else ():
            yield from known(f"controls.variants.{name}", arm, trained, "an arm that is trained:", "of ")
    if "controls" in good and good["controls"].seed not in good.get("seeds", [good["controls"].seed]):
        expected = f"one of seeds ({', '.join(map(str, good['seeds']))}): controls are set beside its models"
        yield Problem("controls.seed", str(good["controls"].seed), expected, "Name one of them.")
    for index, contrast in enumerate(good["llm_judge"].contrasts if {"llm_judge", "models"} <= set(good) else ()):
        for side in ("a", "b"):
            where = f"llm_judge.contrasts[{index}].{side}"
            yield from known(where, getattr(contrast, side), good["models"], "one of models:")
    for name, arm in arms.items() if "split" in good else ():
        if arm.stage != "untouched":
            phases = {"phase1_sft": good["split"].phase1_pairs, "phase2_grpo": good["split"].phase2_pairs}
            pairs = phases.get(arm.data, sum(phases.values()))
            yield from at_most(f"arms.{name}.batch_size", arm.batch_size, f"the pairs of {arm.data}", pairs)
    if {"evaluation", "sampling"} <= set(good):
        for index, k in enumerate(good["evaluation"].ks):
            yield from at_most(f"evaluation.ks[{index}]", k, "n = sampling.samples", good["sampling"].samples)


# --- the file ---------------------------------------------------------------------------------------------------------

YAML_1_2 = YAML(typ="safe", pure=True)


def compose(text: str, name: str = "params.yaml") -> MappingNode:
    """The nodes of a YAML file of keys. Raises InputError, calling it ``name``, for anything else."""
    try:
        root = YAML_1_2.compose(text)
    except MarkedYAMLError as error:
        mark, found = error.problem_mark or error.context_mark, " ".join(filter(None, (error.context, error.problem)))
        where = f"{name}:{mark.line + 1 if mark else 1}"
        raise bad(where, found, "valid YAML", "Mend the line (often its indentation).") from error
    if not isinstance(root, MappingNode):
        found = "an empty file" if root is None else _shown(root)
        raise bad(f"{name}:1", found, "keys and values, as in params.yaml", "Write some, or restore the file.")
    return root


class _File:
    """The values of a parameter file, where each stands, and what is wrong with it."""

    def __init__(self, text: str, name: str):
        self.name = name
        self.problems: list[tuple[int, Problem]] = []  # each with its line
        self.places: dict[str, tuple[int, Any]] = {}  # dotted key -> line and node
        self.values = self._value(compose(text, name), "", 1)
        self._add_variants()

    def report(self, problem: Problem, line: int = 0) -> None:
        """Take a problem in, of a dotted key: it stands at ``line``, or that of the key or of what should hold it."""
        above = problem.where
        while above not in self.places:
            above = above.rpartition(".")[0]
        line = line or self.places[above][0]
        where = f"{self.name}:{line}:{problem.where}".rstrip(":")
        self.problems.append((line, replace(problem, where=where)))

    def _value(self, node: Node, where: str, line: int) -> Any:
        """The value of ``node``; a key given twice is reported and its second value left out."""
        self.places[where] = (line, node)
        if isinstance(node, SequenceNode):
            items = enumerate(node.value)
            return [self._value(item, f"{where}[{index}]", item.start_mark.line + 1) for index, item in items]
        if not isinstance(node, MappingNode):
            return YAML_1_2.constructor.construct_object(node)
        values: dict[str, Any] = {}
        for key, value in node.value:
            inside, line = f"{where}.{key.value}".lstrip("."), key.start_mark.line + 1
            if str(key.value) in values:
                once = f"{key.value} once (first on line {self.places[inside][0]})"
                self.report(Problem(inside, "a second value", once, "Delete one."), line)
            else:
                values[str(key.value)] = self._value(value, inside, line)
        return values

    def _add_variants(self) -> None:
        """Write every variant under ``controls`` out in full under ``arms``, and leave its arm's name in its place."""
        arms, controls = self.values.get("arms"), self.values.get("controls")
        variants = controls.get("variants") if isinstance(controls, dict) else None
        for name, changes in list(variants.items()) if isinstance(variants, dict) else ():
            if not isinstance(changes, dict) or not isinstance(changes.get("of"), str):
                continue  # reported when it is read: text is expected there
            of = variants[name] = changes.pop("of")
            place, full, arm = f"controls.variants.{name}", f"arms.{CONTROL}{name}", f"arms.{of}"
            if isinstance(arms, dict) and isinstance(arms.get(of), dict):
                arms[f"{CONTROL}{name}"] = arms[of] | changes
                moved = {key: value for key, value in self.places.items() if key.startswith(f"{arm}.")}
                self.places |= {full + key.removeprefix(arm): value for key, value in moved.items()}
                self.places |= {f"{full}.{key}": self.places[f"{place}.{key}"] for key in changes}
                self.places[full] = self.places[place]

    def read(self) -> dict[str, Any]:
        """The sections without a problem of their own; the problems of the others are reported."""
        good: dict[str, Any] = {}
        hints = _hints(Params)
        for key in self.values.keys() - hints.keys():
            self._explain("unexpected_keyword_argument", key, list(hints), Rule())
        for key, hint in hints.items():
            if key not in self.values:
                self._explain("missing", key, *_bare(hint))
            elif key != "arms":
                self._read(hint, key, self.values[key], good)
            elif isinstance(self.values[key], dict) and self.values[key]:
                good[key] = {}
                for name, value in self.values[key].items():
                    self._read_arm(name, value, good[key])
            else:
                self._explain("dict_type", key, *_bare(hint))
        return good

    def _read_arm(self, name: str, value: Any, good: dict[str, Any]) -> None:
        where, listed = f"arms.{name}", f"one of {', '.join(KINDS)}"
        if not re.fullmatch(NAME.pattern, name):
            self._name(where)
        if not isinstance(value, dict):
            self._explain("dataclass_type", where, UntouchedArm, Rule())
        elif "objective" not in value:
            self.report(Problem(where, "no key objective", f"objective: {listed}", "Add `objective:` here."))
        elif value["objective"] not in KINDS:
            self._explain("value_error", f"{where}.objective", str, Rule(choices=tuple(KINDS)))
        else:
            self._read(KINDS[value["objective"]], where, value, good)

    def _read(self, hint: Any, where: str, value: Any, good: dict[str, Any]) -> None:
        """Put ``value``, read as ``hint``, into ``good``, or report what is wrong with it."""
        try:
            read = good[where.removeprefix("arms.")] = _adapter(hint).validate_python(value)
        except ValidationError as error:
            for one in error.errors():
                loc = [part for part in one["loc"] if part != "[key]"]
                inner = where + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
                if "[key]" in one["loc"]:
                    self._name(inner)
                else:
                    self._explain(one["type"], inner, *_declared(hint, loc))
            return
        for problem in read.disagreements() if isinstance(read, Section) else ():
            self.report(replace(problem, where=f"{where}.{problem.where}"))

    def _name(self, where: str) -> None:
        self.report(Problem(where, where.rpartition(".")[2], f"a name {NAME.words}", "Rename it."))

    def _explain(self, kind: str, where: str, hint: Any, rule: Rule) -> None:
        """Report what pydantic calls ``kind``, of a key for which ``hint`` and ``rule`` are declared."""
        expected, key = _expected(hint, rule), where.rpartition(".")[2]
        if kind == "missing":
            found, remedy = "no such key", f"Add `{key}:` here."
        elif kind == "unexpected_keyword_argument":
            found, expected = "unknown key", "a known key"
            moved = MOVED.get(where, MOVED.get(key))
            remedy = f"It is called {moved} here." if moved else nearest(key, hint)
            remedy = f"Delete it: {GONE[where]}." if where in GONE else remedy
        else:
            node = self.places[where][1]
            found = _shown(node)
            if kind != "value_error":
                remedy = _type_remedy(hint, node)
            elif rule.choices:
                remedy = nearest(str(node.value), rule.choices)
            elif get_origin(hint) not in (tuple, Mapping):
                remedy = "Choose a value in that range."
            elif not node.value:
                found, expected, remedy = "no items", "at least one item", "Add one."
            else:
                items = [item.value for item in node.value]
                twice = sorted({item for item in items if items.count(item) > 1})
                found, expected, remedy = f"{', '.join(twice)} more than once", "each item once", "Delete the second."
        self.report(Problem(where, found, expected, remedy))


# --- declarations, in words -------------------------------------------------------------------------------------------

_adapter = cache(TypeAdapter)


@cache
def _hints(kind: type) -> dict[str, Any]:
    """Key -> what is declared for it."""
    hints = get_type_hints(kind, include_extras=True)
    return {item.name.removesuffix("_"): hints[item.name] for item in fields(kind)}


def _bare(hint: Any) -> tuple[Any, Rule]:
    return get_args(hint) if get_origin(hint) is Annotated else (hint, Rule())


def _declared(hint: Any, loc: Sequence[str | int]) -> tuple[Any, Rule]:
    """Type and rule at ``loc`` inside ``hint``; for an unknown key the keys that are known beside it."""
    hint, rule = _bare(hint)
    for part in loc:
        if not is_dataclass(hint):
            hint = get_args(hint)[-1 if get_origin(hint) is Mapping else 0]
        elif part in _hints(hint):
            hint, rule = _bare(_hints(hint)[str(part)])
        else:
            hint = list(_hints(hint))
    return hint, rule


def _expected(hint: Any, rule: Rule) -> str:
    if get_origin(hint) is tuple:
        return f"a list, each {_expected(get_args(hint)[0], rule)}"
    if get_origin(hint) is Mapping:
        return "a mapping of names"
    return "a section of keys" if is_dataclass(hint) or isinstance(hint, list) else rule.expected(hint)


def _type_remedy(hint: Any, node: Any) -> str:
    if get_origin(hint) is tuple:
        return "Write it as [a, b]."
    if get_origin(hint) is Mapping or is_dataclass(hint):
        return "Indent its keys below it."
    if not isinstance(node, ScalarNode):
        return "Write a single value."
    if hint is str:
        return f'Quote it: "{node.value}".'
    if hint is not bool and node.style in ("'", '"'):
        return "Take the quotes away."
    number = re.fullmatch(r"([+-]?\d+)[eE]([+-]?\d+)", str(node.value))
    return f"Write {number[1]}.0e{number[2]}." if number else "Write it as such."


def _shown(node: Any) -> str:
    if isinstance(node, ScalarNode):
        tag = str(node.tag).rsplit(":", 1)[-1]
        words = {"int": "the integer", "float": "the number", "bool": "the boolean", "str": "the text"}
        text = f'"{node.value}"' if tag == "str" else str(node.value)
        return "null" if tag == "null" else f"{words.get(tag, tag)} {text}"
    return "a list" if isinstance(node, SequenceNode) else "a section of keys"


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
