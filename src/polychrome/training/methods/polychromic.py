"""Cross-entropy minus lambda times the diversity of sets drawn from the policy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from polychrome import paths
from polychrome.declare import Rule, at_most
from polychrome.errors import Problem
from polychrome.measures.encoder import Encoder
from polychrome.pairs.schema import Pair
from polychrome.training.methods.cross_entropy import CrossEntropy, CrossEntropyArm
from polychrome.training.methods.interface import Metrics, Piece, Step
from polychrome.training.settings import Arm

if TYPE_CHECKING:
    from torch import Tensor

    from polychrome.params import Params
    from polychrome.training.diversity import SetDiversity, Validity
    from polychrome.training.methods.context import Context, Part


@dataclass(frozen=True, kw_only=True)
class PolychromicArm(CrossEntropyArm):
    """An arm trained by cross-entropy minus lambda times set diversity."""

    lambda_: Annotated[float, Rule("weight of set diversity, standardised; 0 is cross_entropy bit for bit", minimum=0)]
    diversity: Annotated[str, Rule(choices=("semantic", "self_bleu", "distinct_n", "partition"))]
    # the leave-one-out baseline is a mean over pairs of the others
    samples: Annotated[int, Rule("replies per set", minimum=3)]
    posts_per_step: Annotated[int, Rule("posts of the batch that a set is drawn for; at most batch_size", minimum=1)]
    diversity_temperature: Annotated[float, Rule("of the policy that sets are drawn from", above=0)]
    max_new_tokens: Annotated[int, Rule("tokens of a sampled reply", minimum=1)]
    gate: Annotated[bool, Rule("leaves malformed, cut and off-topic replies out of D; false counts every reply")]
    classes: Annotated[str, Rule("of diversity: partition", choices=("partition", "kind"))] = "partition"

    def disagreements(self) -> Iterator[Problem]:
        """A step's diverse posts are among its batch."""
        yield from at_most("posts_per_step", self.posts_per_step, "batch_size", self.batch_size)


@dataclass
class Polychromic(CrossEntropy):
    """Cross-entropy, and validated by it, with a second term: the diversity of a set of replies per post."""

    settings: ClassVar[type[Arm]] = PolychromicArm

    arm: PolychromicArm
    encoder: Encoder  # of replies and posts
    diversity: SetDiversity
    validity: Validity

    @classmethod
    def build(cls, arm: PolychromicArm, params: Params, pairs: Sequence[Pair]) -> Self:
        """With the encoder of the assets, and the gate set by the arm's own pairs."""
        from polychrome.training.classes import Classes, distinct_share
        from polychrome.training.diversity import Validity, make_diversity

        encoder = Encoder.open(paths.ENCODER)
        validity = Validity.calibrated(encoder, pairs, arm.gate)
        if arm.diversity == "partition":
            diversity = distinct_share(Classes.calibrated(arm.classes, encoder, pairs))
        else:
            diversity = make_diversity(arm.diversity)
        return cls(arm, encoder, diversity, validity)

    def step(self, context: Context, batch: Sequence[Pair], number: int) -> Step:
        """The pieces of cross-entropy, then those of diversity. With lambda = 0 it is cross-entropy, bit for bit."""
        import torch

        from polychrome.objectives.diversity import leave_one_out_advantages, standardised
        from polychrome.training.diversity import Sets

        step, arm, total = super().step(context, batch, number), self.arm, context.total
        if arm.lambda_ == 0:
            return step
        chosen = batch[: len(range(context.rank, arm.posts_per_step, context.processes))]  # of the whole batch's first
        sampling = {"temperature": arm.diversity_temperature, "max_new_tokens": arm.max_new_tokens}
        drawn = context.draw(chosen, arm.samples, ("polychromic", number), record=True, **sampling)
        if chosen:
            sets = Sets(self.encoder, drawn.texts, [pair.post for pair in chosen], drawn.ended)
            valid = torch.from_numpy(self.validity(sets.posts, sets))
            gated, without = self.diversity(sets, valid)
            ungated, _ = self.diversity(sets, torch.ones_like(valid))
        else:
            valid, without = (torch.zeros(0, arm.samples, dtype=kind) for kind in (torch.bool, torch.float64))
            gated = ungated = torch.zeros(0)
        raw = leave_one_out_advantages(gated, without, elsewhere(context, gated, valid))
        advantages = standardised(raw, torch.tensor(total(float(raw.square().sum())) / total(raw.numel())))
        tokens, count = total(drawn.tokens), total(len(chosen))
        step.pieces += [self._piece(part, advantages[part.span].flatten(), tokens) for part in drawn.parts(context)]
        step.metrics |= {
            "diversity": total(float(ungated.sum())) / count,
            "gated_diversity": total(float(gated.sum())) / count,
            "valid_share": total(float(valid.sum())) / (count * arm.samples),
        }
        return step

    def _piece(self, part: Part, advantages: Tensor, tokens: float) -> Piece:
        from polychrome.objectives.diversity import score_function_loss

        def loss(logps: Tensor, entropies: Tensor) -> tuple[Tensor, Metrics]:
            mask = part.packed.completion_mask.to(logps)
            if (weights := part.weights(logps)) is not None:
                mask = mask * weights
            value = self.arm.lambda_ * score_function_loss(logps, mask, advantages.to(logps), tokens)
            return value, {"diversity_loss": value.detach()}

        trunk = part.replay and part.replay.trunk()
        return Piece("diversity", part.packed, loss, self.arm.diversity_temperature, trunk=trunk, replay=part.replay)


def elsewhere(context: Context, diversity: Tensor, valid: Tensor) -> Tensor:
    """(P,): the mean D of the step's other sets, on all processes, that have two valid replies; 0 without any.

    ``diversity`` (P,) and ``valid`` (P, n) are those of this process's sets.
    """
    paired = (valid.sum(-1) > 1).to(diversity)
    own = diversity * paired
    total, count = context.total(float(own.sum())), context.total(float(paired.sum()))
    return (total - own) / (count - paired).clamp(min=1)
