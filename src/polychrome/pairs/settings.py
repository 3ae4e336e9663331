"""Where pairs come from and how they are split (params.yaml: data, split)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from polychrome.declare import Rule, Section, nearest
from polychrome.errors import Problem
from polychrome.pairs.formats.values import FIELDS, STRIPPED
from polychrome.pairs.sources import SOURCES


@dataclass(frozen=True, kw_only=True)
class DataSettings(Section):
    """The source and its cleaning thresholds."""

    source: Annotated[str, Rule(choices=tuple(SOURCES), listed_in="pairs/sources/__init__.py")]
    path: Annotated[str, Rule("file or folder of the source", empty=False)]
    columns: Annotated[Mapping[str, str], Rule("field: column; {} guesses usual names")] = field(default_factory=dict)
    strip: Annotated[tuple[str, ...], Rule(choices=tuple(STRIPPED), text="are taken out of texts")] = tuple(STRIPPED)
    context_turns: Annotated[int, Rule("turns before the post that a model sees; the last that fit", minimum=0)] = 0
    min_words: Annotated[int, Rule("words; shorter posts or replies are dropped", minimum=1)]
    max_post_words: Annotated[int, Rule("words; longer posts are dropped", minimum=1)]
    max_reply_words: Annotated[int, Rule("words; longer replies are dropped", minimum=1)]
    near_duplicate: Annotated[
        float, Rule("Jaccard similarity of character 5-grams; at or above is a duplicate", above=0, maximum=1)
    ]
    limit: Annotated[int, Rule("pairs kept after cleaning; a seeded sample, 0 keeps all", minimum=0)]

    def disagreements(self) -> Iterator[Problem]:
        """Columns for fields that there are not; a path that a shell would have to complete."""
        for name in self.columns:
            if name not in FIELDS:
                yield Problem(f"columns.{name}", name, f"one of {', '.join(FIELDS)}", nearest(name, FIELDS))
        if self.path.startswith("~"):
            expected, full = "the whole path: DVC takes ~ for a name", Path(self.path).expanduser()
            yield Problem("path", self.path, expected, f"Write {full}.")


LEAST = 50  # pairs that a judge or a reward is fitted on


@dataclass(frozen=True, kw_only=True)
class SplitSettings(Section):
    """Sizes of the parts and the thresholds that may fail the stage."""

    seed: Annotated[int, Rule("one split for all training seeds", minimum=0)]
    phase1_pairs: Annotated[int, Rule("pairs in phase 1 (SFT)", minimum=4)]
    phase2_pairs: Annotated[int, Rule("pairs in phase 2 (GRPO)", minimum=4)]
    test_pairs: Annotated[int, Rule("pairs held out first", minimum=4)]
    validation_pairs: Annotated[int, Rule("pairs for validation while training; conversations of their own", minimum=4)]
    judge_pairs: Annotated[int, Rule("pairs for the engagement judge; conversations of their own", minimum=5)]
    reward_pairs: Annotated[int, Rule("pairs for the learned reward; conversations of their own", minimum=5)]
    per_conversation: Annotated[
        int, Rule("pairs of each to train on; sizes then count conversations, 0: pairs", minimum=0)
    ] = 0
    near_duplicate: Annotated[
        float, Rule("Jaccard similarity of replies that may not cross a boundary", above=0, maximum=1)
    ]
    min_p: Annotated[float, Rule("p; any of 31 chi-square and KS tests below it fails the stage", minimum=0, below=1)]

    def pairs_of(self, part: str) -> int:
        """How many pairs a part has; ``test`` has one per conversation in any case."""
        size: int = getattr(self, f"{part}_pairs")
        return size if part == "test" else size * (self.per_conversation or 1)

    def disagreements(self) -> Iterator[Problem]:
        """Judge and reward are fitted on pairs, however those are counted."""
        for part in ("judge", "reward"):
            if (pairs := self.pairs_of(part)) < LEAST:
                yield Problem(f"{part}_pairs", f"{pairs} pairs", f"at least {LEAST}", "Raise it.")
