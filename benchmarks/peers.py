"""The peers: TRL's trainers advanced by one optimiser step at a time, and ``generate`` of transformers.

A trainer runs its own ``train()`` in a thread that waits in a callback before every step, so what is timed is TRL's
loop and not an imitation of it. Only one side ever computes.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import mkdtemp
from threading import Semaphore, Thread
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from benchmarks.workload import LEARNING_RATE, LORA, SYSTEM, distinct_letters
from polychrome.engine.sampling import SamplingSettings

ENDLESS = 10**6  # steps


class Stopped(Exception):  # noqa: N818 - it ends a training that is to end
    """Raised inside ``train()`` to leave it."""


class Stepped(TrainerCallback):
    """A trainer whose ``train()`` goes on by one optimiser step a call.

    A step is timed from one "step begins" of TRL to the next: its generation, scoring, loss, backward and optimiser,
    its own log, and fetching the next batch.
    """

    def __init__(self, trainer: Any, threads: int):
        self.trainer, self.threads = trainer, threads
        self._may_go, self._waits = Semaphore(0), Semaphore(0)
        self._closing = False
        self._error: BaseException | None = None
        trainer.add_callback(self)
        self._thread = Thread(target=self._train, daemon=True)
        self._thread.start()
        self._wait()

    def __call__(self) -> None:
        """Take the next step. Raises what ``train()`` raised."""
        self._may_go.release()
        self._wait()

    def close(self) -> None:
        """Leave ``train()`` and let the trainer go."""
        self._closing = True
        self._may_go.release()
        self._thread.join()
        self.trainer = None

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        """Called by the trainer: hand over, and wait for the next turn."""
        self._waits.release()
        self._may_go.acquire()
        if self._closing:
            raise Stopped

    def _train(self) -> None:
        torch.set_num_threads(self.threads)  # a thread of its own starts with the default
        try:
            self.trainer.train()
            self._error = RuntimeError("the peer's training came to its end")
        except Stopped:
            pass
        except BaseException as error:  # told in the thread that asked for the step
            self._error = error
        self._waits.release()

    def _wait(self) -> None:
        self._waits.acquire()
        if self._error:
            raise self._error


def train_alone(trainer: Any, threads: int, steps: int) -> None:
    """``train()`` for so many steps, as a user runs it."""
    torch.set_num_threads(threads)
    trainer.args.max_steps = steps
    trainer.train()


def import_trl() -> None:
    """Import what the trainers need, before memory is looked at: it is no part of what training takes."""
    import datasets  # noqa: F401
    from trl import GRPOTrainer, SFTTrainer  # noqa: F401


def open_model(base: Path, dtype: torch.dtype) -> Any:
    """The base model as TRL's users open it."""
    return AutoModelForCausalLM.from_pretrained(base, dtype=dtype)


def grpo_trainer(
    model: Any, base: Path, posts: Sequence[str], per_step: int, group: int, tokens: int, checkpointing: bool
) -> Any:
    """TRL's GRPOTrainer on ``per_step`` posts per step, ``group`` completions of exactly ``tokens`` tokens each."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    def scored(completions: Sequence[Any], **kwargs: Any) -> list[float | None]:
        return list(distinct_letters([completion[0]["content"] for completion in completions]))

    config = GRPOConfig(
        **_common(model, checkpointing),
        per_device_train_batch_size=per_step * group,
        num_generations=group,
        max_completion_length=tokens,
        temperature=0.9,
        top_p=0.9,
        beta=0.1,
        loss_type="dapo",
        generation_kwargs={"min_new_tokens": tokens},
    )
    prompts = [[{"role": "system", "content": SYSTEM}, {"role": "user", "content": post}] for post in posts]
    return GRPOTrainer(
        model=model,
        reward_funcs=scored,
        args=config,
        train_dataset=Dataset.from_dict({"prompt": prompts}),
        processing_class=AutoTokenizer.from_pretrained(base),
        peft_config=_lora(),
    )


def sft_trainer(
    model: Any,
    base: Path,
    examples: Sequence[tuple[Sequence[int], Sequence[int]]],
    per_step: int,
    packing: bool,
    checkpointing: bool,
) -> Any:
    """TRL's SFTTrainer on (prompt, reply) token ids in the order given, with its loss on the replies alone.

    With ``packing`` a step is one packed row as long as ``per_step`` average pairs, so it holds about that many.
    """
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    total = sum(len(prompt) + len(reply) for prompt, reply in examples)
    config = SFTConfig(
        **_common(model, checkpointing),
        per_device_train_batch_size=1 if packing else per_step,
        packing=packing,
        max_length=round(total / len(examples) * per_step) if packing else None,
        completion_only_loss=True,
        train_sampling_strategy="sequential",
    )
    dataset = Dataset.from_dict(
        {
            "input_ids": [[*prompt, *reply] for prompt, reply in examples],
            "completion_mask": [[0] * len(prompt) + [1] * len(reply) for prompt, reply in examples],
        }
    )
    return SFTTrainer(
        model=model,
        args=config,
        train_dataset=dataset,
        processing_class=AutoTokenizer.from_pretrained(base),
        peft_config=_lora(),
    )


def count_tokens(trainer: Any) -> list[int]:
    """A list to which every training step of ``trainer`` adds the tokens of its batch that are no padding."""
    counts: list[int] = []
    step = trainer.training_step

    def counted(model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        mask = inputs.get("attention_mask")  # packed rows have none and no padding
        counts.append(int(inputs["input_ids"].numel() if mask is None else mask.sum()))
        return step(model, inputs, *args, **kwargs)

    trainer.training_step = counted
    return counts


@torch.inference_mode()
def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    count: int,
    settings: SamplingSettings,
    pad_id: int,
    batch: int,
    done: Callable[[torch.Tensor], None] = lambda completions: None,
) -> None:
    """``count`` completions of every prompt by transformers, ``batch`` prompts of like length at a time.

    ``done`` is given the completions (rows, tokens) of every batch.
    """
    ordered = sorted(prompts, key=len)
    for start in range(0, len(ordered), batch):
        ids, mask = _padded(ordered[start : start + batch], pad_id)
        drawn = model.generate(
            input_ids=ids,
            attention_mask=mask,
            do_sample=True,
            temperature=settings.temperature,
            top_p=settings.top_p,
            top_k=settings.top_k,
            num_return_sequences=count,
            min_new_tokens=settings.max_new_tokens,
            max_new_tokens=settings.max_new_tokens,
            pad_token_id=pad_id,
        )
        done(drawn[:, ids.shape[1] :])


def _padded(prompts: Sequence[Sequence[int]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts padded on the left, and their mask."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[pad_id] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    return ids, mask


def _common(model: Any, checkpointing: bool) -> dict[str, Any]:
    """What both trainers are given; all else is TRL's default."""
    return {
        "output_dir": mkdtemp(prefix="benchmark-"),  # nothing is saved there
        "learning_rate": LEARNING_RATE,
        "max_steps": ENDLESS,
        "gradient_checkpointing": checkpointing,
        "use_cpu": not torch.cuda.is_available(),
        "bf16": model.dtype == torch.bfloat16,  # TRL's default is true
        "report_to": [],
        "logging_strategy": "no",
        "save_strategy": "no",
        "disable_tqdm": True,
    }


def _lora() -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=LORA.rank,
        lora_alpha=LORA.alpha,
        lora_dropout=LORA.dropout,
        target_modules=LORA.targets,
        task_type="CAUSAL_LM",
    )
