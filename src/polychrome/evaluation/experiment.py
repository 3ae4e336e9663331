"""What is asked of the arms (params.yaml: experiment): which are compared, the questions and the success criteria."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from polychrome.declare import Rule, Section, nearest
from polychrome.errors import Problem

KINDS = {  # kind of criterion -> the keys that it needs; each is a function in criteria.py
    "trained": ("threshold",),
    "above": ("a", "b"),
    "significant": ("a", "b"),
    "exceeds": ("a", "metric", "threshold"),
    "not_below": ("a", "b", "metric"),
    "not_gamed": ("a",),
    "gain": ("a", "b", "threshold"),
    "effect_size": ("a", "b", "threshold"),
    "seeds": ("threshold",),
    "share_of_ideal": ("a", "threshold"),
}
OPTIONAL = {"above": ("metric", "threshold"), "significant": ("threshold",)}  # else the primary metric, 0 and alpha
CONTRASTING = ("above", "significant", "gain", "effect_size")  # of the primary metric: a question must ask for it


@dataclass(frozen=True, kw_only=True)
class Question(Section):
    """A question that contrasts of arms answer."""

    id: Annotated[str, Rule(empty=False)]
    text: Annotated[str, Rule(empty=False)]
    contrasts: tuple[tuple[str, str], ...]  # of a against b, read as "a above b"
    rank: Annotated[bool, Rule()] = False  # whether the answer also ranks the compared arms


@dataclass(frozen=True, kw_only=True)
class Criterion(Section):
    """What has to hold for the experiment to have succeeded; :data:`KINDS` says which keys a kind needs."""

    level: Annotated[str, Rule(choices=("must", "should", "nice"))]
    kind: Annotated[str, Rule(choices=tuple(KINDS))]
    a: Annotated[str, Rule()] = ""
    b: Annotated[str, Rule()] = ""
    metric: Annotated[str, Rule()] = ""
    threshold: Annotated[float | None, Rule()] = None
    name: Annotated[str, Rule()] = ""  # "" is that of the kind

    @property
    def given(self) -> tuple[str, ...]:
        """The keys that say something."""
        return tuple(key for key in ("a", "b", "metric", "threshold") if getattr(self, key) not in ("", None))


@dataclass(frozen=True, kw_only=True)
class ExperimentSettings(Section):
    """Which arms are compared, what is asked of them, and what they set out to show."""

    compared: Annotated[Mapping[str, str], Rule("arm: the model that it started from", empty=False)]
    questions: Annotated[
        tuple[Question, ...], Rule('contrasts [a, b] are read as "a above b"; one question may rank the arms')
    ]
    criteria: Annotated[
        tuple[Criterion, ...], Rule("level must, should or nice; kind is a function in evaluation/criteria.py")
    ]

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Every contrast (a, b) of every question, once, whichever way round it is asked again."""
        found: dict[frozenset[str], tuple[str, str]] = {}
        for question in self.questions:
            for pair in question.contrasts:
                found.setdefault(frozenset(pair), pair)
        return tuple(found.values())

    @property
    def asked(self) -> str:
        """ "Q1 to Q4"."""
        return " to ".join(dict.fromkeys(question.id for question in (self.questions[0], self.questions[-1])))

    @property
    def judged(self) -> tuple[str, ...]:
        """The arms whose gaming verdicts are needed."""
        return tuple(dict.fromkeys(criterion.a for criterion in self.criteria if criterion.kind == "not_gamed"))

    def problems(self, models: Sequence[str], stages: Mapping[str, str], metrics: Sequence[str]) -> Iterator[Problem]:
        """What does not fit together, or not what there is; ``where`` is the dotted key.

        There are the ``models`` that are evaluated, ``stages``: arm -> the stage that makes it, and ``metrics``.
        """
        if len(self.compared) < 2:
            yield Problem("compared", f"{len(self.compared)} arms", "two or more", "Add what it is compared with.")
        if not self.questions:
            yield Problem("questions", "none", "one question or more", "Add one.")
        named = [(f"compared.{arm}", arm) for arm in self.compared]
        for arm, start in self.compared.items():
            if start not in stages:
                expected = "an arm under arms: that it started from"
                yield Problem(f"compared.{arm}", start, expected, nearest(start, stages))
        for i, question in enumerate(self.questions):
            where = f"questions[{i}].contrasts"
            named += [(where, arm) for pair in question.contrasts for arm in pair]
            if not question.contrasts:
                yield Problem(where, "none", "one pair [a, b] or more", "Add one.")
            for a in [a for a, b in question.contrasts if a == b]:
                yield Problem(where, f"{a} with itself", "two arms", "Name another one.")
            if question.id in [other.id for other in self.questions[:i]]:
                yield Problem(f"questions[{i}].id", f"{question.id} again", "each id once", "Rename one.")
        for i, one in enumerate(self.criteria):
            where = f"criteria[{i}]"
            named += [(f"{where}.{key}", getattr(one, key)) for key in ("a", "b") if key in one.given]
            needed, known = KINDS[one.kind], (*KINDS[one.kind], *OPTIONAL.get(one.kind, ()))
            if idle := [key for key in one.given if key not in known]:
                yield Problem(where, ", ".join(idle), f"{' and '.join(known)} for {one.kind}, no more", "Delete it.")
            if one.metric and one.metric not in metrics:
                expected = "a metric that models are compared on"
                yield Problem(f"{where}.metric", one.metric, expected, nearest(one.metric, metrics))
            if one.kind == "not_gamed" and stages.get(one.a, "grpo") != "grpo":
                yield Problem(f"{where}.a", one.a, "an arm that stage grpo trains", "Name one, or drop the criterion.")
            if absent := [key for key in needed if key not in one.given]:
                yield Problem(where, f"no {', '.join(absent)}", f"{' and '.join(needed)} for {one.kind}", "Add it.")
            elif one.kind in CONTRASTING and not one.metric and {one.a, one.b} not in map(set, self.pairs):
                expected = "a question that contrasts the two"
                yield Problem(where, f"no contrast of {one.a} with {one.b}", expected, "Ask it, or drop the criterion.")
        for where, arm in dict.fromkeys(named):
            if arm not in models:
                yield Problem(where, arm, f"one of models: {', '.join(models)}", nearest(arm, models))
