"""What is climbed and what judges: other data, other parameters, other features, as the files of a run show."""

import hashlib
from itertools import combinations

import pytest
from safetensors.numpy import load_file

from polychrome.files import read_json
from polychrome.pairs.schema import read_pairs

pytestmark = pytest.mark.timeout(1800)  # the first test to ask for the finished run may have to make it

PARTS = ("reward", "judge", "phase1_sft", "phase2_grpo", "test", "validation")
MODELS = ("judge", "reward")


def test_no_conversation_is_in_two_parts(finished):
    conversations = {
        part: {pair.conversation for pair in read_pairs(finished.path / f"data/phases/{part}.jsonl")} for part in PARTS
    }
    assert all(conversations.values())
    assert [two for two in combinations(PARTS, 2) if conversations[two[0]] & conversations[two[1]]] == []


def test_judge_and_reward_were_each_fitted_on_their_own_part(finished):
    for name in MODELS:
        trained_on = read_json(finished.path / f"results/{name}.json")["trained_on"]
        content = (finished.path / f"data/phases/{name}.jsonl").read_bytes()
        assert trained_on == {"file": f"{name}.jsonl", "sha256": hashlib.sha256(content).hexdigest()}


def test_judge_and_reward_have_parameters_of_their_own(finished):
    numbers: dict[str, set[float]] = {}
    for name in MODELS:
        tensors = load_file(finished.path / f"models/{name}/{name}.safetensors").values()
        numbers[name] = {value for tensor in tensors for value in tensor.ravel().tolist()} - {0.0, 1.0}
    assert all(len(of_model) > 20 for of_model in numbers.values())
    shared = numbers["judge"] & numbers["reward"]
    assert len(shared) < 3, "weights in common"


def test_the_judge_reads_n_grams_and_the_reward_embeddings_and_counts(finished):
    judge = read_json(finished.path / "models/judge/judge.json")
    reward = read_json(finished.path / "models/reward/reward.json")
    weights = load_file(finished.path / "models/judge/judge.safetensors")["weights"]
    assert len(weights) == len(judge["n_grams"]["post"]) + len(judge["n_grams"]["reply"])  # a weight an n-gram, no more
    assert not set(judge["features"]) & set(reward["features"])
