"""What the templates are given, and their filling."""

import base64
import hashlib
from functools import partial
from importlib.resources import files
from typing import Any

from markupsafe import Markup

from polychrome.errors import bad
from polychrome.reporting.charts import pass_chart, plane_chart, training_chart
from polychrome.reporting.filling import environment
from polychrome.reporting.frontier import frontier_chart
from polychrome.reporting.names import IDEAL
from polychrome.reporting.page import charts, replies
from polychrome.reporting.page.answers import PREDICTED, answers
from polychrome.reporting.page.cost import cost_of
from polychrome.reporting.page.inputs import Inputs
from polychrome.reporting.palette import Palette, palette_of
from polychrome.reporting.settings import ReportSettings
from polychrome.reporting.svg import in_page

LIMIT = 5_000_000  # bytes
HEAD = 20_000  # bytes that replies may need beside their posts
GAPS = 10  # replies shown with the largest proxy minus judge, per arm


def render(inputs: Inputs, settings: ReportSettings) -> str:
    """The page as text. Raises InputError when it would be larger than :data:`LIMIT`, or when a file lacks a field."""
    sampled = inputs.frontier["curves"] if inputs.frontier else ()
    palette = palette_of(inputs.models, [*inputs.gaming, *(curve["model"] for curve in sampled)])
    templates = files("polychrome.reporting.page") / "templates"
    style, script = (Markup((templates / name).read_text(encoding="utf-8")) for name in ("style.css", "script.js"))
    thresholds = {name: inputs.judge[f"{name}_threshold"] for name in ("engagement", "on_topic")}
    parts = dict(inputs.controls)
    summary = parts.pop("controls", None)  # which lists the controls of every part
    listed = [control for part in ([summary] if summary else parts.values()) for control in part.get("controls", [])]
    template = environment("polychrome.reporting.page", palette.models, autoescape=True).get_template("report.html")
    fill = partial(
        template.render,
        inputs=inputs,
        palette=palette,
        family=inputs.comparison["family"],
        answers=answers(inputs.comparison),
        predicted={model: row for model, row in PREDICTED.items() if model in inputs.models},
        drawings=drawings(inputs, palette),
        gaming=_gaming(inputs),
        failures=_failures(inputs),
        metrics=list(dict.fromkeys(name for row in inputs.comparison["models"].values() for name in row)),
        controls={"summary": summary, "listed": listed, "parts": parts},
        cost=cost_of(inputs),
        price=lambda seconds: seconds / 3600 * settings.price_per_hour,
        settings=settings,
        style=style,
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        thresholds=replies.embedded(thresholds),
    )
    room = LIMIT - HEAD - len(fill(replies="", posts_shown=0).encode())
    packed, shown = replies.packed(inputs, room)
    page = fill(replies=packed, posts_shown=shown)
    if (size := len(page.encode())) >= LIMIT:
        remedy = "Compare fewer models, or fewer steps, in one report."
        raise bad("the report", f"{size} bytes", f"less than {LIMIT}", remedy)
    return page


def drawings(inputs: Inputs, palette: Palette) -> dict[str, Any]:
    """Every drawing of the page by name; ``gaming`` has one for each arm, and what has nothing to show is None."""
    passes = {
        model: curve for model, curve in inputs.pass_at_k.items() if model in palette.models or model.startswith(IDEAL)
    }
    predicted = {model: row for model, row in PREDICTED.items() if model in inputs.models}
    measured, primary = inputs.comparison["models"], inputs.comparison["family"]["primary_metric"]
    drawn = {
        "contrasts": charts.contrasts_chart(inputs.contrasts, primary, palette),
        "predicted": charts.predicted_chart(predicted, measured, palette) if predicted else None,
        "pass": pass_chart(passes, inputs.untouched, palette),
        "plane": plane_chart({model: inputs.plane[model] for model in inputs.models}, palette),
        "frontier": frontier_chart(inputs.frontier, palette) if inputs.frontier else None,
        "training": training_chart(inputs.training, palette),
        "betas": charts.betas_chart(inputs.betas) if inputs.betas else None,
        "ranks": charts.rank_chart(inputs.reward, inputs.judge),
        "calibration": charts.calibration_chart(inputs.reward),
    }
    made = {name: in_page(drawing, name, palette) if drawing else None for name, drawing in drawn.items()}
    gaming = {arm: charts.gaming_chart(arm, list(runs.values()), palette) for arm, runs in inputs.gaming.items()}
    return made | {"gaming": {arm: in_page(one, f"gaming-{i}", palette) for i, (arm, one) in enumerate(gaming.items())}}


def _gaming(inputs: Inputs) -> list[dict[str, Any]]:
    """Every arm that was asked, its runs, and the replies with the largest gap over all of them."""
    made = []
    for arm, runs in inputs.gaming.items():
        gaps = [{**gap, "seed": seed} for seed, run in runs.items() for gap in run["gaps"]]
        gaps.sort(key=lambda gap: (-gap["gap"], gap["seed"], gap["step"]))
        made.append({"arm": arm, "runs": runs, "gaps": gaps[:GAPS]})
    return made


def _failures(inputs: Inputs) -> dict[str, Any]:
    """Shares of replies that fail, by kind: the mean over seeds of every model, and the human replies'.

    None where a kind cannot be asked of the language.
    """
    first = inputs.evaluations[inputs.models[0]][inputs.seeds[0]]
    kinds, shares = list(first["failures"]), {}
    for model, runs in inputs.evaluations.items():
        every = [run["failures"] for run in runs.values()]
        asked = {kind: [one.get(kind, 0.0) for one in every if one.get(kind, 0.0) is not None] for kind in kinds}
        shares[model] = {kind: sum(found) / len(found) if found else None for kind, found in asked.items()}
    return {"kinds": kinds, "shares": shares, "human": first["human_failures"]}
