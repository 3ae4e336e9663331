"""The replies that the page carries for its browser, packed small and safe inside HTML."""

import json
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from polychrome.pairs.schema import as_said, turns_of
from polychrome.reporting.names import model_name
from polychrome.reporting.page.inputs import Inputs

WELL_FORMED, PASSES = 1, 2  # bits of a reply; failure of kind i is bit 4 << i


def packed(inputs: Inputs, budget: int) -> tuple[Markup, int]:
    """All replies as JSON for a <script type="application/json">, and how many posts it holds: as ``budget`` bytes do.

    A reply is ``[text, engagement, relevance, bits]``, scores in thousandths, relevance null where it is not defined.
    """
    rows = [row for runs in inputs.replies.values() for rows in runs.values() for row in rows]
    kinds = sorted({kind for row in rows for one in (row["human"], *row["replies"]) for kind in one["failures"]})

    def reply(one: Mapping[str, Any]) -> list[Any]:
        bits = WELL_FORMED * one["well_formed"] + PASSES * one["passes"]
        bits += sum(4 << kinds.index(kind) for kind in set(one["failures"]))
        relevance = None if one["relevance"] is None else round(1000 * one["relevance"])
        return [one["text"], round(1000 * one["engagement"]), relevance, bits]

    posts, spent = [], 0
    for place, row in enumerate(inputs.replies[inputs.models[0]][inputs.seeds[0]]):
        runs = [[inputs.replies[model][seed][place] for seed in inputs.seeds] for model in inputs.models]
        sets = [[[reply(one) for one in run["replies"]] for run in own] for own in runs]
        post = [row["id"], as_said(turns_of(row), row["post"]), reply(row["human"]), sets]
        spent += len(embedded(post).encode())
        if posts and spent > budget:
            break
        posts.append(post)
    value = {
        "models": [[model, model_name(model)] for model in inputs.models],
        "compared": sorted({one[side] for one in inputs.contrasts for side in ("a", "b")}),  # shown first
        "seeds": list(inputs.seeds),
        "kinds": kinds,
        "posts": posts,
    }
    return embedded(value), len(posts)


def embedded(value: Any) -> Markup:
    """``value`` as JSON that HTML cannot mistake for markup, whatever texts are in it."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)
