"""Which model is decoded in other ways, and how (params.yaml: frontier)."""

from dataclasses import dataclass
from typing import Annotated

from polychrome.declare import NAME, Rule, Section

DECLARED = Rule("what decoding alone gets out of `baseline`, without any training; docs/frontier.md")


@dataclass(frozen=True, kw_only=True)
class FrontierSettings(Section):
    """How models are sampled to find what decoding alone reaches."""

    baseline: Annotated[str, NAME]  # one of models
    temperatures: Annotated[tuple[float, ...], Rule(above=0, empty=False, unique=True)]
    min_p: Annotated[float, Rule(above=0, maximum=1)]
    pool: Annotated[int, Rule("replies sampled for each that is kept", minimum=2)]
    weight: Annotated[float, Rule("of the reward in maximal marginal relevance", minimum=0, maximum=1)]

    def at(self, temperature: float) -> tuple[float, ...]:
        """All temperatures, rising, with that at which models are compared."""
        return tuple(sorted({*self.temperatures, temperature}))
