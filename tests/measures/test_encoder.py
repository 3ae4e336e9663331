"""Texts in, unit vectors out; nothing is remembered from call to call."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from polychrome.errors import InputError
from polychrome.measures import encoder as module
from polychrome.measures.encoder import MAX_TOKENS, Encoder, PairVectors, relevance
from tests.encoders import Letters

TEXTS = ["cats and dogs", "i love rain", "tea", "books, music and games at home", ""]


@pytest.fixture(scope="module")
def encoder(tiny_encoder):
    return Encoder.open(tiny_encoder)


def test_embeddings_are_float32_the_mean_over_the_texts_own_tokens_at_unit_length(encoder, tiny_encoder):
    vectors = encoder.embed(TEXTS)
    assert (vectors.shape, vectors.dtype) == ((5, 16), np.float32)
    assert encoder.embed([]).shape == (0, encoder.dimension)
    model, tokenizer = AutoModel.from_pretrained(tiny_encoder).eval(), AutoTokenizer.from_pretrained(tiny_encoder)
    for text, vector in zip(TEXTS, vectors, strict=True):  # one text at a time: no padding at all
        with torch.no_grad():
            mean = model(**tokenizer([text], return_tensors="pt")).last_hidden_state[0].mean(0)
        np.testing.assert_allclose(vector, (mean / mean.norm()).numpy(), atol=1e-6)


def test_equal_calls_give_equal_bytes_whatever_was_embedded_before(encoder):
    a, b = TEXTS[:3], [*TEXTS[2:], "a much longer text that changes the padding of its whole batch, dogs and all"]
    before = encoder.embed(a).tobytes()
    encoder.embed(b)
    encoder.embed([*a, *b])
    assert encoder.embed(a).tobytes() == before


@pytest.mark.parametrize("remember", [True, False])
def test_equal_texts_cost_one_forward_pass_per_call_or_one_where_it_is_asked_to_remember(
    tiny_encoder, monkeypatch, remember
):
    seen, forward = [], Encoder._forward
    monkeypatch.setattr(Encoder, "_forward", lambda self, texts: seen.extend(texts) or forward(self, texts))
    encoder = Encoder.open(tiny_encoder, remember=remember)
    tea, rain, again = encoder.embed(["tea", "rain", "tea"])
    assert (tea == again).all()
    assert (tea != rain).any()
    np.testing.assert_allclose(encoder.embed(["dogs", "tea"])[1], tea, atol=1e-6)
    assert sorted(seen) == ["dogs", "rain", "tea"] + ["tea"] * (not remember)


def test_rows_follow_the_order_asked_also_over_several_batches(encoder, monkeypatch):
    whole = encoder.embed(TEXTS)
    monkeypatch.setattr(module, "BATCH", 2)
    np.testing.assert_allclose(encoder.embed(TEXTS[::-1]), whole[::-1], atol=1e-6)


def test_a_text_is_read_up_to_the_length_the_encoder_was_trained_at(encoder):
    long = "tea " * (MAX_TOKENS - 2)  # two places go to [CLS] and [SEP]
    full, beyond, last = encoder.embed([long, long + "rain", "tea " * (MAX_TOKENS - 3) + "rain"])
    np.testing.assert_allclose(full, beyond, atol=1e-6)
    assert np.abs(full - last).max() > 1e-4


def test_a_directory_without_an_encoder_is_reported_and_pickled_weights_are_never_loaded(tiny_encoder, tmp_path):
    with pytest.raises(InputError, match="no encoder"):
        Encoder.open(tmp_path)
    for file in tiny_encoder.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "bert"
    with pytest.raises(OSError, match="safetensors"):
        Encoder.open(tmp_path)


def test_a_reward_reads_posts_alone_and_once_and_distinct_replies_together():
    encoder = Letters()
    vectors = PairVectors(encoder)
    p, r = vectors(["a", "a", "bc"], ["d", "d", "e"])
    vectors(["bc", "a"], ["f", "e"])
    assert sorted(encoder.calls) == [["a"], ["bc"], ["d", "e"], ["e", "f"]]
    assert p.dtype == r.dtype == np.float64
    assert (p == Letters().embed(["a", "a", "bc"])).all()
    assert (r == Letters().embed(["d", "d", "e"])).all()


def test_relevance_is_the_cosine_of_post_and_reply():
    assert relevance(["a", "b"], ["a", "h"], Letters()) == pytest.approx([1, 1 / 2])
