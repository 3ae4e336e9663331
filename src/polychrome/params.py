"""params.yaml, read and checked: every problem reported at once, each as file:line:key.

A section is declared once, in the room that uses it (:mod:`polychrome.declare`); here stand the root, what must agree
between sections, and how a problem is worded. The file is read by the parser that DVC reads it with (YAML 1.2), so that
it means the same to the stages as to `dvc status`. Run `python -m polychrome.params` to check the file alone.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
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
from polychrome.models.settings import AssetSettings, LoraSettings, PromptSettings, UntouchedArm
from polychrome.pairs.settings import DataSettings, SplitSettings
from polychrome.paths import CONTROL
from polychrome.reporting.settings import ReportSettings
from polychrome.rewards.settings import RewardSettings
from polychrome.training.alarms import Alarms
from polychrome.training.settings import ARMS, TrainSettings

KINDS: dict[str, type[Section]] = {"untouched": UntouchedArm, **ARMS}  # objective -> the settings of its arms
MOVED = {  # a key that people look for -> what it is called here
    "max_completion_length": "max_new_tokens",
    "num_train_epochs": "epochs",
    "per_device_train_batch_size": "batch_size",
}


@dataclass(frozen=True, kw_only=True)
class LlmContrast(Section):
    """Two models whose sets an LLM compares."""

    a: Annotated[str, Rule(pattern=NAME, words="of letters, digits and _")]
    b: Annotated[str, Rule(pattern=NAME, words="of letters, digits and _")]


@dataclass(frozen=True, kw_only=True)
class LlmJudgeParams(Section):
    """The LLM judge: which endpoint, which model, what it may cost."""

    contrasts: Annotated[
        tuple[LlmContrast, ...], Rule("such as [{a: grpo_from_polychromic, b: baseline}]; both among models")
    ]
    backend: Annotated[
        str,
        Rule("openai for any endpoint with OpenAI's chat completions", choices=("anthropic", "openai")),
    ]
    model: Annotated[str, Rule("as the endpoint calls it", empty=False)]
    base_url: Annotated[str, Rule('of the endpoint; "" is the vendor\'s own')]
    answer: Annotated[str, Rule("how the verdict comes", choices=("auto", "tool", "json_schema", "json"))]
    temperature: Annotated[float | None, Rule("; null sends none", minimum=0)]
    max_tokens: Annotated[int, Rule("tokens of an answer", minimum=1)]
    timeout_s: Annotated[float, Rule("seconds without a byte before a call counts as failed", above=0)]
    retries: Annotated[int, Rule("further calls after one that failed", minimum=0)]
    requests_per_minute: Annotated[float, Rule(above=0)]
    max_dollars: Annotated[float, Rule("hard limit of a run", minimum=0)]
    max_calls: Annotated[int, Rule("hard limit of a run", minimum=0)]
    dollars_per_million_input: Annotated[
        float, Rule('tokens; the vendor\'s price, needed where base_url is ""', minimum=0)
    ]
    dollars_per_million_output: Annotated[float, Rule("tokens; likewise", minimum=0)]
    posts: Annotated[int, Rule("test posts judged, a seeded sample; 0 judges all", minimum=0)]
    replies: Annotated[int, Rule("replies of each set shown, a seeded sample; 0 shows all", minimum=0)]
    rubric: Annotated[str, Rule('file; "" is src/polychrome/llm_judge/rubric.md')]
    cache: Annotated[str, Rule("folder of its answers", empty=False)]
    seed: Annotated[int, Rule("of the samples and the marks around data", minimum=0)]


def _names(text: str, **more: Any) -> Rule:
    return Rule(text, pattern=NAME, words="of letters, digits and _", unique=True, **more)


@dataclass(frozen=True, kw_only=True)
class Params(Section):
    """params.yaml as a whole."""

    seeds: Annotated[
        tuple[int, ...],
        Rule("each seed trains and answers every model again", minimum=0, empty=False, unique=True),
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
    arms: Mapping[str, Any]  # each of the class in KINDS that its objective names
    sampling: AnswerSettings
    reward: RewardSettings
    alarms: Alarms
    evaluation: EvaluationSettings
    gaming: GamingSettings
    report: ReportSettings
    llm_judge: LlmJudgeParams
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
    for path, *problem in _cross_checks(good, file.values):
        file.report(path, *problem)
    if file.problems:
        raise InputError([problem for _, problem in sorted(file.problems, key=lambda told: told[0])])
    return Params(**good)


# --- what must agree between sections -------------------------------------------------------------------------------

Path_ = tuple[str | int, ...]  # keys and places in lists, from the root
Found = tuple[Path_, object, str, str]  # where, what was found, what was expected, what to do


def _cross_checks(good: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[Found]:
    """What is wrong between sections; ``good`` are those without a problem of their own, ``values`` all of the file."""
    arms, starts, recipes = good.get("arms", {}), good.get("grpo_starts", ()), good.get("grpo_recipes", ())
    sft, seeds, untouched = good.get("sft_arms", ()), good.get("seeds"), good.get("untouched", ())
    lists_are_good = {"sft_arms", "grpo_recipes", "grpo_starts"} <= set(good)

    def arm_is(path: Path_, name: str, stage: str) -> Iterator[Found]:
        objectives = " or ".join(objective for objective, kind in KINDS.items() if kind.stage == stage)
        if name not in arms and name not in values.get("arms", {}) and "arms" in good:
            yield path, name, f"an arm under arms: with objective {objectives}", nearest(name, arms)
        elif name in arms and arms[name].stage != stage:
            found = f"{name} with objective {arms[name].objective}"
            yield path, found, f"objective {objectives}", "List it where its objective belongs."

    for index, name in enumerate(untouched):
        yield from arm_is(("untouched", index), name, "untouched")
    for index, name in enumerate(sft):
        yield from arm_is(("sft_arms", index), name, "sft")
    for index, start in enumerate(starts):
        if "sft_arms" in good and f"{start}_warmstart" not in sft:
            expected = f"{start}_warmstart, which {start} starts from, in sft_arms"
            yield ("grpo_starts", index), start, expected, "Add it to sft_arms, or drop this start."
        for recipe in recipes:
            yield from arm_is(("grpo_starts", index), f"{recipe}_{start}", "grpo")

    trained = (*sft, *(f"{recipe}_{start}" for recipe in recipes for start in starts))
    if (controls := good.get("controls")) and lists_are_good:
        if seeds and controls.seed not in seeds:
            expected = f"one of seeds ({', '.join(map(str, seeds))}): controls start from and are set beside its models"
            yield ("controls", "seed"), controls.seed, expected, "Name one of them."
        for name, arm in controls.variants.items():
            if arm not in trained:
                expected = f"an arm that is trained: {', '.join(trained)}"
                yield ("controls", "variants", name), f"of {arm}", expected, nearest(arm, trained)
    if lists_are_good and "untouched" in good:
        known = (*untouched, *trained)
        for index, name in enumerate(good.get("models", ())):
            if name not in known:
                yield ("models", index), name, f"one of {', '.join(known)}", nearest(name, known)
    if (judge := good.get("llm_judge")) and (models := good.get("models")):
        for index, contrast in enumerate(judge.contrasts):
            for side in ("a", "b"):
                if (name := getattr(contrast, side)) not in models:
                    path = ("llm_judge", "contrasts", index, side)
                    yield path, name, f"one of models: {', '.join(models)}", nearest(name, models)

    if split := good.get("split"):
        phases = {"phase1_sft": split.phase1_pairs, "phase2_grpo": split.phase2_pairs}
        phases["full"] = sum(phases.values())
        for name, arm in arms.items():
            if arm.stage != "untouched":
                path, pairs = ("arms", name, "batch_size"), phases[arm.data]
                yield from _at_most(path, arm.batch_size, f"the pairs of {arm.data}", pairs)
    if (sampling := good.get("sampling")) and (evaluation := good.get("evaluation")):
        for index, k in enumerate(evaluation.ks):
            yield from _at_most(("evaluation", "ks", index), k, "n = sampling.samples", sampling.samples)


def _at_most(path: Path_, value: float, name: str, limit: float) -> Iterator[Found]:
    yield from ((path, p.found, p.expected, p.remedy) for p in at_most("", value, name, limit))


# --- the file ---------------------------------------------------------------------------------------------------------


class _File:
    """The values of a parameter file, where each stands, and what is wrong with it."""

    def __init__(self, text: str, name: str):
        self.name = name
        self.problems: list[tuple[int, Problem]] = []  # each with its line
        self.places: dict[Path_, tuple[int, Node]] = {}
        self.yaml = YAML(typ="safe", pure=True)
        self.values: Any = {}
        try:
            root = self.yaml.compose(text)
            if isinstance(root, MappingNode):
                _add_variants(root)
                self.values = self._value(root, (), 1)
            else:
                found = "an empty file" if root is None else _shown(root)
                self.report((), found, "the parameters", "Restore the file.")
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, found = mark.line + 1 if mark else 1, " ".join(filter(None, (error.context, error.problem)))
            where = f"{name}:{line}"
            self.problems.append((line, Problem(where, found, "valid YAML", "Mend the line (often its indentation).")))
        self.broken = bool(self.problems) and not self.values

    def _value(self, node: Node, path: Path_, line: int) -> Any:
        """The value of ``node``; a key given twice is reported and its second value left out."""
        self.places[path] = (line, node)
        if isinstance(node, SequenceNode):
            return [self._value(item, (*path, i), item.start_mark.line + 1) for i, item in enumerate(node.value)]
        if not isinstance(node, MappingNode):
            return self.yaml.constructor.construct_object(node)
        values: dict[str, Any] = {}
        for key, value in node.value:
            inside, at = (*path, str(key.value)), key.start_mark.line + 1
            if inside in self.places:
                expected = f"{key.value} once (first on line {self.places[inside][0]})"
                self.problems.append((at, Problem(self._where(inside, at), "a second value", expected, "Delete one.")))
            else:
                values[str(key.value)] = self._value(value, inside, at)
        return values

    def _where(self, path: Path_, line: int) -> str:
        dotted = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
        return f"{self.name}:{line}:{dotted[1:]}".rstrip(":")

    def report(self, path: Path_, found: object, expected: str, remedy: str) -> None:
        """A problem at ``path``, or at the section that should hold it."""
        above = path
        while above not in self.places and above:
            above = above[:-1]
        line = self.places[above][0] if self.places else 1
        self.problems.append((line, Problem(self._where(path, line), str(found), expected, remedy)))

    def read(self) -> dict[str, Any]:
        """The sections without a problem of their own; the problems of the others are reported."""
        if self.broken:
            return {}
        good: dict[str, Any] = {}
        hints = _hints(Params)
        for key in self.values:
            if key not in hints:
                self._unknown((key,), hints)
        for key, hint in hints.items():
            if key not in self.values:
                self._missing((key,), *_bare(hint))
            elif key != "arms":
                self._read(hint, (key,), self.values[key], good)
            elif isinstance(self.values[key], dict):
                good[key] = self._arms(self.values[key])
            else:
                self.report((key,), _shown(self.places[key,][1]), "a mapping of names", "Indent its names below it.")
        return good

    def _arms(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The arms without a problem of their own, each read as its objective declares it."""
        good: dict[str, Any] = {}
        listed = f"one of {', '.join(KINDS)}"
        for name, value in values.items():
            path = ("arms", name)
            if not re.fullmatch(NAME, name):
                self.report(path, name, "a name of letters, digits and _", "Rename it.")
            if not isinstance(value, dict):
                self.report(path, _shown(self.places[path][1]), "a section of keys", "Indent its keys below it.")
            elif "objective" not in value:
                self.report(path, "no key objective", f"objective: {listed}", "Add `objective:` here.")
            elif value["objective"] not in KINDS:
                found, path = value["objective"], (*path, "objective")
                self.report(path, _shown(self.places[path][1]), listed, nearest(str(found), KINDS))
            else:
                self._read(KINDS[value["objective"]], path, value, good)
        if not values:
            self.report(("arms",), "nothing", "at least one name", "Add one.")
        return good

    def _read(self, hint: Any, path: Path_, value: Any, good: dict[str, Any]) -> None:
        """Put ``value``, read as ``hint``, into ``good``, or report what is wrong with it."""
        try:
            read = good[str(path[-1])] = _adapter(hint).validate_python(value)
        except ValidationError as error:
            for one in error.errors(include_url=False):
                inner = tuple(part for part in one["loc"] if part != "[key]")
                self._wrong(one["type"], (*path, *inner), *_declared(hint, inner))
            return
        for problem in read.disagreements() if isinstance(read, Section) else ():
            self.report((*path, *problem.where.split(".")), problem.found, problem.expected, problem.remedy)

    def _wrong(self, kind: str, path: Path_, hint: Any, rule: Rule) -> None:
        """Report pydantic's finding ``kind`` at ``path``, for which ``hint`` and ``rule`` are declared."""
        if kind == "missing":
            self._missing(path, hint, rule)
        elif kind == "unexpected_keyword_argument":
            self._unknown(path, hint)
        else:
            self.report(path, *_explained(kind == "value_error", hint, rule, self.places[path][1]))

    def _missing(self, path: Path_, hint: Any, rule: Rule) -> None:
        self.report(path, "no such key", _expected(hint, rule), f"Add `{path[-1]}:` here.")

    def _unknown(self, path: Path_, known: Iterable[str]) -> None:
        moved = MOVED.get(str(path[-1]))
        remedy = f"It is called {moved} here." if moved else nearest(str(path[-1]), known)
        self.report(path, "unknown key", "a known key", remedy)


def _add_variants(root: MappingNode) -> None:
    """Write every variant under ``controls`` out in full under ``arms``, and leave its arm's name in its place."""
    arms, variants = _child(root, "arms"), _child(_child(root, "controls"), "variants")
    if not isinstance(arms, MappingNode) or not isinstance(variants, MappingNode):
        return
    known = {str(name.value): arm for name, arm in arms.value}
    for place, (name, changes) in enumerate(variants.value):
        of = _child(changes, "of")
        if not isinstance(of, ScalarNode):
            continue  # reported when it is read: text is expected there
        variants.value[place] = (name, of)
        arm = known.get(str(of.value))
        if isinstance(arm, MappingNode):
            changed = {str(key.value): (key, value) for key, value in arm.value}
            changed |= {str(key.value): (key, value) for key, value in changes.value if key.value != "of"}
            full = MappingNode(arm.tag, list(changed.values()), changes.start_mark, changes.end_mark)
            called = ScalarNode(name.tag, f"{CONTROL}{name.value}", name.start_mark, name.end_mark)
            arms.value.append((called, full))


def _child(node: Node | None, name: str) -> Node | None:
    pairs = node.value if isinstance(node, MappingNode) else ()
    return next((value for key, value in pairs if key.value == name), None)


# --- declarations, in words -------------------------------------------------------------------------------------------

_adapter = cache(TypeAdapter)


@cache
def _hints(kind: type) -> dict[str, Any]:
    """Key -> what is declared for it."""
    hints = get_type_hints(kind, include_extras=True)
    return {item.name.removesuffix("_"): hints[item.name] for item in fields(kind)}


def _bare(hint: Any) -> tuple[Any, Rule]:
    return get_args(hint) if get_origin(hint) is Annotated else (hint, Rule())


def _declared(hint: Any, path: Path_) -> tuple[Any, Rule]:
    """Type and rule at ``path`` inside ``hint``; for an unknown key the keys that are known beside it."""
    hint, rule = _bare(hint)
    for part in path:
        if is_dataclass(hint):
            if part not in _hints(hint):
                return list(_hints(hint)), rule
            hint, rule = _bare(_hints(hint)[part])
        else:
            hint = get_args(hint)[-1 if get_origin(hint) is Mapping else 0]
    return hint, rule


def _expected(hint: Any, rule: Rule) -> str:
    if get_origin(hint) is tuple:
        return f"a list, each {_expected(get_args(hint)[0], rule)}"
    if get_origin(hint) is Mapping:
        return "a mapping of names"
    return "a section of keys" if is_dataclass(hint) else rule.expected(hint)


def _explained(right_type: bool, hint: Any, rule: Rule, node: Node) -> tuple[str, str, str]:
    """What was found, what was expected, what to do, of a value that is not as declared."""
    found, expected, origin = _shown(node), _expected(hint, rule), get_origin(hint)
    if right_type:
        if rule.choices:
            return found, expected, nearest(str(node.value), rule.choices)
        if origin not in (tuple, Mapping):
            return found, expected, "Choose a value in that range."
        if not node.value:
            return f"{found} without items", "at least one item", "Add one."
        items = [item.value for item in node.value]
        twice = sorted({item for item in items if items.count(item) > 1})
        return f"{', '.join(twice)} more than once", "each item once", "Delete the second."
    if origin is tuple:
        return found, expected, "Write it as [a, b]."
    if origin is Mapping or is_dataclass(hint):
        return found, expected, "Indent its keys below it."
    if not isinstance(node, ScalarNode):
        return found, expected, "Write a single value."
    if hint is str:
        return found, expected, f'Quote it: "{node.value}".'
    if hint is not bool and node.style in ("'", '"'):
        return found, expected, "Take the quotes away."
    number = re.fullmatch(r"([+-]?\d+)[eE]([+-]?\d+)", str(node.value))
    return found, expected, f"Write {number[1]}.0e{number[2]}." if number else "Write it as such."


def _shown(node: Node) -> str:
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
