"""What the rewards are made of (params.yaml: reward)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

from polychrome.declare import Rule, Section, nearest
from polychrome.engagement.settings import FitSettings
from polychrome.errors import Problem

PARTS_OF_HYBRID = ("heuristic", "learned")


@dataclass(frozen=True, kw_only=True)
class RewardSettings(Section):
    """Weights of the parts, and what a reply earns by differing from its group."""

    weights: Annotated[
        Mapping[str, float], Rule("parts of `heuristic`, each; divided by their sum", minimum=0, empty=False)
    ]
    mix: Annotated[Mapping[str, float], Rule("parts of `hybrid`, each; divided by their sum", minimum=0, empty=False)]
    diversity_form: Annotated[
        str,
        Rule("bonus within a group, r + weight d or r d", choices=("none", "additive", "multiplicative")),
    ]
    diversity_weight: Annotated[float, Rule("weight of an additive bonus", minimum=0)]
    learned: FitSettings

    def disagreements(self) -> Iterator[Problem]:
        """Some weight is above 0, and `hybrid` mixes what there is."""
        for name in self.mix:
            if name not in PARTS_OF_HYBRID:
                remedy = nearest(name, PARTS_OF_HYBRID)
                yield Problem(f"mix.{name}", name, " or ".join(PARTS_OF_HYBRID), remedy)
        for key, weights in {"weights": self.weights, "mix": self.mix}.items():
            if not any(weight > 0 for weight in weights.values()):
                yield Problem(key, "no weight above 0", "at least one above 0", "Raise one.")
