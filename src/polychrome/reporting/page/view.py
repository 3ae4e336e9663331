"""What the templates are given, and their filling."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from polychrome.reporting.page import charts, replies, words
from polychrome.reporting.page.answers import PREDICTED, answers, named
from polychrome.reporting.page.cost import Cost
from polychrome.reporting.page.inputs import Gaming, Inputs
from polychrome.reporting.page.palette import PAPERS, Palette, palette_of

COMPARED = tuple(PREDICTED)
GAPS = 10  # replies shown with the largest proxy minus judge, an arm


def fill(inputs: Inputs, cost: Cost | None) -> str:
    """The page."""
    palette = palette_of(inputs.models, inputs.gaming)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("polychrome.reporting.page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "signed": words.signed,
        "plain": words.plain,
        "short": words.short,
        "sign": words.sign,
        "duration": words.duration,
        "percent": words.percent,
        "p_value": words.p_value,
        "metric": words.metric_label,
        "count": lambda number: f"{number:,}",
        "named": lambda text: named(text, _spoken(palette)),
    }
    environment.globals |= {"interval": words.interval}
    script = _asset("script.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = environment.get_template("report.html").render(
        inputs=inputs,
        palette=palette,
        papers=PAPERS,
        family=inputs.comparison["family"],
        answers=answers(inputs.comparison, palette.labels),
        compared=[model for model in COMPARED if model in inputs.models],
        predicted=PREDICTED,
        levels=_levels(inputs.criteria),
        drawings=drawings(inputs, palette),
        gaming=_gaming(inputs),
        failures=_failures(inputs),
        ceiling=_ceiling(inputs.reward),
        metrics=_metrics(inputs),
        controls=_controls(inputs),
        data=_data(inputs),
        cost=cost,
        style=Markup(_asset("style.css")),
        script=Markup(script),
        script_hash=digest,
        **_packed(inputs, palette),
    )
    return page if page.endswith("\n") else page + "\n"


def drawings(inputs: Inputs, palette: Palette) -> dict[str, Any]:
    """Every drawing of the page by name; ``gaming`` has one for each arm."""
    family = inputs.comparison["family"]
    contrasts = [one for question in inputs.comparison["questions"] for one in question["contrasts"]]
    compared = {model: PREDICTED[model] for model in COMPARED if model in inputs.models}
    order = [model for model in palette.models if model in inputs.pass_at_k]
    return {
        "contrasts": charts.contrasts_chart(contrasts, family["primary_metric"], palette),
        "predicted": charts.predicted_chart(compared, inputs.measured, palette),
        "pass": charts.pass_chart({model: inputs.pass_at_k[model] for model in order}, palette),
        "plane": charts.plane_chart({m: inputs.plane[m] for m in inputs.models}, _grpo_steps(inputs), palette),
        "training": charts.training_chart(_panels(inputs), palette),
        "betas": charts.betas_chart(inputs.betas, palette) if inputs.betas else None,
        "gaming": {arm: charts.gaming_chart(arm, runs, palette) for arm, runs in inputs.gaming.items()},
        "ranks": charts.rank_chart(_ranks(inputs), palette),
        "calibration": charts.calibration_chart(
            inputs.reward["calibration"], inputs.reward["error_by_quartile"], palette
        ),
    }


def _asset(name: str) -> str:
    return (files("polychrome.reporting.page") / "templates" / name).read_text(encoding="utf-8")


def _spoken(palette: Palette) -> dict[str, str]:
    """Names as they stand inside a sentence."""
    return {model: label.replace(", ", " ") for model, label in palette.labels.items()}


def _packed(inputs: Inputs, palette: Palette) -> dict[str, Any]:
    packed, shown = replies.packed(inputs, palette.labels)
    named_so = {"engagement": "engagement_threshold", "on_topic": "on_topic_threshold"}
    thresholds = {name: inputs.judge[key] for name, key in named_so.items() if key in inputs.judge}
    return {"replies": packed, "posts_shown": shown, "thresholds": replies.embedded(thresholds)}


def _levels(criteria: Mapping[str, Any]) -> list[tuple[str, Sequence[Mapping[str, Any]], int]]:
    """(level, its criteria, how many of them pass), in the order of the file."""
    levels: dict[str, list[Mapping[str, Any]]] = {}
    for one in criteria["criteria"]:
        levels.setdefault(one["level"], []).append(one)
    return [(level, own, sum(one["verdict"] == "pass" for one in own)) for level, own in levels.items()]


def _grpo_steps(inputs: Inputs) -> list[tuple[str, str]]:
    """(warm-start, GRPO model) for every ``<recipe>_<start>`` whose ``<start>_warmstart`` is there too."""
    starts = {model.removesuffix("_warmstart"): model for model in inputs.models if model.endswith("_warmstart")}
    return [(start, arm) for arm in inputs.grpo_arms for name, start in starts.items() if arm.endswith(f"_from_{name}")]


def _panels(inputs: Inputs) -> dict[str, charts.Curves]:
    grpo = inputs.grpo_arms
    panels = {
        "GRPO: mean reward": _curves(inputs, "reward", grpo),
        "GRPO: KL to the warm-start, nats a reply": _curves(inputs, "kl", grpo),
        "GRPO: diversity of the replies drawn": _curves(inputs, "diversity", grpo),
        "Fine-tuning: diversity of the sets drawn": _curves(
            inputs, "diversity", [arm for arm in inputs.training if arm not in grpo]
        ),
    }
    return {title: curves for title, curves in panels.items() if curves}


def _curves(inputs: Inputs, metric: str, arms: Sequence[str]) -> charts.Curves:
    found = {}
    for arm in arms:
        runs = {seed: run[metric] for seed, run in inputs.training[arm].items() if metric in run}
        if runs:
            found[arm] = runs
    return found


def _gaming(inputs: Inputs) -> list[dict[str, Any]]:
    """An entry an arm: its runs, its checks side by side over seeds, and the replies with the largest gap."""
    return [
        {"arm": arm, "runs": runs, "checks": _checks(runs), "gaps": _gaps(runs)} for arm, runs in inputs.gaming.items()
    ]


def _checks(runs: Mapping[int, Gaming]) -> list[dict[str, Any]]:
    by_name: dict[str, dict[str, Any]] = {}
    for seed, run in runs.items():
        for check in run.verdict["checks"]:
            by_name.setdefault(check["name"], {"text": check["text"], "by_seed": {}})["by_seed"][seed] = check
    return list(by_name.values())


def _gaps(runs: Mapping[int, Gaming]) -> list[dict[str, Any]]:
    found = [{**gap, "seed": seed} for seed, run in runs.items() for gap in run.gaps]
    return sorted(found, key=lambda gap: (-gap["gap"], gap["seed"], gap["step"]))[:GAPS]


def _failures(inputs: Inputs) -> dict[str, Any]:
    """Shares of replies that fail, by kind: the mean over seeds of every model, and the human replies'."""
    first = inputs.evaluations[inputs.models[0]][inputs.seeds[0]]
    kinds = list(first["failures"])
    shares = {
        model: {kind: sum(run["failures"].get(kind, 0.0) for run in runs.values()) / len(runs) for kind in kinds}
        for model, runs in inputs.evaluations.items()
    }
    return {"kinds": kinds, "shares": shares, "human": first["human_failures"]}


def _ranks(inputs: Inputs) -> list[tuple[str, float, float, float, bool]]:
    def row(label: str, source: Mapping[str, Any], name: str, ours: bool) -> tuple[str, float, float, float, bool]:
        return label, source[name], source[f"{name}_low"], source[f"{name}_high"], ours

    alone = "spearman_of_reply_length_alone"
    return [
        row("learned reward", inputs.reward, "spearman", True),
        row("reply length, same pairs", inputs.reward, alone, False),
        row("judge", inputs.judge, "spearman", True),
        row("reply length, judge\u2019s pairs", inputs.judge, alone, False),
    ]


def _ceiling(reward: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is known of the most that any model could reach, as (words, value)."""
    ceiling = dict(reward["ceiling"])
    ends = {"agreement": ("low", "high"), "ceiling_of_what_lasts": ("ceiling_low", "ceiling_high")}
    intervals = {name: [ceiling.pop(end, None) for end in both] for name, both in ends.items()}
    rows = []
    for name, value in ceiling.items():
        text = words.plain(value) if isinstance(value, float) else str(value)
        low, high = intervals.get(name, (None, None))
        if low is not None and high is not None:
            text += f" ({words.interval(low, high)})"
        rows.append((name.replace("_", " "), text))
    return rows


def _metrics(inputs: Inputs) -> list[str]:
    """Every metric that any model has, in the order of the first that has most."""
    return list(dict.fromkeys(name for row in inputs.measured.values() for name in row))


def _controls(inputs: Inputs) -> dict[str, Any]:
    """The controls of the summary, when there is one, else those of every part; and the parts for who asks."""
    parts = dict(inputs.controls)
    summary = parts.pop("controls", None)
    told = [summary] if summary else parts.values()
    listed = [control for part in told for control in part.get("controls", [])]
    return {"summary": summary, "listed": listed, "parts": parts}


def _data(inputs: Inputs) -> dict[str, Any]:
    cleaning, split = inputs.cleaning, inputs.split
    dropped = sorted(cleaning["dropped"].items(), key=lambda item: (-item[1], item[0]))
    smallest = {
        name: min(result["p"] for result in by_two.values()) for name, by_two in split["kolmogorov_smirnov"].items()
    }
    return {
        "dropped": [(reason, count) for reason, count in dropped if count],
        "never": [reason for reason, count in dropped if not count],
        "largest": max((count for _, count in dropped), default=0) or 1,
        "smallest_p": smallest,
        "overlap": {name.replace("_", " "): sum(by_two.values()) for name, by_two in split["overlap"].items()},
    }
