"""Every model answers the test posts: n samples a post at fixed settings, and how likely it finds the human reply."""

from collections.abc import Sequence
from typing import Any

import torch
from tqdm import tqdm

from polychrome import paths
from polychrome.engine.compute import configure
from polychrome.engine.packing import Group, pack
from polychrome.engine.sampler import Request, sample
from polychrome.engine.sampling import SamplingSettings
from polychrome.engine.scoring import CompletionScorer
from polychrome.evaluation.settings import AnswerSettings
from polychrome.files import write_jsonl
from polychrome.models.chat import Chat
from polychrome.models.policy import open_adapter, open_base, open_tokenizer
from polychrome.models.recipes import check_recipe, recipe_of
from polychrome.pairs.schema import Pair, read_pairs
from polychrome.params import Params, UntouchedArm


def generate(params: Params, model: str, seed: int) -> list[dict[str, Any]]:
    """Write results/generations/<model>/seed-<n>.jsonl. Raises InputError when the model is missing or out of date."""
    policy, chat = open_model(params, model, seed, configure(params.compute))
    settings = sampling_of(params.sampling)
    pairs = read_pairs(paths.PHASES / "test.jsonl")
    chat.check(pairs, paths.PHASES / "test.jsonl")
    count, memory = params.sampling.samples, params.compute.memory_mib
    records = answer(policy, chat, pairs, count, settings, seed=seed, memory_mib=memory)
    write_jsonl(paths.generations_file(model, seed), records)
    return records


def open_model(params: Params, model: str, seed: int, dtype: torch.dtype) -> tuple[Any, Chat]:
    """A model as it answers: policy and chat. Raises InputError when it is missing or out of date."""
    directory = paths.model_dir(model, seed)
    check_recipe(directory, recipe_of(params, model, seed))
    arm, prompt = params.arms[model], params.prompt
    policy: Any = open_base(paths.BASE, dtype, params.assets.load_in_4bit)
    untouched = isinstance(arm, UntouchedArm)
    if not untouched:
        policy = open_adapter(policy, directory, trainable=False)
    system = arm.prompt if untouched else prompt.plain
    return policy, Chat(open_tokenizer(paths.BASE), system, prompt.max_prompt_tokens, prompt.max_reply_tokens)


def sampling_of(settings: AnswerSettings) -> SamplingSettings:
    """params.yaml: sampling, as the engine takes it."""
    return SamplingSettings(settings.temperature, settings.max_new_tokens, settings.top_p, settings.top_k)


def answer(
    policy: Any,
    chat: Chat,
    pairs: Sequence[Pair],
    count: int,
    settings: SamplingSettings,
    *,
    seed: int,
    memory_mib: int,
) -> list[dict[str, Any]]:
    """One record per test pair: id, post, context if it has one, human reply, ``count`` replies, whether each ended by
    itself, and how likely the human reply is.

    ``human_nll`` is in nats, summed over ``human_tokens`` (the end token among them), at temperature 1.
    """
    requests = [
        Request(chat.prompt(pair.post, pair.context), count, ("answer", pair.id), settings, chat.stop_ids, seed)
        for pair in pairs
    ]
    with tqdm(total=count * len(pairs), desc="replies", unit="reply", mininterval=2) as bar:
        drawn = sample(
            policy, requests, pad_id=chat.pad_id, memory_mib=memory_mib, progress=lambda done: bar.update(done) and None
        )
    return [
        {
            "id": pair.id,
            "post": pair.post,
            **({"context": pair.context} if pair.context else {}),
            "human": pair.reply,
            "replies": [chat.text(c.tokens) for c in completions],
            "ended": [c.ended for c in completions],
            "human_nll": round(nll, 6),
            "human_tokens": tokens,
        }
        for pair, completions, (nll, tokens) in zip(pairs, drawn, human_likelihoods(policy, chat, pairs), strict=True)
    ]


@torch.inference_mode()
def human_likelihoods(policy: Any, chat: Chat, pairs: Sequence[Pair]) -> list[tuple[float, int]]:
    """(negative log-likelihood in nats, tokens) of each pair's human reply."""
    scorer = CompletionScorer(policy)
    device = next(policy.parameters()).device
    found: list[tuple[float, int]] = []
    for start in range(0, len(pairs), 16):
        groups = [Group(chat.prompt(p.post, p.context), [chat.reply(p.reply)]) for p in pairs[start : start + 16]]
        packed = pack(groups).to(device)
        logps, _, _ = scorer(packed, with_entropy=False)
        found += zip((-logps.double().sum(-1)).tolist(), packed.completion_mask.sum(-1).int().tolist(), strict=True)
    return found
