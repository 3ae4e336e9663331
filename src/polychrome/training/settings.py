"""What the training of every arm has (params.yaml: train, arms)."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from polychrome.declare import Rule, Section


@dataclass(frozen=True, kw_only=True)
class TrainSettings(Section):
    """The training loop, common to all arms."""

    weight_decay: Annotated[float, Rule("AdamW", minimum=0)]
    warmup_ratio: Annotated[float, Rule("share of steps with rising learning rate", minimum=0, maximum=1)]
    max_grad_norm: Annotated[float, Rule("clip above", above=0)]
    gradient_accumulation: Annotated[int, Rule("micro-batches per step", minimum=1)]
    checkpoint_every: Annotated[int, Rule("steps between checkpoints", minimum=1)]
    evaluate_every: Annotated[int, Rule("batches of posts between validations; 0 is once an epoch", minimum=0)]
    patience: Annotated[int, Rule("validations without improvement before stopping; 0 never stops early", minimum=0)]
    keep_best: Annotated[bool, Rule("true ends with the weights of the best validation, false with the last")]


@dataclass(frozen=True, kw_only=True)
class Arm(Section):
    """What every arm that is trained has; the rest is its method's."""

    stage: ClassVar[str]  # of dvc.yaml, which trains it

    objective: Annotated[str, Rule("untouched, or one of METHODS in training/methods")]
    data: Annotated[str, Rule()]
    epochs: Annotated[int, Rule("passes over the data", minimum=1)]
    learning_rate: Annotated[float, Rule("AdamW's peak", above=0)]
    batch_size: Annotated[int, Rule("posts per step", minimum=1)]
