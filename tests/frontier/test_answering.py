"""The stages for real on tiny models: what is sampled, what is chosen, and what is made of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from polychrome import paths
from polychrome.errors import InputError
from polychrome.evaluation.evaluate import evaluate
from polychrome.evaluation.generate import generate
from polychrome.files import read_json, tidy
from polychrome.frontier import answering, comparing
from polychrome.frontier.answering import choose, reward_of
from polychrome.frontier.points import points_file
from polychrome.measures.encoder import Encoder
from polychrome.models.recipes import recipe_of, write_untouched
from polychrome.params import load_params
from tests.evaluation.fakes import WordEncoder, length_judge
from tests.training.tiny import write_params

MODELS = ("zero_shot", "prompted")


@pytest.fixture
def params(workspace):
    """Two models that need no training, one of which is decoded in every way, and a judge."""
    small = {"sampling.samples": 3, "sampling.max_new_tokens": 6, "evaluation.ks": [1, 3], "evaluation.bootstrap": 50}
    write_params(workspace, small)
    own = replace(load_params(), models=MODELS, untouched=())
    for model in MODELS:
        write_untouched(paths.model_dir(model, 1), recipe_of(own, model, 1))
    paths.JUDGE.mkdir(parents=True)
    length_judge().save(paths.JUDGE)
    encoder = Encoder.open(paths.ENCODER)
    for model in MODELS:  # as the stages do
        generate(own, model, 1)
        out = paths.evaluation_dir(model, 1)
        evaluate(paths.generations_file(model, 1), paths.JUDGE, encoder, out, own.evaluation)
    return replace(own, frontier=replace(own.frontier, baseline=MODELS[0], temperatures=(0.5, 1.5)))


def test_every_model_is_measured_at_every_temperature_and_the_baseline_in_every_way(params):
    told = [answering.run(params, model, "1") for model in MODELS]
    assert all(str(points_file(model, 1)) in words for model, words in zip(MODELS, told, strict=True))
    alone, other = (read_json(points_file(model, 1))["points"] for model in MODELS)
    at = [0.5, params.sampling.temperature, 1.5]
    ways = ("temperature", "min_p", "mmr")
    assert [(p["temperature"], p["decoding"]) for p in alone] == [(t, way) for t in at for way in ways]
    assert [(p["temperature"], p["decoding"]) for p in other] == [(t, "temperature") for t in at]
    assert {len(values) for p in alone for values in p["metrics"].values()} == {5}  # test posts
    assert alone[0]["metrics"] != alone[1]["metrics"] != alone[2]["metrics"] != alone[0]["metrics"]
    of_stage = read_json(paths.evaluation_dir("prompted", 1) / "per_post.json")["metrics"]
    assert other[1]["metrics"] == tidy({name: of_stage[name] for name in other[1]["metrics"]})
    assert other[0]["metrics"] != other[1]["metrics"] != other[2]["metrics"]
    text = comparing.run(params)
    found = read_json("results/frontier/frontier.json")
    (told,) = found["arms"]
    assert told["arm"] == "prompted"
    assert f"prompted {told['verdict']} " in told["sentence"]
    assert "zero_shot hotter (" in told["sentence"]
    assert text.startswith(told["sentence"])
    assert [(c["model"], c["decoding"]) for c in found["curves"]] == [
        *((MODELS[0], w) for w in ways),
        (MODELS[1], ways[0]),
    ]
    assert Path("results/frontier/frontier.svg").read_text().startswith("<svg ")


def test_chosen_are_as_many_as_asked_good_by_the_reward_and_unlike_by_the_encoder():
    """Two of five, with half the weight on each: the best reply, and its best second. One that was cut is worth 0."""
    encoder, replies = WordEncoder(), ["yes yes", "yes yes yes", "soup is nice", "no", "oh"]
    record = {"id": "a", "post": "soup?", "replies": replies, "ended": [True, True, True, False, True], "human": "h"}
    worth = {"yes yes": 0.9, "yes yes yes": 0.85, "soup is nice": 0.5, "no": 5.0, "oh": 0.2}

    def reward(posts, texts):
        assert posts == ["soup?"] * len(texts)
        return np.array([worth[text] for text in texts])

    (two,) = choose([record], 2, reward, encoder, 0.5)
    vectors = encoder.embed(replies).astype(float)
    first = replies.index("yes yes")
    second = max({0, 1, 2, 4} - {first}, key=lambda i: worth[replies[i]] - vectors[i] @ vectors[first])
    assert two == record | {"replies": [replies[first], replies[second]], "ended": [True, record["ended"][second]]}
    assert choose([record], 2, reward, encoder, 1.0)[0]["replies"] == ["yes yes", "yes yes yes"]


def test_replies_are_chosen_by_what_the_first_grpo_arm_climbs(params):
    encoder = Encoder.open(paths.ENCODER)
    of_two, of_none = reward_of(params, encoder)(["do you like cats", "hello"], ["i love cats", "i"])
    assert of_two > of_none == 0  # the heuristic reward, which one word does not pass
    without = replace(params, grpo_recipes=(), controls=replace(params.controls, variants={}))
    with pytest.raises(InputError, match="no GRPO arm"):
        reward_of(without, encoder)
