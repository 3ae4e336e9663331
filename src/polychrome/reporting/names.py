"""What metrics and models are called and coloured wherever somebody reads of them: the one place for both.

Each model has one colour in every drawing, after Okabe and Ito (2008), which people with any kind of colour vision tell
apart; where lines would still be confused they are labelled directly.
"""

import re
from collections.abc import Iterable

HUMAN = "human"
IDEAL = "ideal: "  # what the name of a policy that is known to be ideal begins with

MODELS = {  # model -> its name and colour
    "zero_shot": ("zero-shot", "#8c8c8c"),
    "prompted": ("prompted", "#404040"),
    "baseline_warmstart": ("baseline, warm-start", "#56B4E9"),
    "polychromic_warmstart": ("polychromic, warm-start", "#E69F00"),
    "baseline": ("baseline", "#0072B2"),
    "polychromic": ("polychromic", "#D55E00"),
    "grpo_from_baseline": ("baseline \u2192 GRPO", "#009E73"),
    "grpo_from_polychromic": ("polychromic \u2192 GRPO", "#CC79A7"),
    HUMAN: ("human", "#000000"),
}
_SPARE_COLOURS = ("#882255", "#117733", "#332288", "#AA4499", "#999933")  # Paul Tol's muted scheme, for added arms

METRICS = {
    "utility_k": "utility_k",
    "distinct_k": "distinct_k",
    "ead": "EAD",
    "vendi": "Vendi",
    "vendi_passing": "Vendi of passes",
    "self_bleu": "self-BLEU",
    "rouge_1": "ROUGE-1",
    "rouge_2": "ROUGE-2",
    "rouge_l": "ROUGE-L",
    "well_formed": "well-formed",
    "cross_entropy": "cross-entropy of human replies",
}


def metric_name(metric: str) -> str:
    """ "Pass@10" for pass_at_10."""
    if metric.startswith("pass_at_"):
        return f"Pass@{metric.removeprefix('pass_at_')}"
    return METRICS.get(metric, metric.replace("_", " "))


def model_name(model: str) -> str:
    """ "baseline -> GRPO", with a true arrow, for grpo_from_baseline."""
    return MODELS[model][0] if model in MODELS else model.replace("_", " ")


def model_colour(model: str, models: Iterable[str] = ()) -> str:
    """The colour of ``model``; one without a colour of its own takes a spare one, by its place among ``models``."""
    if model in MODELS:
        return MODELS[model][1]
    others = sorted({model, *models} - set(MODELS))
    return _SPARE_COLOURS[others.index(model) % len(_SPARE_COLOURS)]


def named(text: str, models: Iterable[str]) -> str:
    """``text`` with ``models`` called by their names, as they stand in a sentence; paths keep theirs."""
    for model in sorted(models, key=len, reverse=True):
        if "_" in model:  # the others are words that are their own names
            name = model_name(model).replace(", ", " ")
            text = re.sub(rf"(?<![\w/]){re.escape(model)}(?!\w)", lambda _, name=name: name, text)
    return text
