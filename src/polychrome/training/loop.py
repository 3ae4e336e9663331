"""The one training loop: AdamW, cosine schedule with warm-up, clipping, checkpoints, a log row per step.

Every objective plugs in as a :class:`~polychrome.training.methods.interface.Method`; the loop knows none by name. A
step's global batch is split over processes; losses are divided by counts of the whole step, so any number of processes
and micro-batches add up to the same gradient. Order of the data and every sample depend on (seed, step) alone;
dropout's noise, where there is any, also on the process and the micro-batch.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch.nn.utils import clip_grad_norm_
from tqdm import tqdm

from polychrome.engine.sampler import MEMORY_MIB
from polychrome.engine.scoring import CompletionScorer, tokens_within
from polychrome.models.chat import Chat
from polychrome.models.policy import adapter_tensors, set_training
from polychrome.pairs.schema import Pair
from polychrome.randomness import numpy_generator, seed_for
from polychrome.training.alarms import Alarms
from polychrome.training.checkpoint import Checkpoints
from polychrome.training.methods.context import Context
from polychrome.training.methods.interface import Method, Piece, Step
from polychrome.training.settings import Arm, TrainSettings

if TYPE_CHECKING:
    from polychrome.training.shards import Shards

Row = dict[str, Any]  # one step's log: metric -> number, and "rollouts" -> the groups that were rewarded
PACED = 4  # batches, after the first, by which a run's seconds per step are measured
SHARE = "_gradient_share"  # behind the name of a term of the objective: its share of the gradient


def _add(sums: dict[str, float], name: str, value: float) -> None:
    """Take another part of a metric in: a sum, or a maximum where the name says so."""
    sums[name] = max(sums.get(name, value), value) if name.endswith("_max") else sums.get(name, 0.0) + value


@dataclass
class State:
    """Where a run stands; all of it goes into a checkpoint."""

    step: int = 0
    history: list[Row] = field(default_factory=list)
    validations: list[Row] = field(default_factory=list)
    best: float | None = None  # validation so far
    best_step: int = 0
    worse: int = 0  # validations since the best


@dataclass
class Run:
    """One training run; :meth:`train` leaves the policy trained and returns its log."""

    policy: Any
    method: Method
    chat: Chat
    pairs: Sequence[Pair]
    validation: Sequence[Pair]
    arm: Arm  # its batch_size is over all processes
    settings: TrainSettings
    seed: int
    alarms: Alarms
    checkpoints: Checkpoints | None
    accelerator: Accelerator
    name: str
    memory_mib: int = MEMORY_MIB
    paced: Callable[[float], str] | None = None  # what to say of the seconds per step, once they are known
    shards: "Shards | None" = None  # of the policy, where no process holds all of it

    def __post_init__(self) -> None:
        self.parameters = adapter_tensors(self.policy)
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(), self.arm.learning_rate, weight_decay=self.settings.weight_decay, fused=True
        )  # fused: one pass over all adapters
        self.steps_per_epoch = math.ceil(len(self.pairs) / self.arm.batch_size)  # batches; the last may be smaller
        self.total_steps = self.arm.epochs * self.steps_per_epoch * self.method.repeats
        scorer = CompletionScorer(self.policy)
        self.scorer = self.shards.wrapped(scorer) if self.shards else self.accelerator.prepare(scorer)
        self.context = Context(
            policy=self.policy,
            scorer=scorer,
            chat=self.chat,
            seed=self.seed,
            micro_batches=self.settings.gradient_accumulation,
            total=lambda value: self._totals({"": value})[""],
            processes=self.accelerator.num_processes,
            rank=self.accelerator.process_index,
            batches=self.arm.epochs * self.steps_per_epoch,
            memory_mib=self.memory_mib,
            most_tokens=tokens_within(self.memory_mib, self.policy),
        )
        self.state = State()
        self.best_weights: dict[str, torch.Tensor] = {}

    def train(self) -> State:
        """Train to the end, from the newest checkpoint if there is one. Raises TrainingStopped from an alarm."""
        self._resume()
        self.policy.train()
        quiet = not self.accelerator.is_main_process
        done = {"total": self.total_steps, "initial": self.state.step}
        with tqdm(**done, desc=self.name, unit="step", disable=quiet, mininterval=2) as bar:
            for place, (number, batch) in enumerate(self._batches()):
                step = self._seeded_step(batch, number)
                for _ in range(self.method.repeats):
                    row = self._optimise(step)
                    self.state.step += 1
                    self.state.history.append(row)
                    bar.update()
                    told = {name: f"{row[name]:.3g}" for name in ("loss", "reward", "kl") if name in row}
                    bar.set_postfix(told, refresh=False)
                    for warning in self.alarms.check(self.state.history):
                        bar.write(f"warning: {self.name}, step {self.state.step}: {warning}")
                if place == 0:
                    since = time.monotonic()
                elif place == PACED and self.paced and not quiet:
                    bar.write(self.paced((time.monotonic() - since) / (PACED * self.method.repeats)))
                if self._validate_and_stop():
                    break
                if self.state.step % self.settings.checkpoint_every < self.method.repeats:
                    self._checkpoint()
        self._everyones([])  # the last of them is done with its validation
        if self.settings.keep_best and self.best_weights:
            self._load_weights(self.best_weights)
        self.policy.eval()
        return self.state

    # --- one step ------------------------------------------------------------------------------------------------

    def _batches(self) -> Iterator[tuple[int, list[Pair]]]:
        """(rollout number, this process's part of the batch, which may be empty), from where the run stands."""
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        for number in range(self.state.step // self.method.repeats, self.arm.epochs * self.steps_per_epoch):
            epoch, place = divmod(number, self.steps_per_epoch)
            order = numpy_generator(self.seed, "order", epoch).permutation(len(self.pairs))
            start = place * self.arm.batch_size
            yield number, [self.pairs[i] for i in order[start : start + self.arm.batch_size][rank::world]]

    def _seeded_step(self, batch: Sequence[Pair], number: int) -> Step:
        torch.manual_seed(seed_for(self.seed, "dropout", number, self.accelerator.process_index))
        return self.method.step(self.context, batch, number)

    def _optimise(self, step: Step) -> Row:
        row: Row = dict(step.metrics)
        norms = self._backward(step, row)
        norm = clip_grad_norm_(self.parameters.values(), self.settings.max_grad_norm)
        row["learning_rate"] = self.optimizer.param_groups[0]["lr"] = self._rate()
        self.optimizer.step()
        self.optimizer.zero_grad()
        row["grad_norm"] = float(norm)
        row |= {f"{term}{SHARE}": norms[term] / sum(norms.values()) for term in list(norms)[1:]}
        if step.rollouts is not None:
            row["rollouts"] = sorted(self._everyones(step.rollouts), key=lambda rollout: rollout["id"])
            step.rollouts = None  # logged once, however many steps these rollouts serve
        return row

    def _rate(self) -> float:
        """The learning rate of the next step: linear warm-up, then half a cosine to 0.

        Unlike the libraries' it does not start at 0: in a run of a dozen steps one that teaches nothing counts.
        """
        step, warmup = self.state.step + 1, round(self.settings.warmup_ratio * self.total_steps)
        passed = min(1.0, (step - warmup) / (self.total_steps + 1 - warmup))
        return self.arm.learning_rate * (step / warmup if step < warmup else 0.5 * (1 + math.cos(math.pi * passed)))

    def _backward(self, step: Step, row: Row) -> dict[str, float]:
        """Accumulate the gradient of every piece; returns the gradient norm of each term by itself, if there are two.

        Terms come in the order of their first pieces; the sums of the pieces' metrics go into ``row``.
        """
        pieces = self._even(step.pieces)
        terms = list(dict.fromkeys(piece.term for piece in pieces))
        norms, sums, before = {}, {"loss": 0.0}, None
        for term in terms:
            for piece in (piece for piece in pieces if piece.term == term):
                set_training(self.policy, piece.dropout)
                logps, entropies, _ = self.scorer(piece.packed, piece.temperature, piece.trunk, piece.replay)
                loss, metrics = piece.loss(logps, entropies)
                # DDP averages gradients over processes; the loss is already this process's share of the whole.
                self.accelerator.backward(loss * self.accelerator.num_processes)
                for name, value in ({"loss": loss.detach()} | metrics).items():
                    _add(sums, name, float(value))
            if len(terms) > 1:
                now = [tensor.grad.clone() for tensor in self.parameters.values() if tensor.grad is not None]
                own = now if before is None else [a - b for a, b in zip(now, before, strict=True)]
                norms[term] = float(torch.stack([g.norm() for g in own]).norm())
                before = now
        row |= self._totals(sums)
        return norms

    def _even(self, pieces: list[Piece]) -> list[Piece]:
        """``pieces``, with idle ones added so that every process makes the same passes of the same terms in order.

        The processes average gradients in every backward pass; one that had fewer would leave the others waiting.
        """
        if self.accelerator.num_processes == 1:
            return pieces
        own = Counter(piece.term for piece in pieces)
        most: Counter[str] = reduce(or_, self._everyones([own]))  # the maximum of each term; the same on every process
        ((_, packed),) = self.context.packs(self.context.human(self.pairs[:1]))
        idle = [Piece(term, packed, lambda logps, _: (0.0 * logps.sum(), {})) for term in (most - own).elements()]
        order = list(most)
        return sorted([*pieces, *idle], key=lambda piece: order.index(piece.term))

    def _totals(self, values: Mapping[str, float]) -> dict[str, float]:
        """Each value summed over processes, or its maximum; one that has no such value adds nothing."""
        if self.accelerator.num_processes == 1:
            return {name: float(value) for name, value in values.items()}
        sums: dict[str, float] = {}
        for name, value in self._everyones([(name, float(value)) for name, value in values.items()]):
            _add(sums, name, value)
        return sums

    def _everyones(self, own: list[Any]) -> list[Any]:
        """The lists of all processes, one behind another; each process has to ask, and waits for the others."""
        if self.accelerator.num_processes == 1:
            return own
        if self.shards:
            self.shards.wait()
        return gather_object(own)

    # --- validation, checkpoints ---------------------------------------------------------------------------------

    def _validate_and_stop(self) -> bool:
        every = (self.settings.evaluate_every or self.steps_per_epoch) * self.method.repeats
        if not self.validation or (self.state.step % every and self.state.step != self.total_steps):
            return False
        self.policy.eval()
        name, value = self.method.validate(self.context, self.validation)
        self.policy.train()
        state = self.state
        state.validations.append({"step": state.step, name: value})
        if value < (math.inf if state.best is None else state.best):
            state.best, state.best_step, state.worse = value, state.step, 0
            if self.settings.keep_best:
                self.best_weights = {name: tensor.detach().clone() for name, tensor in self.parameters.items()}
        else:
            state.worse += 1
        return bool(self.settings.patience) and state.worse >= self.settings.patience

    def _checkpoint(self) -> None:
        if self.checkpoints is None or not self.accelerator.is_main_process:
            return
        tensors = {f"weight.{name}": tensor for name, tensor in self.parameters.items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best_weights.items()}
        for name, tensor in self.parameters.items():
            tensors |= {f"optimizer.{name}.{key}": value for key, value in self.optimizer.state[tensor].items()}
        self.checkpoints.save(tensors, vars(self.state))

    def _resume(self) -> None:
        found = self.checkpoints.load() if self.checkpoints else None
        if found is None:
            return
        tensors, state = found
        self.state = State(**state)

        def saved(part: str) -> dict[str, torch.Tensor]:
            return {name.removeprefix(part): tensor for name, tensor in tensors.items() if name.startswith(part)}

        self._load_weights(saved("weight."))
        self.best_weights = saved("best.")
        moments = {i: saved(f"optimizer.{name}.") for i, name in enumerate(self.parameters)}
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": moments})
        if self.accelerator.is_main_process:
            tqdm.write(f"{self.name}: going on from step {self.state.step}")

    @torch.no_grad()
    def _load_weights(self, weights: dict[str, torch.Tensor]) -> None:
        for name, tensor in self.parameters.items():
            tensor.copy_(weights[name])
