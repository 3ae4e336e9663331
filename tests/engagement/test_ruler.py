"""Two rulers behind one interface: the fitted judge, and the truth of the audience world."""

import json

import numpy as np
import pytest

from polychrome.audience.grammar import FORMS, KINDS
from polychrome.audience.world import World
from polychrome.engagement.judge import make_exact
from polychrome.engagement.ranks import ranked
from polychrome.engagement.ruler import AudienceRuler, FittedRuler, open_ruler
from polychrome.errors import InputError
from polychrome.evaluation.evaluate import evaluate, read_per_post
from polychrome.files import read_json, read_jsonl
from polychrome.measures.passk import pass_at_k
from polychrome.pairs.schema import Pair, write_pairs
from tests.encoders import Letters
from tests.evaluation.fakes import length_judge, settings, write_rows

POST, TOPIC = "The old piano is back and I have mixed feelings.", "old piano"
W = dict(zip(KINDS, [0.5, 0.3, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0], strict=True))
WORLD = World(seed=1, topics=1, posts=1, replies=1, visitors=9.0, writers=W, readers=W)
OF = {kind: forms[0].format(TOPIC) for kind, forms in FORMS.items()}
REPLIES = [OF["question"], OF["question"], OF["agreement"], OF["story"], "Why not?"]


def test_what_stage_judge_left_says_which_ruler_it_is(tmp_path):
    length_judge().save(tmp_path / "fitted")
    WORLD.keep(tmp_path)
    assert isinstance(open_ruler(tmp_path / "fitted"), FittedRuler)
    assert open_ruler(tmp_path) == AudienceRuler(WORLD)
    with pytest.raises(InputError, match=r"judge\.json: found no such file"):
        open_ruler(tmp_path / "none")


def test_the_fitted_ruler_counts_passes_and_puts_near_replies_into_one_class():
    ruler = FittedRuler(length_judge())  # of one class from a cosine of 0.9
    rows = ruler.rate(
        ["I went hiking"] * 4, ["that sounds like a lovely day", "oh nice", "", "ok"], [True] * 4, Letters()
    )
    assert [row["passes"] for row in rows] == [True, False, False, False]
    assert ruler.pass_curve(rows).tolist() == [pass_at_k(4, [1], k)[0] for k in (1, 2, 3, 4)]
    cut = ruler.rate(["I went hiking"], ["that sounds like a lovely day"], [False], Letters())
    assert (cut[0]["passes"], cut[0]["failures"]) == (False, ["truncated"])
    near, far = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    vectors = np.stack([near, far, 0.95 * near + (1 - 0.95**2) ** 0.5 * far, near])
    assert ruler.classes("a post", ["one reply", "another reply", "a third reply", ""], vectors) == [0, 1, 0, -1]
    assert ruler.ideals(4) == {}


def test_the_audience_ruler_rates_by_kind_alone():
    ruler = AudienceRuler(WORLD)
    rows = ruler.rate([POST] * 5, REPLIES, [True, True, True, True, False], None)
    assert [row["kind"] for row in rows] == ["question", "question", "agreement", "story", None]
    assert [row["engagement"] for row in rows] == [0.5, 0.5, 0.3, 0.0, 0.0]
    assert [row["passes"] for row in rows] == [True, True, True, False, False]  # nobody likes stories here
    assert [row["relevance"] for row in rows] == [1, 1, 1, 1, 0]
    assert [row["failures"] for row in rows][3:] == [[], ["generic", "off_topic", "truncated"]]
    assert ruler.classes(POST, REPLIES, None) == [0, 0, 1, 5, -1]
    cut = ruler.rate([POST] * 5, REPLIES, [False, True, False, True, True], None)
    assert [row["passes"] for row in cut] == [False, True, False, False, False]
    assert ruler.pass_curve(cut)[[0, 4]] == pytest.approx([0.1, 0.5])
    alike = ruler.alike(POST, [*REPLIES, "Who knows?"], None)
    assert np.argwhere(np.triu(alike)).tolist() == [[0, 0], [0, 1], [1, 1], [2, 2], [3, 3]]  # no kind is like none
    assert (alike == alike.T).all()
    assert ruler.pass_curve(rows)[[0, 1, 4]] == pytest.approx([0.26, (0.5 * 7 + 0.3 * 4) / 10, 0.8])
    assert ruler.ideals(3)["ideal: likeliest taste"].tolist() == [0.5] * 3


def test_evaluation_reads_the_truth_where_there_is_one(tmp_path):
    WORLD.keep(tmp_path)
    row = {"post": POST, "human": OF["agreement"], "human_nll": 1.0, "human_tokens": 1, "ended": [True] * 5}
    path = write_rows(tmp_path / "seed-1.jsonl", [row | {"id": f"t{i}", "replies": REPLIES} for i in range(3)])
    measured = evaluate(path, tmp_path, Letters(), tmp_path / "out", settings(ks=(1, 5)))
    assert measured["metrics"]["pass_at_1"]["mean"] == pytest.approx(0.26)
    assert measured["metrics"]["engagement"]["mean"] == pytest.approx(0.26)
    assert measured["metrics"]["pass_at_5"]["mean"] == pytest.approx(0.8)
    assert measured["human"]["pass_at_1"]["mean"] == pytest.approx(0.3)
    assert read_per_post(tmp_path / "out/per_post.json").pass_curve.shape == (3, 5)
    assert read_jsonl(tmp_path / "out/replies.jsonl")[0]["replies"][0]["kind"] == "question"
    damaged = read_json(tmp_path / "out/per_post.json") | {"samples": 4}
    (tmp_path / "out/per_post.json").write_text(json.dumps(damaged))
    with pytest.raises(InputError, match=r"pass_curve of shape \(3, 5\)"):
        read_per_post(tmp_path / "out/per_post.json")


def test_the_exact_judge_is_kept_and_its_report_says_that_nothing_was_fitted(tmp_path):
    generator = np.random.default_rng(0)
    kinds = generator.integers(3, size=60)
    pairs = [
        Pair(f"p{i}", f"c{i % 12}", POST, OF[KINDS[m]], float(generator.poisson(9 * W[KINDS[m]])), "")
        for i, m in enumerate(kinds)
    ]
    write_pairs(tmp_path / "judge.jsonl", pairs)
    own = ranked(pairs, "judge", 50, 0.95, tmp_path / "judge.jsonl")
    report = make_exact(own, WORLD, tmp_path / "judge", tmp_path / "judge.json")
    assert report == read_json(tmp_path / "judge.json")
    assert "exact, since this world says" in report["verdict"]
    assert 0.2 < report["spearman_low"] <= report["spearman"] <= report["spearman_high"] < 1
    assert report["engagement_threshold"] == 0.2  # the least that a passing reply has
    assert open_ruler(tmp_path / "judge") == AudienceRuler(WORLD)
