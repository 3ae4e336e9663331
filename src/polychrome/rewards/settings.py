"""What the rewards are made of (params.yaml: reward)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

from polychrome.declare import Rule, Section, nearest
from polychrome.engagement.settings import FitSettings
from polychrome.errors import Problem
from polychrome.rewards.interface import MIXED

PARTS = ("relevance", "length", "sentiment", "variety", "punctuation", "genericness")  # of `heuristic`

CUT = ("zero", "mask", "keep")


@dataclass(frozen=True, kw_only=True)
class RewardSettings(Section):
    """Weights of the parts, and what a reply earns by differing from its group, or when it is cut."""

    weights: Annotated[
        Mapping[str, float], Rule("of the parts of `heuristic`; divided by their sum", minimum=0, empty=False)
    ]
    mix: Annotated[Mapping[str, float], Rule("of the parts of `hybrid`; divided by their sum", minimum=0, empty=False)]
    diversity_form: Annotated[
        str,
        Rule("reward r, d from its group: r, r + weight d, r d", choices=("none", "additive", "multiplicative")),
    ]
    diversity_weight: Annotated[float, Rule("weight of an additive bonus", minimum=0)]
    cut: Annotated[  # mask is the overlong filtering of DAPO, arXiv 2503.14476, section 3.4
        str,
        Rule("a reply cut at max_new_tokens: earns 0, earns 0 and is left out of the loss, or counts", choices=CUT),
    ]
    learned: FitSettings

    def disagreements(self) -> Iterator[Problem]:
        """Only parts that there are have a weight, and some weight is above 0."""
        for key, weights, known in (("weights", self.weights, PARTS), ("mix", self.mix, MIXED)):
            for name in weights:
                if name not in known:
                    yield Problem(f"{key}.{name}", name, " or ".join(known), nearest(name, known))
            if not any(weight > 0 for weight in weights.values()):
                yield Problem(key, "no weight above 0", "at least one above 0", "Raise one.")
