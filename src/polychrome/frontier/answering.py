"""One model and seed at every temperature; the baseline also by min-p and by choosing from more replies than are kept.

Choosing is maximal marginal relevance (Carbonell and Goldstein 1998, :mod:`polychrome.measures.mmr`) between the reward
that the first GRPO arm climbs, which decoding may use as training does, and the cosine of replies.
"""

import gc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from polychrome import paths
from polychrome.engine.compute import configure
from polychrome.errors import bad
from polychrome.evaluation.evaluate import evaluate
from polychrome.evaluation.generate import answer, open_model, sampling_of
from polychrome.files import Row, read_json, tidy, write_json, write_jsonl
from polychrome.frontier.points import kept, points_file
from polychrome.measures.encoder import Encoder, TextEncoder, cosines
from polychrome.measures.mmr import mmr
from polychrome.pairs.schema import read_pairs
from polychrome.params import Params
from polychrome.rewards.interface import Reward, Setting, make_reward

PER_POST = "per_post.json"  # as `evaluate` calls it


def run(params: Params, model: str, seed: str) -> str:
    """Answer and measure one model; returns where that is."""
    return f"{model}, seed {seed}: see {answer_at_every_temperature(params, model, int(seed))}"


def answer_at_every_temperature(params: Params, model: str, seed: int) -> Path:
    """Write what was measured to results/frontier/points/<model>/seed-<n>.json; returns its path.

    {"posts", "samples", "points": [{"decoding", "temperature", "metrics": {name: value of each post}}]}. At
    ``sampling.temperature`` it is what stage `evaluate` found. Raises InputError when the model or that is missing.
    """
    own, plain, count = params.frontier, sampling_of(params.sampling), params.sampling.samples
    policy, chat = open_model(params, model, seed, configure(params.compute))
    pairs = read_pairs(paths.PHASES / "test.jsonl")
    chat.check(pairs, paths.PHASES / "test.jsonl")
    encoder = Encoder.open(paths.ENCODER, remember=True)
    judging = Encoder.open(paths.ENCODER)  # apart: what a memory holds moves the last bits of what it is asked next
    reward = reward_of(params, judging) if model == own.baseline else None

    def drawn(n: int, settings: Any) -> list[Row]:
        gc.collect()  # the cache of the last set, which refers to itself, before room is made for the next
        return answer(policy, chat, pairs, n, settings, seed=seed, memory_mib=params.compute.memory_mib)

    def measured(records: Sequence[Row]) -> Row:
        with TemporaryDirectory() as scratch:
            write_jsonl(Path(scratch) / "replies.jsonl", records)
            evaluate(Path(scratch) / "replies.jsonl", paths.JUDGE, encoder, f"{scratch}/out", params.evaluation)
            return read_json(Path(scratch) / "out" / PER_POST)

    points, of_stage = [], read_json(paths.evaluation_dir(model, seed) / PER_POST)
    for temperature in own.at(plain.temperature):
        hotter = replace(plain, temperature=temperature)
        sets = {"temperature": of_stage if temperature == plain.temperature else measured(drawn(count, hotter))}
        if reward:
            sets["min_p"] = measured(drawn(count, replace(hotter, top_p=1.0, top_k=0, min_p=own.min_p)))
            sets["mmr"] = measured(choose(drawn(own.pool * count, hotter), count, reward, judging, own.weight))
        for decoding, found in sets.items():
            metrics = {name: found["metrics"][name] for name in kept(params.evaluation) if name in found["metrics"]}
            points.append({"decoding": decoding, "temperature": temperature, "metrics": metrics})
    write_json(
        points_file(model, seed), tidy({key: of_stage[key] for key in ("posts", "samples")} | {"points": points})
    )
    return points_file(model, seed)


def reward_of(params: Params, encoder: TextEncoder) -> Reward:
    """What the first GRPO arm climbs. Raises InputError when params.yaml has no GRPO arm."""
    name = next(iter(params.warmstarts), None)
    if name is None:
        raise bad("params.yaml:grpo_recipes", "no GRPO arm", "one, by whose reward replies are chosen", "Name one.")
    arm = params.arms[name]
    pairs = read_pairs(paths.PHASES / f"{arm.data}.jsonl")
    return make_reward(arm.reward, Setting(params.reward, encoder, pairs))


def choose(records: Sequence[Row], keep: int, reward: Reward, encoder: TextEncoder, weight: float) -> list[Row]:
    """Each record with the ``keep`` of its replies that maximal marginal relevance takes, in the order taken."""
    made = []
    for record in records:
        replies, alike = record["replies"], cosines(record["replies"], encoder)
        worth = reward([record["post"]] * len(replies), replies) * np.array(record["ended"])  # a cut one earns nothing
        taken = mmr(worth, alike, keep, weight)
        made.append(record | {key: [record[key][i] for i in taken] for key in ("replies", "ended")})
    return made
