"""The `generate` stage: open a model, answer the test posts."""

from __future__ import annotations

from typing import Any

from polychrome import paths
from polychrome.engine.compute import configure
from polychrome.engine.sampling import SamplingSettings
from polychrome.evaluation.answers import answer, write_answers
from polychrome.models.chat import Chat
from polychrome.models.policy import open_adapter, open_base, open_tokenizer
from polychrome.models.recipes import check_recipe, recipe_of
from polychrome.models.settings import UntouchedArm
from polychrome.pairs.schema import read_pairs
from polychrome.params import Params


def generate(params: Params, model: str, seed: int) -> list[dict[str, Any]]:
    """Write results/generations/<model>/seed-<n>.jsonl. Raises InputError when the model is missing or out of date."""
    directory = paths.model_dir(model, seed)
    check_recipe(directory, recipe_of(params, model, seed))
    arm, sampling = params.arms[model], params.sampling
    policy: Any = open_base(paths.BASE, configure(params.compute), params.assets.load_in_4bit)
    prompt, system = params.prompt, params.prompt.plain
    if isinstance(arm, UntouchedArm):
        system = arm.prompt
    else:
        policy = open_adapter(policy, directory, trainable=False)
    chat = Chat(
        open_tokenizer(paths.BASE),
        system,
        prompt.max_prompt_tokens,
        prompt.max_reply_tokens,
    )
    settings = SamplingSettings(sampling.temperature, sampling.max_new_tokens, sampling.top_p, sampling.top_k)
    pairs = read_pairs(paths.PHASES / "test.jsonl")
    chat.check(pairs, paths.PHASES / "test.jsonl")
    records = answer(policy, chat, pairs, sampling.samples, settings, seed=seed, memory_mib=params.compute.memory_mib)
    write_answers(paths.generations_file(model, seed), records)
    return records
