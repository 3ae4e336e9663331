"""What the templates are given, and their filling."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from markupsafe import Markup

from polychrome.reporting.charts import pass_chart, plane_chart, training_chart
from polychrome.reporting.filling import environment
from polychrome.reporting.page import charts, replies
from polychrome.reporting.page.answers import PREDICTED, answers
from polychrome.reporting.page.cost import cost_of
from polychrome.reporting.page.inputs import Inputs
from polychrome.reporting.palette import Palette, palette_of
from polychrome.reporting.settings import ReportSettings
from polychrome.reporting.svg import in_page

GAPS = 10  # replies shown with the largest proxy minus judge, an arm


def fill(inputs: Inputs, settings: ReportSettings) -> str:
    """The page."""
    palette = palette_of(inputs.models, inputs.gaming)
    script = _asset("script.js")
    packed, shown = replies.packed(inputs)
    named_so = {"engagement": "engagement_threshold", "on_topic": "on_topic_threshold"}
    return (
        environment("polychrome.reporting.page", palette.models, autoescape=True)
        .get_template("report.html")
        .render(
            inputs=inputs,
            palette=palette,
            family=inputs.comparison["family"],
            answers=answers(inputs.comparison),
            predicted=_predicted(inputs),
            drawings=drawings(inputs, palette),
            gaming=[{"arm": arm, "runs": runs, "gaps": _gaps(runs)} for arm, runs in inputs.gaming.items()],
            failures=_failures(inputs),
            metrics=list(dict.fromkeys(name for row in inputs.measured.values() for name in row)),
            controls=_controls(inputs),
            cost=cost_of(inputs),
            price=lambda seconds: seconds / 3600 * settings.price_per_hour,
            settings=settings,
            style=Markup(_asset("style.css")),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            replies=packed,
            posts_shown=shown,
            thresholds=replies.embedded({name: inputs.judge[key] for name, key in named_so.items()}),
        )
    )


def drawings(inputs: Inputs, palette: Palette) -> dict[str, Any]:
    """Every drawing of the page by name; ``gaming`` has one for each arm, and what has nothing to show is None."""
    contrasts = [one for question in inputs.comparison["questions"] for one in question["contrasts"]]
    passes = {model: inputs.pass_at_k[model] for model in palette.models if model in inputs.pass_at_k}
    plane = {model: inputs.plane[model] for model in inputs.models}
    predicted, reward = _predicted(inputs), inputs.reward
    drawn = {
        "contrasts": charts.contrasts_chart(contrasts, inputs.comparison["family"]["primary_metric"], palette),
        "predicted": charts.predicted_chart(predicted, inputs.measured, palette) if predicted else None,
        "pass": pass_chart(passes, inputs.untouched, palette),
        "plane": plane_chart(plane, palette),
        "training": training_chart(inputs.training, palette),
        "betas": charts.betas_chart(inputs.betas) if inputs.betas else None,
        "ranks": charts.rank_chart(_ranks(inputs)),
        "calibration": charts.calibration_chart(reward["calibration"], reward["error_by_quartile"]),
    }
    gaming = {arm: charts.gaming_chart(arm, list(runs.values()), palette) for arm, runs in inputs.gaming.items()}
    made = {name: in_page(drawing, name, palette) if drawing else None for name, drawing in drawn.items()}
    return made | {"gaming": {arm: in_page(one, f"gaming-{i}", palette) for i, (arm, one) in enumerate(gaming.items())}}


def _asset(name: str) -> str:
    return (files("polychrome.reporting.page") / "templates" / name).read_text(encoding="utf-8")


def _predicted(inputs: Inputs) -> dict[str, dict[str, float]]:
    return {model: PREDICTED[model] for model in PREDICTED if model in inputs.models}


def _gaps(runs: Mapping[int, Any]) -> list[dict[str, Any]]:
    """The replies with the largest gap over all seeds of an arm."""
    found = [{**gap, "seed": seed} for seed, run in runs.items() for gap in run["gaps"]]
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
    alone = "spearman_of_reply_length_alone"
    rows = [("learned reward", inputs.reward, "spearman"), ("reply length, same pairs", inputs.reward, alone)]
    rows += [("judge", inputs.judge, "spearman"), ("reply length, judge\u2019s pairs", inputs.judge, alone)]
    return [(name, of[key], of[f"{key}_low"], of[f"{key}_high"], key != alone) for name, of, key in rows]


def _controls(inputs: Inputs) -> dict[str, Any]:
    """The controls of the summary, when there is one, else those of every part; and the parts for who asks."""
    parts = dict(inputs.controls)
    summary = parts.pop("controls", None)
    listed = [control for part in ([summary] if summary else parts.values()) for control in part.get("controls", [])]
    return {"summary": summary, "listed": listed, "parts": parts}
