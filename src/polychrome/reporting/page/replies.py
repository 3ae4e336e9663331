"""The replies that the page carries for its browser, packed small and safe inside HTML."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from polychrome.reporting.names import model_name
from polychrome.reporting.page.inputs import Inputs

BUDGET = 3_500_000  # bytes of replies in a page of less than five megabytes
WELL_FORMED, PASSES = 1, 2  # bits of a reply; failure of kind i is bit 4 << i


def packed(inputs: Inputs, budget: int = BUDGET) -> tuple[Markup, int]:
    """All replies as JSON for a <script type="application/json">, and how many posts it holds: as many as fit.

    A reply is ``[text, engagement, relevance, bits]``, scores in thousandths.
    """
    first = inputs.replies[inputs.models[0]][inputs.seeds[0]]
    rows = [row for runs in inputs.replies.values() for rows in runs.values() for row in rows]
    kinds = sorted({kind for row in rows for one in (row["human"], *row["replies"]) for kind in one["failures"]})
    contrasts = [one for question in inputs.comparison["questions"] for one in question["contrasts"]]
    head = {
        "models": [[m, model_name(m)] for m in inputs.models],
        "compared": sorted({one[side] for one in contrasts for side in ("a", "b")}),  # shown first
        "seeds": list(inputs.seeds),
        "kinds": kinds,
    }
    posts, spent = [], 0
    for place, row in enumerate(first):
        sets = [
            [[_reply(one, kinds) for one in inputs.replies[m][s][place]["replies"]] for s in inputs.seeds]
            for m in inputs.models
        ]
        post = [row["id"], row["post"], _reply(row["human"], kinds), sets]
        spent += len(embedded(post).encode())
        if posts and spent > budget:
            break
        posts.append(post)
    return embedded(head | {"posts": posts}), len(posts)


def embedded(value: Any) -> Markup:
    """``value`` as JSON that HTML cannot mistake for markup, whatever texts are in it."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _reply(one: Mapping[str, Any], kinds: Sequence[str]) -> list[Any]:
    bits = WELL_FORMED * one["well_formed"] + PASSES * one["passes"]
    bits += sum(4 << kinds.index(kind) for kind in set(one["failures"]))
    return [one["text"], round(1000 * one["engagement"]), round(1000 * one["relevance"]), bits]
