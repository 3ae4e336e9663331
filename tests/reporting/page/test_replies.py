"""Replies: packed so that nothing in them can leave the element they stand in, and as many as fit."""

import json
import re

from polychrome.reporting.page import view
from polychrome.reporting.page.replies import PASSES, WELL_FORMED, embedded, packed
from tests.reporting.page.tree import FOREIGN, HOSTILE, MODELS, POSTS, SEEDS


def test_json_that_is_embedded_holds_no_character_of_markup_and_reads_back():
    texts = ["</script>", "<!--", "a & b", "\u2028\u2029", '"quoted" \\', HOSTILE]
    told = embedded(texts)
    assert not set("<>&\u2028\u2029") & set(told)
    assert json.loads(told) == texts


def test_every_reply_of_every_model_and_seed_is_packed(inputs):
    text, shown = packed(inputs, 10**9)
    value = json.loads(text)
    assert shown == len(value["posts"]) == POSTS
    assert [name for name, _ in value["models"]] == list(MODELS)
    assert value["seeds"] == list(SEEDS)
    assert set(value["compared"]) <= set(MODELS)

    def unpacked(words, engagement, relevance, bits):
        failures = {kind for i, kind in enumerate(value["kinds"]) if bits & 4 << i}
        return words, engagement, relevance, bool(bits & WELL_FORMED), bool(bits & PASSES), failures

    def expected(reply):
        scores = round(1000 * reply["engagement"]), None
        if reply["text"] != FOREIGN:
            scores = scores[0], round(1000 * reply["relevance"])
        return reply["text"], *scores, reply["well_formed"], reply["passes"], set(reply["failures"])

    for (identity, post, human, sets), source in zip(value["posts"], inputs.replies["polychromic"][123], strict=True):
        assert (identity, post) == (source["id"], source["post"])
        told = (human, *sets[MODELS.index("polychromic")][SEEDS.index(123)])
        assert [unpacked(*one) for one in told] == [expected(one) for one in (source["human"], *source["replies"])]


def test_more_posts_than_fit_are_left_out_from_the_end_and_counted(inputs, text_of, monkeypatch):
    text, shown = packed(inputs, budget=60_000)
    assert 0 < shown < POSTS
    assert [post[0] for post in json.loads(text)["posts"]] == [f"t{i}" for i in range(shown)]
    assert len(text.encode()) < 61_000
    whole = len(text_of(inputs).encode())
    monkeypatch.setattr(view, "LIMIT", whole)
    page = text_of(inputs)
    shown = int(re.search(rf"The first (\d+) of {POSTS} posts are here", page)[1])
    assert 0 < shown < POSTS
    assert len(page.encode()) < whole
