"""Every model answers the test posts: n samples a post at fixed settings, and how likely it finds the human reply."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from polychrome.engine.packing import Group, pack
from polychrome.engine.sampler import Request, sample
from polychrome.engine.sampling import SamplingSettings
from polychrome.engine.scoring import CompletionScorer
from polychrome.files import write_jsonl
from polychrome.models.chat import Chat
from polychrome.pairs.schema import Pair


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
    """One record a test pair: id, post, human reply, ``count`` replies, whether each ended by itself, and how likely
    the human reply is.

    ``human_nll`` is in nats, summed over ``human_tokens`` (the end token among them), at temperature 1.
    """
    requests = [
        Request(chat.prompt(pair.post), count, ("answer", pair.id), settings, (chat.stop_id,), seed) for pair in pairs
    ]
    with tqdm(total=count * len(pairs), desc="replies", unit="reply", mininterval=2) as bar:
        drawn = sample(
            policy, requests, pad_id=chat.pad_id, memory_mib=memory_mib, progress=lambda done: bar.update(done) and None
        )
    likelihoods = human_likelihoods(policy, chat, pairs)
    return [
        {
            "id": pair.id,
            "post": pair.post,
            "human": pair.reply,
            "replies": [chat.text(c.tokens) for c in completions],
            "ended": [c.ended for c in completions],
            "human_nll": round(nll, 6),
            "human_tokens": tokens,
        }
        for pair, completions, (nll, tokens) in zip(pairs, drawn, likelihoods, strict=True)
    ]


@torch.inference_mode()
def human_likelihoods(policy: Any, chat: Chat, pairs: Sequence[Pair]) -> list[tuple[float, int]]:
    """(negative log-likelihood in nats, tokens) of each pair's human reply."""
    scorer = CompletionScorer(policy)
    device = next(policy.parameters()).device
    found: list[tuple[float, int]] = []
    for start in range(0, len(pairs), 16):
        groups = [Group(chat.prompt(p.post), [chat.reply(p.reply)]) for p in pairs[start : start + 16]]
        packed = pack(groups).to(device)
        logps, _, _ = scorer(packed, with_entropy=False)
        found += zip((-logps.double().sum(-1)).tolist(), packed.completion_mask.sum(-1).int().tolist(), strict=True)
    return found


def write_answers(path: Path, records: Sequence[dict[str, Any]]) -> None:
    """Write generations, one JSON line a post."""
    write_jsonl(path, records)
