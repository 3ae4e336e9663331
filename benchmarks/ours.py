"""Our side, in one place: policies and runs as the stages make them, advanced by one optimiser step at a time."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from accelerate import Accelerator

from benchmarks.workload import LEARNING_RATE, LORA, SYSTEM, reward
from polychrome.engine.compute import chosen
from polychrome.engine.sampler import MEMORY_MIB, Completion, Request, rows_within, sample
from polychrome.engine.sampling import SamplingSettings
from polychrome.engine.served import Served
from polychrome.engine.stack import stack_of
from polychrome.models.chat import Chat
from polychrome.models.policy import add_adapter, open_adapter, open_base, open_tokenizer, save_adapter
from polychrome.pairs.schema import Pair, Turns
from polychrome.training.alarms import Alarms
from polychrome.training.loop import Run
from polychrome.training.methods.grpo import Grpo, GrpoArm
from polychrome.training.methods.interface import Method
from polychrome.training.settings import Arm, TrainSettings

NEVER = -1  # a token id that no model draws: every completion then has all its tokens
ENDLESS = 10**6  # epochs


def open_policy(base: Path, dtype: torch.dtype, lora: Any = LORA, *, with_reference: bool = False) -> Any:
    """The base model with a new adapter; ``with_reference`` as the GRPO stage opens it, the frozen start beside it."""
    policy = add_adapter(open_base(base, dtype), lora, seed=1)
    if not with_reference:
        return policy
    with TemporaryDirectory() as folder:
        save_adapter(policy, Path(folder), {})
        del policy  # before the second is opened: peak memory is that of one
        return open_adapter(open_base(base, dtype), folder, trainable=True, with_reference=True)


def open_chat(base: Path, *, system: str = SYSTEM, max_prompt_tokens: int = 512, max_reply_tokens: int = 256) -> Chat:
    """The chat of ``base``."""
    return Chat(open_tokenizer(base), system, max_prompt_tokens, max_reply_tokens)


class LongChat(Chat):
    """A chat whose prompts all have ``length`` tokens: those of the post, again and again, without a template."""

    def __init__(self, chat: Chat, length: int):
        super().__init__(chat.tokenizer, chat.system, chat.max_prompt_tokens, chat.max_reply_tokens)
        self.length = length

    def prompt(self, post: str, context: Turns = ()) -> list[int]:
        """Exactly ``length`` token ids."""
        ids: list[int] = self.tokenizer(post, add_special_tokens=False)["input_ids"]
        return (ids * -(-self.length // len(ids)))[: self.length]


def grpo_method(group: int, tokens: int) -> Grpo:
    """GRPO as the benchmarks set it on both sides."""
    arm = GrpoArm(
        objective="grpo", data="phase2_grpo", epochs=ENDLESS, learning_rate=LEARNING_RATE, batch_size=1,
        num_generations=group, beta=0.1, epsilon=0.2, epsilon_high=None, num_iterations=1, loss_type="dapo",
        scale_rewards="group", temperature=0.9, top_p=0.9, top_k=0, max_new_tokens=tokens, reward="its own",
        shuffle_rewards=False,
    )  # fmt: skip
    return Grpo(arm, reward, distance=lambda replies: 0.0)  # watched by the stage, not part of the method


def make_run(
    policy: Any,
    method: Method,
    chat: Chat,
    pairs: Sequence[Pair],
    batch: int,
    learning_rate: float = LEARNING_RATE,
    memory_mib: int = MEMORY_MIB,
) -> Run:
    """A run of ``method`` that never ends, without validation, alarms or checkpoints."""
    settings = TrainSettings(
        weight_decay=0.0,
        warmup_ratio=0.0,
        max_grad_norm=1.0,
        gradient_accumulation=1,
        checkpoint_every=ENDLESS,
        evaluate_every=0,
        patience=0,
        keep_best=False,
    )
    return Run(
        policy=policy,
        method=method,
        chat=chat,
        pairs=pairs,
        validation=[],
        arm=Arm(objective="", data="", epochs=ENDLESS, learning_rate=learning_rate, batch_size=batch),
        settings=settings,
        seed=1,
        alarms=Alarms(kl_warn=1e9, kl_stop=1e9, reward_flat_steps=0, length_collapse_ratio=0.0),
        checkpoints=None,
        accelerator=Accelerator(cpu=not torch.cuda.is_available(), mixed_precision="no"),
        name="benchmark",
        memory_mib=memory_mib,
    )


class Steps:
    """A run, one optimiser step a call: a batch, what is sampled for it, loss, backward, optimiser."""

    def __init__(self, run: Run):
        self.run = run
        self.batches = run._batches()
        self.rows: list[dict[str, Any]] = []  # the log of every step
        self.seen: list[list[Pair]] = []  # the batch of every step
        run.policy.train()

    def __call__(self) -> None:
        """Take the next step."""
        number, batch = next(self.batches)
        self.rows.append(self.run._optimise(self.run._seeded_step(batch, number)))
        self.seen.append(batch)

    def first(self, count: int) -> list[Pair]:
        """The pairs of the first ``count`` batches, in the order in which they are taken."""
        return [pair for _, batch in islice(self.run._batches(), count) for pair in batch]

    @property
    def tokens(self) -> list[int]:
        """Prompt and reply tokens of the batch of every step."""
        return [sum(len(part) for pair in batch for part in tokens_of(self.run.chat, pair)) for batch in self.seen]


def tokens_of(chat: Chat, pair: Pair) -> tuple[list[int], list[int]]:
    """Token ids of prompt and reply."""
    return chat.prompt(pair.post, pair.context), chat.reply(pair.reply)


def grpo_steps(
    policy: Any,
    chat: Chat,
    pairs: Sequence[Pair],
    posts: int,
    group: int,
    tokens: int,
    memory_mib: int = MEMORY_MIB,
) -> Steps:
    """Steps of GRPO on ``posts`` posts, with ``group`` completions of exactly ``tokens`` tokens each."""
    chat.stop_ids = (NEVER,)
    return Steps(make_run(policy, grpo_method(group, tokens), chat, pairs, batch=posts, memory_mib=memory_mib))


def rows_of(model: Any, prompts: Sequence[Sequence[int]], count: int, settings: SamplingSettings) -> int:
    """How many completions our engine decodes side by side for such prompts, within its default memory."""
    return rows_within(MEMORY_MIB, model, _requests(prompts, count, settings), stack_of(model, chosen()))


def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    count: int,
    settings: SamplingSettings,
    pad_id: int,
    memory_mib: int = MEMORY_MIB,
) -> list[list[Completion]]:
    """``count`` completions of every prompt; none ends before ``settings.max_new_tokens``."""
    return sample(model, _requests(prompts, count, settings), pad_id=pad_id, memory_mib=memory_mib)


def generate_by(
    server: Served, model: Any, prompts: Sequence[Sequence[int]], count: int, settings: SamplingSettings
) -> list[list[Completion]]:
    """The same by vLLM, which answers as ``model``."""
    return server.sample(model, _requests(prompts, count, settings), lambda done: None)


def _requests(prompts: Sequence[Sequence[int]], count: int, settings: SamplingSettings) -> list[Request]:
    return [Request(prompt, count, ("benchmark", i), settings) for i, prompt in enumerate(prompts)]
