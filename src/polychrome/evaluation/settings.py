"""How models answer the test posts and are compared (params.yaml: sampling, evaluation)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from polychrome.declare import Rule, Section
from polychrome.errors import Problem


@dataclass(frozen=True, kw_only=True)
class AnswerSettings(Section):
    """How every model answers the test posts."""

    samples: Annotated[int, Rule("replies per post; no fewer than the largest k", minimum=1)]
    temperature: Annotated[float, Rule(above=0)]
    top_p: Annotated[float, Rule(above=0, maximum=1)]
    top_k: Annotated[int, Rule("tokens; 0 keeps all", minimum=0)]
    max_new_tokens: Annotated[int, Rule("tokens of a reply", minimum=1)]


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings(Section):
    """Metrics and the statistics that compare models."""

    ks: Annotated[tuple[int, ...], Rule("k of Pass@k; at most sampling.samples", minimum=1, empty=False, unique=True)]
    pass_quantile: Annotated[float, Rule("of predicted engagement of human replies; a pass needs it", above=0, below=1)]
    bootstrap: Annotated[int, Rule("resamples", minimum=1)]
    confidence: Annotated[float, Rule("of intervals", above=0, below=1)]
    alpha: Annotated[float, Rule("significance after Holm's correction", above=0, below=1)]

    def disagreements(self) -> Iterator[Problem]:
        """The plane shows Pass@1."""
        if 1 not in self.ks:
            yield Problem("ks", str(list(self.ks)), "1 among them, which the plane shows", "Add 1.")

    @property
    def primary(self) -> str:
        """The metric that questions are answered and models ranked by: Pass@k at the largest k."""
        return f"pass_at_{max(self.ks)}"

    @property
    def passes(self) -> tuple[str, ...]:
        """Pass@k at every k, in ascending order."""
        return tuple(f"pass_at_{k}" for k in sorted(self.ks))
