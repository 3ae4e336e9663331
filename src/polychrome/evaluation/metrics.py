"""What becomes of each metric: models are contrasted on it, or it is shown beside those that they are contrasted on."""

import numpy as np

from polychrome.evaluation.settings import EvaluationSettings
from polychrome.evaluation.statistics import defined
from polychrome.measures.metrics import declared
from polychrome.measures.words import LANGUAGE

CONTRASTED = (*declared("CONTRASTED"), "engagement", "cross_entropy")  # with Pass@k
SHOWN = (*declared("SHOWN"), "relevance", "well_formed", "words")
BOUNDED = (*declared("BOUNDED"), "well_formed")  # with Pass@k, in [0, 1]
ENCODED = (*declared("ENCODED"), "relevance")  # undefined where the encoder does not know the script


def contrasted(settings: EvaluationSettings) -> tuple[str, ...]:
    """The few metrics of results/metrics.json and of the contrasts."""
    return (*dict.fromkeys((settings.passes[0], settings.passes[-1])), *CONTRASTED)


def compared(settings: EvaluationSettings) -> tuple[str, ...]:
    """Every metric that is contrasted or shown."""
    return tuple(dict.fromkeys((*contrasted(settings), *settings.passes, *SHOWN)))


def headroom(metric: str) -> tuple[float, float] | None:
    """The least and the most that a metric can be; None where it has no ends that models come near."""
    return (0.0, 1.0) if metric.startswith("pass_at_") or metric in BOUNDED else None


def why_undefined(metric: str, *relevance: np.ndarray) -> str:
    """Why fewer than two posts have a value of ``metric`` for all models, given their ``relevance`` (seeds, posts).

    That is NaN where the encoder does not know the script of the post or of a reply to it.
    """
    if metric in ENCODED and relevance and defined(np.concatenate(relevance)).shape[1] < 2:
        return LANGUAGE
    return "fewer than two posts have a value for both models"
