"""Replies: packed so that nothing in them can leave the element they stand in, and as many as fit."""

import json

from polychrome.reporting.page.replies import PASSES, WELL_FORMED, embedded, packed
from tests.reporting.page.tree import HOSTILE, MODELS, SEEDS


def test_json_that_is_embedded_holds_no_character_of_markup_and_reads_back():
    texts = ["</script>", "<!--", "a & b", "\u2028\u2029", '"quoted" \\', HOSTILE]
    told = embedded(texts)
    assert not set("<>&\u2028\u2029") & set(told)
    assert json.loads(told) == texts


def test_every_reply_of_every_model_and_seed_is_packed(inputs):
    text, shown = packed(inputs)
    value = json.loads(text)
    assert shown == 6
    assert [name for name, _ in value["models"]] == list(MODELS)
    assert value["seeds"] == list(SEEDS)
    assert set(value["compared"]) <= set(MODELS)
    for place, (identity, post, human, sets) in enumerate(value["posts"]):
        source = inputs.replies["polychromic"][123][place]
        assert (identity, post, human[0]) == (source["id"], source["post"], source["human"]["text"])
        replies = sets[MODELS.index("polychromic")][SEEDS.index(123)]
        for (words, engagement, relevance, bits), reply in zip(replies, source["replies"], strict=True):
            assert words == reply["text"]
            assert abs(engagement / 1000 - reply["engagement"]) <= 0.0005
            assert abs(relevance / 1000 - reply["relevance"]) <= 0.0005
            assert bool(bits & PASSES) == reply["passes"]
            assert bool(bits & WELL_FORMED) == reply["well_formed"]
            assert {kind for i, kind in enumerate(value["kinds"]) if bits & 4 << i} == set(reply["failures"])


def test_more_posts_than_fit_are_left_out_from_the_end_and_counted(inputs, text_of, monkeypatch):
    text, shown = packed(inputs, budget=60_000)
    assert 0 < shown < 6
    assert [post[0] for post in json.loads(text)["posts"]] == [f"t{i}" for i in range(shown)]
    assert len(text.encode()) < 61_000
    monkeypatch.setattr(packed, "__defaults__", (60_000,))
    assert f"The first {shown} of 6 posts are here" in text_of(inputs)
