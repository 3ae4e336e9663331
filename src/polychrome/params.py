"""params.yaml, read and checked: every problem reported at once, each as file:line:key.

A section is declared once, in the room that uses it (:mod:`polychrome.declare`); here stand the root, what must agree
between sections. The file is read (:mod:`polychrome.reading`) by the parser that DVC reads it with, so that it means
the same to the stages as to `dvc status`. Run `python -m polychrome.params` to check the file alone.
"""

import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from polychrome.audit.settings import ControlSettings, GamingSettings
from polychrome.declare import NAME, Rule, Section, at_most, nearest
from polychrome.engine.settings import ComputeSettings
from polychrome.errors import InputError, Problem, bad
from polychrome.evaluation.experiment import ExperimentSettings
from polychrome.evaluation.settings import AnswerSettings, EvaluationSettings
from polychrome.frontier.settings import DECLARED, FrontierSettings
from polychrome.llm_judge.settings import LlmJudgeSettings
from polychrome.models.settings import AssetSettings, LoraSettings, PromptSettings, UntouchedArm
from polychrome.pairs.settings import DataSettings, SplitSettings
from polychrome.paths import CONTROL, CUSTOM_REWARDS
from polychrome.reading import SettingsFile, hints_of
from polychrome.reporting.settings import COST, ReportSettings
from polychrome.rewards.settings import RewardSettings
from polychrome.training.alarms import Alarms
from polychrome.training.methods import METHODS, method_of
from polychrome.training.settings import TrainSettings

KINDS: dict[str, Any] = {  # objective -> the settings of its arms
    "untouched": UntouchedArm,
    **{objective: method_of(objective).settings for objective in METHODS},
}
MOVED = {  # what people look for, by its dotted key or its last part -> what to do
    "max_completion_length": "It is called max_new_tokens here.",
    "num_train_epochs": "It is called epochs here.",
    "per_device_train_batch_size": "It is called batch_size here.",
    "use_vllm": "Set compute.sampler: vllm.",
    "vllm_server_base_url": "It is called compute.sampler_url here.",
    "llm_judge.dollars_per_million_input": "It is called dollars_per_million: [input, output] here.",
    "llm_judge.dollars_per_million_output": "It is called dollars_per_million: [input, output] here.",
    "llm_judge.answer": "Delete it: the verdict is a tool call with anthropic, a response_format with openai.",
    "llm_judge.cache": "Delete it: answers are kept in .cache/llm_judge.sqlite.",
    "llm_judge.retries": "Delete it: the vendor's client repeats what may pass up to 5 times.",
    "llm_judge.rubric": "Delete it: the rubric is src/polychrome/llm_judge/rubric.md.",
    "llm_judge.temperature": "Delete it: a server of your own is asked at 0, a vendor at its own.",
    "llm_judge.timeout_s": "Delete it: a call fails after 60 seconds without a byte.",
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
    experiment: ExperimentSettings
    report: Annotated[ReportSettings, COST]
    llm_judge: LlmJudgeSettings
    controls: ControlSettings
    frontier: Annotated[FrontierSettings, DECLARED]

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
    file = SettingsFile(text, name, MOVED)
    _add_variants(file)
    good = _sections(file)
    for problem in _disagreements(good, file.values.get("arms") or ()):
        file.report(problem)
    if file.problems:
        raise InputError([problem for _, problem in sorted(file.problems, key=lambda placed: placed[0])])
    return Params(**good)


def _add_variants(file: SettingsFile) -> None:
    """Write every variant under ``controls`` out in full under ``arms``, and leave its arm's name in its place."""
    arms, controls = file.values.get("arms"), file.values.get("controls")
    variants = controls.get("variants") if isinstance(controls, dict) else None
    if not isinstance(variants, dict):
        return
    for name, changes in list(variants.items()):
        if not isinstance(changes, dict) or not isinstance(changes.get("of"), str):
            continue  # reported when it is read: text is expected there
        of = variants[name] = changes.pop("of")
        place, full, arm = f"controls.variants.{name}", f"arms.{CONTROL}{name}", f"arms.{of}"
        if isinstance(arms, dict) and f"{CONTROL}{name}" in arms:
            found = f"{full} as well, which this variant becomes"
            file.report(Problem(place, found, "one of the two", "Delete one."))
        elif isinstance(arms, dict) and isinstance(arms.get(of), dict):
            arms[f"{CONTROL}{name}"] = arms[of] | changes
            of_arm = {key: at for key, at in file.places.items() if key.startswith(f"{arm}.")}
            file.places |= {full + key.removeprefix(arm): at for key, at in of_arm.items()}
            file.places |= {f"{full}.{key}": file.places[f"{place}.{key}"] for key in changes}
            file.places[full] = file.places[place]


def _sections(file: SettingsFile) -> dict[str, Any]:
    """The sections without a problem of their own, and among arms those; problems of the others are reported."""
    good: dict[str, Any] = {}
    hints = hints_of(Params)
    for key in file.values.keys() - hints.keys():
        file.unknown(key, hints)
    for key, hint in hints.items():
        value = file.values.get(key)
        if key not in file.values:
            file.explain("missing", key, hint)
        elif key == "arms" and isinstance(value, dict) and value:
            arms = {name: _arm(file, name, keys) for name, keys in value.items()}
            good[key] = {name: arm for name, arm in arms.items() if arm}
        elif key == "arms":
            file.explain("value_error" if value == {} else "dict_type", key, hint)
        elif (read := file.read(hint, key, value)) is not None:
            good[key] = read
    return good


def _arm(file: SettingsFile, name: str, keys: Any) -> Any:
    """An arm as its objective declares it; None when a problem is reported."""
    where = f"arms.{name}"
    if not re.fullmatch(NAME.pattern, name):
        file.explain("name", where, str)
    if not isinstance(keys, dict):
        file.explain("dataclass_type", where, UntouchedArm)
    elif "objective" not in keys:
        expected = f"objective: one of {', '.join(KINDS)}"
        file.report(Problem(where, "no key objective", expected, "Add `objective:` here."))
    elif not isinstance(keys["objective"], str) or keys["objective"] not in KINDS:
        file.explain("value_error", f"{where}.objective", str, Rule(choices=tuple(KINDS)))
    else:
        return file.read(KINDS[keys["objective"]], where, keys)
    return None


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
        elif "arms" in good and name not in written:
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
        expected = f"one of seeds ({', '.join(map(str, good['seeds']))}): controls are compared with its models"
        yield Problem("controls.seed", str(good["controls"].seed), expected, "Name one of them.")
    for index, contrast in enumerate(good["llm_judge"].contrasts if {"llm_judge", "models"} <= set(good) else ()):
        for side in ("a", "b"):
            where = f"llm_judge.contrasts[{index}].{side}"
            yield from known(where, getattr(contrast, side), good["models"], "one of models:")
    if {"frontier", "models"} <= set(good):
        yield from known("frontier.baseline", good["frontier"].baseline, good["models"], "one of models:")
    if {"experiment", "models", "evaluation", "arms"} <= set(good) and len(arms) == len(written):
        from polychrome.evaluation.metrics import compared  # here: it looks into the files of the metrics

        stages, metrics = {name: arm.stage for name, arm in arms.items()}, compared(good["evaluation"])
        for one in good["experiment"].problems(good["models"], stages, metrics):
            yield replace(one, where=f"experiment.{one.where}")
    for name, arm in arms.items() if "split" in good else ():
        if arm.stage != "untouched":
            phases = {"phase1_sft": good["split"].pairs_of("phase1"), "phase2_grpo": good["split"].pairs_of("phase2")}
            pairs = phases.get(arm.data, sum(phases.values()))
            yield from at_most(f"arms.{name}.batch_size", arm.batch_size, f"the pairs of {arm.data}", pairs)
    yield from _unwatched(good.get("assets"), arms)
    yield from _sharded(good.get("assets"), good.get("compute"))
    if {"evaluation", "sampling"} <= set(good):
        for index, k in enumerate(good["evaluation"].ks):
            yield from at_most(f"evaluation.ks[{index}]", k, "n = sampling.samples", good["sampling"].samples)


def _sharded(assets: AssetSettings | None, compute: ComputeSettings | None) -> Iterator[Problem]:
    """Packed 4-bit weights, which cannot be cut in parts."""
    if assets and compute and compute.shard and assets.load_in_4bit:
        remedy = "Set one to false: 4 bits are for a base that then fits each GPU."
        yield Problem("compute.shard", "true, and assets.load_in_4bit: true", "one of the two", remedy)


def _unwatched(assets: AssetSettings | None, arms: Mapping[str, Any]) -> Iterator[Problem]:
    """Models and rewards of the user's own that could change without DVC making anything again."""
    watched = assets.watched if assets else ""
    for key in ("base_model", "encoder") if assets else ():
        folder = getattr(assets, key)
        if Path(folder).is_dir() and not Path(folder).resolve().is_relative_to(Path(watched).resolve()):
            expected = f"a folder in assets.watched ({watched}), which DVC watches"
            yield Problem(f"assets.{key}", folder, expected, f"Set assets.watched: {folder}.")
    for name, arm in arms.items():
        package = getattr(arm, "reward", "").partition(":")[0].partition(".")[0]
        ours = ":" in getattr(arm, "reward", "") and (Path(package).is_dir() or Path(f"{package}.py").is_file())
        if ours and package != str(CUSTOM_REWARDS):
            expected = f"a function in {CUSTOM_REWARDS}/, which DVC watches"
            yield Problem(f"arms.{name}.reward", arm.reward, expected, f"Move its file to {CUSTOM_REWARDS}/.")


def main(arguments: Sequence[str] = sys.argv[1:]) -> int:
    """Check one file and say so."""
    path = arguments[0] if arguments else "params.yaml"
    try:
        params = load_params(path)
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    trained = len(params.sft_arms) + len(params.grpo_recipes) * len(params.grpo_starts)
    seeds = f"{len(params.seeds)} seed{'s' * (len(params.seeds) > 1)}"
    print(f"{path}: ok ({trained} arms to train, {len(params.models)} models to compare, {seeds})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
