"""How the learned reward is trained (params.yaml: reward.learned)."""

from dataclasses import dataclass
from typing import Annotated

from polychrome.declare import Rule, Section


@dataclass(frozen=True, kw_only=True)
class FitSettings(Section):
    """How the head of the engagement model is trained."""

    learning_rate: Annotated[float, Rule("of stochastic gradient descent", above=0)]
    penalty: Annotated[float, Rule("of squared weights", minimum=0)]
    epochs: Annotated[int, Rule("passes over its pairs at most", minimum=1)]
    patience: Annotated[int, Rule("epochs without a better held-out loss before stopping", minimum=1)]
