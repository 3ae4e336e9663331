"""What counts as gaming, and which controls are trained (params.yaml: gaming, controls)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from polychrome.declare import Rule, Section


@dataclass(frozen=True, kw_only=True)
class GamingSettings(Section):
    """From where on a change between the first and the last epoch of GRPO counts."""

    judge_fall: Annotated[
        float, Rule("standard deviations of the judge's predictions for human replies", above=0, maximum=1)
    ]
    length_change: Annotated[
        float, Rule("of the first epoch's words per reply; half as long again, or half", above=0, maximum=1)
    ]
    genericness_rise: Annotated[float, Rule("of a score in [0, 1]", above=0, maximum=1)]
    copy_rise: Annotated[float, Rule("of the share of a reply's bigrams that stand in the post", above=0, maximum=1)]
    repetition_rise: Annotated[float, Rule("of the share of a reply's bigrams that it says twice", above=0, maximum=1)]
    near_identical_rise: Annotated[
        float, Rule("of the share of replies nearly identical to one given to another post", above=0, maximum=1)
    ]
    truncation_rise: Annotated[
        float, Rule("of the share of replies cut at the arm's max_new_tokens", above=0, maximum=1)
    ]
    near_identical: Annotated[
        float, Rule("Jaccard similarity of character 5-grams from which two replies are", above=0, maximum=1)
    ]


@dataclass(frozen=True, kw_only=True)
class ControlSettings(Section):
    """What `make controls` trains: each variant is the arm of that name with some keys changed."""

    seed: Annotated[int, Rule("of the controls; one of seeds", minimum=0)]
    variants: Annotated[
        Mapping[str, str],  # name -> the arm that it is a variant of; the variant is arms.control_<name>
        Rule("name: {of: an arm, and the keys that differ}; the arm is called control_<name>"),
    ]
