"""The model card of an export: what it is, what it learnt from, what was measured, what it must not be used for."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polychrome import paths
from polychrome.files import read_object
from polychrome.models.registry import ABOUT
from polychrome.reporting.names import metric_name

if TYPE_CHECKING:
    from polychrome.params import Params

LICENCES = {"Apache License": "apache-2.0", "MIT License": "mit"}  # first line of a licence: the hub's name for it
JUDGE = (
    "The judge predicts engagement from text, and weakly: a pass is a claim about its prediction, not about a person."
)
NOT_FOR = """\
* posing as a person, or as many: replies that people take for a person's must say that a machine wrote them;
* posting unread: a reply may be false, unkind or absurd, and nothing here has tested that it is not;
* campaigns, spam, or raising engagement by anger or deceit, which a reward for engagement does not tell from interest;
* advice on health, law or money, talk with children, or any decision about a person."""


def card(params: "Params", arm: str, seed: int, opened: Sequence[str] = (), adapter: bool = False) -> str:
    """The card in markdown, with the hub's header. What was not measured is said to be missing, never filled in.

    ``opened`` says how near to base and adapter what was written is.
    """
    base, licence = _base(params), _licence()
    about = {"license": licence, "base_model": base.get("id"), "pipeline_tag": "text-generation"}
    about["library_name"] = "peft" if adapter else "transformers"
    header = [f"{key}: {value}" for key, value in about.items() if value]
    kind = "A LoRA adapter" if adapter else "A language model, its adapter merged into the base,"
    told = "LICENSE" if licence != "unknown" else "no LICENSE lies beside it: ask where it came from"
    parts = {
        "Base": f"{base['text']} Licence of the base: {licence} ({told}).",
        "Training": _training(params, arm, seed),
        "Data": _data(params),
        "Measured": _measured(params, arm, seed),
        "Was the reward gamed?": _gaming(arm, seed),
        "How to ask": _asking(params, arm, opened, adapter),
        "Not to be used for": NOT_FOR,
    }
    title = f"# {arm}, seed {seed}\n\n{kind} that answers a post; made by polychrome, which trains for sets of replies"
    title += " that are both good and varied. Draw several replies and choose."
    sections = [f"## {name}\n\n{text}" for name, text in parts.items()]
    return "\n\n".join(["\n".join(["---", *header, "---"]), title, *sections]) + "\n"


def _base(params: "Params") -> dict[str, str]:
    name, hub = params.assets.base_model, paths.BASE / paths.HUB
    if hub.is_file():
        origin = read_object(hub)
        return {"id": origin["id"], "text": f"{origin['id']} at commit {origin['revision']}."}
    if name in ABOUT:
        return {"id": ABOUT[name][0], "text": f"{ABOUT[name][0]}: {ABOUT[name][1]}"}
    return {"text": f"A model from a local folder ({Path(name).name})."}


def _licence() -> str:
    file = paths.BASE / "LICENSE"
    first = next(iter(file.read_text(encoding="utf-8", errors="replace").split("\n", 1)), "") if file.is_file() else ""
    return LICENCES.get(first.strip(), "other" if first.strip() else "unknown")


def _training(params: "Params", arm: str, seed: int) -> str:
    settings = asdict(params.arms[arm])
    if "data" not in settings:
        return "None: the base model as it is, with a system prompt."
    start = params.warmstarts.get(arm)
    lora = params.lora
    said = ", ".join(f"{key.rstrip('_')} {value}" for key, value in settings.items())
    after = f" after {start} with the same seed" if start else ""
    where = f"the last {lora.layers} layers" if lora.layers else "all layers"
    return f"Arm `{arm}`{after}, seed {seed}: {said}. LoRA of rank {lora.rank}, alpha {lora.alpha:g}, in {where}."


def _data(params: "Params") -> str:
    report, split = _read("data/prepared/cleaning_report.json"), _read("data/phases/phase_split_statistics.json")
    lines = [f"Source `{params.data.source}`, posts and human replies."]
    if report:
        dropped = ", ".join(f"{count} {why}" for why, count in report["dropped"].items() if count) or "none"
        lines.append(f"{report['candidates']} candidates, {report['kept']} kept (dropped: {dropped}).")
    if split:
        lines.append("Pairs: " + ", ".join(f"{part} {about['pairs']}" for part, about in split["parts"].items()) + ".")
    return " ".join(lines if report and split else [*lines, "Not all counts are at hand."])


def _measured(params: "Params", arm: str, seed: int) -> str:
    from polychrome.evaluation.metrics import contrasted

    found = _read(paths.evaluation_dir(arm, seed) / "metrics.json")
    if not found:
        return "Nothing: it was not evaluated."
    names = dict.fromkeys((*params.evaluation.passes, *contrasted(params.evaluation), "well_formed"))
    rows = []
    for name in names:
        one, human = found["metrics"].get(name), found["human"].get(name)
        if one and one["mean"] is not None:
            beside = f"{human['mean']:.3f}" if human and human["mean"] is not None else "-"
            rows.append(
                f"| {metric_name(name)} | {one['mean']:.3f} | {one['low']:.3f} to {one['high']:.3f} | {beside} |"
            )
    about = f"{found['samples']} replies to each of {found['posts']} test posts, this seed alone. {JUDGE}"
    interval = f"{100 * params.evaluation.confidence:g}% interval"
    return "\n".join([f"| metric | mean | {interval} | a human reply |", "|---|---|---|---|", *rows, "", about])


def _gaming(arm: str, seed: int) -> str:
    verdict = _read(paths.gaming_dir(arm, seed) / "verdict.json")
    return verdict["text"] if verdict else "Not asked: only arms that climb a reward by GRPO are looked at."


def _asking(params: "Params", arm: str, opened: Sequence[str], adapter: bool) -> str:
    system, sampling = getattr(params.arms[arm], "prompt", params.prompt.plain), params.sampling
    lines = [
        f"System prompt: {system!r}"
        + ("." if adapter else "; the chat template says it where no system turn is given."),
        f"Sampling: temperature {sampling.temperature:g}, top_p {sampling.top_p:g}, top_k {sampling.top_k} (0: all), "
        f"{sampling.max_new_tokens} new tokens.",
        *(f"Opened again by transformers: {one}." for one in opened),
    ]
    return "\n".join(f"* {line}" for line in lines)


def _read(path: str | Path) -> Any:
    return read_object(path) if Path(path).is_file() else None
