"""People's rated replies in the judge's place: ratings by hand, in the plane, and what evaluation makes of them."""

from dataclasses import replace

import numpy as np
import pytest

from polychrome.engagement.judge import Thresholds
from polychrome.engagement.people import NEAREST, People, make_people
from polychrome.engagement.ranks import ranked
from polychrome.engagement.ruler import PeopleRuler, open_ruler
from polychrome.errors import InputError
from polychrome.evaluation.evaluate import evaluate
from polychrome.files import read_json, write_jsonl
from polychrome.pairs.schema import Pair, write_pairs
from tests.encoders import Angles
from tests.evaluation.fakes import settings, write_rows

POST = "a scene at 300"
SAID = [f"they said it from {angle}" for angle in (0, 2, 4, 6, 8, 10, 90)]
RATED = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.9]
PEOPLE = People({POST: SAID}, {POST: RATED}, Thresholds(np.cos(np.radians(20)), 0.35, 0.99), Angles())


def test_a_reply_is_worth_what_its_five_nearest_people_were_rated_and_nobody_is_near_oneself():
    rated, cosine = PEOPLE.nearest([POST] * 3, ["one from 1", "one from 90", SAID[0]])
    assert NEAREST == 5
    by_hand = [np.mean(RATED[:5]), np.mean([0.9, *RATED[2:6]]), np.mean(RATED[1:6])]
    assert rated == pytest.approx(by_hand)
    assert cosine == pytest.approx(np.cos(np.radians([1, 0, 2])), abs=1e-6)
    assert PEOPLE.predict([POST], ["one from 1"]) == pytest.approx(by_hand[:1])


def test_replies_to_several_posts_are_each_rated_by_the_people_of_their_own():
    two = replace(PEOPLE, replies={POST: SAID, "other at 1": SAID}, engagement={POST: RATED, "other at 1": RATED[::-1]})
    posts, replies = ["other at 1", POST, "other at 1"], ["x 1", "x 1", "x 90"]
    alone = [two.predict([post], [reply])[0] for post, reply in zip(posts, replies, strict=True)]
    assert two.predict(posts, replies).tolist() == alone
    assert alone[0] == pytest.approx(np.mean(RATED[::-1][:5]))


def test_the_ruler_passes_what_is_near_people_and_as_good_as_they_ask(tmp_path):
    PEOPLE.save(tmp_path)
    ruler = open_ruler(tmp_path, Angles())
    assert isinstance(ruler, PeopleRuler)
    replies = [f"one of them from {angle}" for angle in (9, 1, 60, 9)]
    rows = ruler.rate([POST] * 4, replies, [True, True, True, False], Angles())
    assert [row["engagement"] for row in rows[:3]] == pytest.approx([0.4, 0.3, np.mean([0.9, *RATED[2:6]])])
    assert [row["passes"] for row in rows] == [True, False, False, False]  # good; weak; near nobody; cut
    assert ["off_topic" in row["failures"] for row in rows] == [False, False, True, False]
    assert rows[0]["relevance"] == pytest.approx(np.cos(np.radians(1)), abs=1e-6)
    assert ruler.contributions([POST], ["one of them from 9"]) == {}


def test_a_post_of_no_people_and_a_damaged_file_are_reported(tmp_path):
    with pytest.raises(InputError, match=r"found 'another'; expected a post of the data"):
        PEOPLE.predict(["another"], ["one from 1"])
    (tmp_path / "people.json").write_text('{"replies": {}}')
    with pytest.raises(InputError, match=r"people\.json: found 'engagement'; .*dvc repro --force judge"):
        open_ruler(tmp_path)


def made(tmp_path, scenes=8, replies=12):
    """Scenes whose better replies point further round, with one reply that nobody is near."""
    generator = np.random.default_rng(0)
    pairs = [
        Pair(
            f"p{scene}-{n}",
            f"c{scene}",
            f"a scene at {300 + scene}",
            f"it was {'really ' * (n % 3)}said here from {angle}",
            float(rank),
            "",
        )
        for scene in range(scenes)
        for n, (angle, rank) in enumerate(
            (80 * rank + generator.normal() + scene / 100, rank) for rank in (np.arange(replies) + 0.5) / replies
        )
    ]
    write_pairs(tmp_path / "pairs.jsonl", pairs)
    own = ranked(pairs, "judge", 50, 0.95, tmp_path / "pairs.jsonl")
    return pairs, make_people(own, pairs[5 * replies :], Angles(), tmp_path / "judge", tmp_path / "judge.json", 0.75)


def test_the_stage_keeps_people_and_says_how_well_they_order_each_other(tmp_path):
    pairs, report = made(tmp_path)
    assert report == read_json(tmp_path / "judge.json")
    assert report["spearman_low"] > 0.8
    assert (
        f"puts {report['pairwise_accuracy_within_post']:.0%} of two replies to one post in the right order"
        in (report["verdict"])
    )
    kept = open_ruler(tmp_path / "judge", Angles()).judge
    phases = pairs[60:]
    reached = kept.predict([pair.post for pair in phases], [pair.reply for pair in phases])
    assert np.mean(reached >= report["engagement_threshold"]) == pytest.approx(0.25, abs=0.06)
    assert kept.thresholds.engagement == report["engagement_threshold"]
    with pytest.raises(InputError, match=r"found 1 posts with 5 replies or fewer .*; expected more than 5"):
        People.of(pairs[:17])


class Blind(Angles):
    """An encoder that knows the script of no text."""

    knows = staticmethod(lambda text: False)


def test_people_are_no_ruler_for_a_script_that_the_encoder_does_not_know(tmp_path):
    assert np.isnan(replace(PEOPLE, encoder=Blind()).nearest([POST], ["one from 1"])[1]).all()
    pairs, _ = made(tmp_path)
    own = ranked(pairs, "judge", 50, 0.95, tmp_path / "pairs.jsonl")
    with pytest.raises(InputError, match="expected an encoder that knows their script"):
        make_people(own, pairs[60:], Blind(), tmp_path / "other", tmp_path / "other.json", 0.75)
    assert not (tmp_path / "other").exists()


def test_evaluation_reads_people_where_they_were_kept(tmp_path):
    pairs, _ = made(tmp_path)
    scenes = [pairs[n : n + 12] for n in (0, 12, 24)]
    row = {"human_nll": 1.0, "human_tokens": 1, "ended": [True] * 2}
    rows = []
    for own in scenes:
        replies = [f"all of this at {own[n].reply.split()[-1]}" for n in (11, 0)]
        rows.append(row | {"id": own[0].id, "post": own[0].post, "human": own[0].reply, "replies": replies})
    others = [{"id": own[0].id, "replies": [pair.reply for pair in own[1:]], "engagement": []} for own in scenes]
    write_jsonl(tmp_path / "references.jsonl", others)
    path = write_rows(tmp_path / "seed-1.jsonl", rows)
    of = settings(ks=(1, 2))
    found = evaluate(path, tmp_path / "judge", Angles(), tmp_path / "out", of, tmp_path / "references.jsonl")
    assert found["metrics"]["pass_at_1"]["mean"] == pytest.approx(0.5)  # what is said like the best, not like the worst
    assert found["metrics"]["pass_at_2"]["mean"] == 1.0
    assert 0 < found["metrics"]["coverage"]["mean"] < 1
    assert found["metrics"]["utility_k"]["mean"] > 0
