"""`polychrome rate`: a blind page, and what its answers add up to."""

import json
import re

import pytest

from polychrome.commands.rate import page_data
from polychrome.commands.ratings import a_is_left, read_ratings, shown, summary
from polychrome.errors import InputError
from polychrome.evaluation.evaluate import Answered
from tests.evaluation.fakes import settings, write_rows
from tests.pipeline.conftest import ROOT

A, B = "baseline/seed-42", "polychromic/seed-42"
POSTS, SAMPLES = 30, 6


def assert_told(said, message):
    assert re.search(message, said), said


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Generations of two models, and what the judge said of them: B's replies engage more, the later the more."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    for model, worth in ((A, 0.0), (B, 0.1)):
        rows, judged = [], []
        for i in range(POSTS):
            replies = [f"{model[:4]} {i} reply {j}" for j in range(SAMPLES)]
            rows.append({
                "id": f"t{i}", "post": f"post {i} </script><b>", "human": "h", "human_nll": 1.0, "human_tokens": 2,
                "replies": replies, "ended": [True] * SAMPLES, "context": [["assistant", f"before {i}"]],
            })  # fmt: skip
            engagement = [{"text": text, "engagement": worth * (i - 9) + j / 100} for j, text in enumerate(replies)]
            judged.append({"id": f"t{i}", "post": rows[-1]["post"], "replies": engagement})
        write_rows(tmp_path / f"results/generations/{model}.jsonl", rows)
        write_rows(tmp_path / f"results/evaluation/{model}/replies.jsonl", judged)
    return tmp_path


def data_of(file):
    return json.loads(
        re.search(r'<script id="data" type="application/json">(.*?)</script>', file.read_text(), re.DOTALL)[1]
    )


def answers(data, prefer):
    """What a page saves when of every post the set of ``prefer(post)`` ("a", "b" or "tie") is chosen."""
    said = {}
    for one in data["posts"]:
        a_left = any(text.startswith("base") for text in one["left"])
        said[one["id"]] = {"tie": "tie", "a": "left" if a_left else "right", "b": "right" if a_left else "left"}[
            prefer(one)
        ]
    return {key: data[key] for key in ("version", "a", "b", "seed", "replies", "page")} | {"answers": said}


def test_the_page_has_every_post_once_in_an_order_of_chance_and_sets_on_sides_of_chance(project, polychrome):
    polychrome("rate", A, B)
    data = data_of(project / "rate.html")
    ids = [one["id"] for one in data["posts"]]
    assert sorted(ids) == sorted(f"t{i}" for i in range(POSTS))
    assert ids != sorted(ids)
    left = [one["left"][0][:4] for one in data["posts"]]
    assert 5 < left.count("base") < 25
    for one in data["posts"]:
        number = one["id"][1:]
        assert one["post"] == f"you: before {number}\nthem: post {number} </script><b>"
        for side in ("left", "right"):
            assert len(set(one[side])) == 5
            assert all(f" {number} reply" in text for text in one[side])
        assert {one["left"][0][:4], one["right"][0][:4]} == {"base", "poly"}
        assert [text[-1] for text in one["left"]] == [text[-1] for text in one["right"]]  # the same places of both sets
    before = (project / "rate.html").read_text()
    polychrome("rate", A, B)
    assert (project / "rate.html").read_text() == before
    polychrome("rate", A, B, "--seed", 1, "--posts", 7, "--replies", 0)
    other = data_of(project / "rate.html")
    assert (len(other["posts"]), {len(one["left"]) for one in other["posts"]}) == (7, {SAMPLES})


def test_the_page_is_one_file_without_network_and_no_reply_ends_its_script(project, polychrome):
    polychrome("rate", A, B)
    text = (project / "rate.html").read_text()
    assert not re.findall(r"(?:src|href)=|https?:|@import", text)
    assert text.count("</script>") == 2
    posts = {one["post"] for one in data_of(project / "rate.html")["posts"]}
    assert "you: before 3\nthem: post 3 </script><b>" in posts


def test_answers_are_unblinded_by_compare_and_set_beside_the_judge(project, polychrome):
    """a is preferred where the judge prefers it, and on three posts where it does not."""
    polychrome("rate", A, B)
    data = data_of(project / "rate.html")
    prefers_b = {f"t{i}" for i in range(12, POSTS)}  # of these the judge says b, of t0 to t8 a; of t9 neither
    ties = {"t10", "t11"}
    saved = answers(data, lambda one: "tie" if one["id"] in ties else "b" if one["id"] in prefers_b else "a")
    (project / "r.json").write_text(json.dumps(saved))
    found = json.loads(polychrome("compare", "--ratings", "r.json", "--json").out)
    assert found["answers"] == {"a": 10, "tie": 2, "b": 18}
    assert found["prefers_a"]["value"] == pytest.approx(11 / 30, rel=1e-5)
    assert found["prefers_a"]["low"] < 11 / 30 < found["prefers_a"]["high"]
    assert found["judge_agrees"]["value"] == 1.0
    assert found["judge_kappa"]["value"] == 1.0
    against = answers(data, lambda one: "a" if one["id"] in prefers_b else "b")
    (project / "s.json").write_text(json.dumps(against))
    printed = polychrome("compare", "--ratings", "s.json").out
    assert "the judge prefers the same set in 7% of them" in printed  # t10 and t11 of the 29 that it tells apart
    assert f"18 for {A}, 12 for {B}, 0 ties" in printed


def test_a_clear_preference_is_said_and_a_split_one_is_not(project, polychrome):
    polychrome("rate", A, B)
    data = data_of(project / "rate.html")
    for name, prefer in (("b", lambda one: "b"), ("half", lambda one: "a" if int(one["id"][1:]) % 2 else "b")):
        (project / f"{name}.json").write_text(json.dumps(answers(data, prefer)))
    assert f"the sets of {B} are preferred to those of {A}" in polychrome("compare", "--ratings", "b.json").out
    assert "no preference" in polychrome("compare", "--ratings", "half.json").out
    both = polychrome("compare", "--ratings", "b.json", "half.json").out
    assert "2 people, 30 posts" in both
    assert "those of baseline/seed-42 in 25% of answers" in both


def test_the_judge_is_asked_about_the_replies_that_were_shown(project):
    """The others say the opposite: with all of them agreement would be none."""
    kept = {f"t{i}": shown(3, f"t{i}", SAMPLES, 2) for i in range(POSTS)}
    assert {len(set(places)) for places in kept.values()} == {2}
    for model, worth in ((A, 1.0), (B, -1.0)):
        rows = []
        for post, places in kept.items():
            engagement = [worth if j in places else -5 * worth for j in range(SAMPLES)]
            rows.append({"id": post, "replies": [{"engagement": one} for one in engagement]})
        write_rows(project / f"results/evaluation/{model}/replies.jsonl", rows)
    said = {f"t{i}": "left" if a_is_left(3, f"t{i}") else "right" for i in range(POSTS)}
    rating = {"a": A, "b": B, "seed": 3, "replies": 2, "answers": said}
    found = summary([rating], settings())
    assert (found["prefers_a"]["value"], found["judge_agrees"]["value"]) == (1.0, 1.0)


def test_sets_to_other_posts_or_of_fewer_replies_are_refused():
    def sets(*posts, count=3):
        return [Answered(post, post, "h", ("r",) * count, (True,) * count, 1.0) for post in posts]

    with pytest.raises(InputError, match="answers to different posts"):
        page_data([A, B], [sets("x", "y"), sets("x", "z")], 0, 2, 0)
    with pytest.raises(InputError, match="--replies: found 4; expected at most 3"):
        page_data([A, B], [sets("x", "y"), sets("x", "y")], 0, 4, 0)
    with pytest.raises(InputError, match="--posts: found 3; expected at most 2"):
        page_data([A, B], [sets("x", "y"), sets("x", "y")], 3, 2, 0)


def test_bad_inputs_end_with_one_message(project, polychrome):
    for arguments, message in (
        ((A, A), f"found {A} twice"),
        ((A, "nobody"), "found nobody; expected <arm>/seed-<n>"),
        (("zero_shot", "prompted"), r"zero_shot/seed-42\.jsonl: found no such file(.|\n)*prompted/seed-42\.jsonl"),
        ((A, B, "--posts", -1), "--posts: found -1"),
        ((A, B, "--out", "/proc/page.html"), r"/proc/page\.html: found .* while saving"),
    ):
        assert_told(polychrome("rate", *arguments, fails=True).err, message)


def test_ratings_that_are_none_or_of_another_page_are_refused_all_at_once(project, polychrome):
    polychrome("rate", A, B)
    good = answers(data_of(project / "rate.html"), lambda one: "a")
    for name, value in {
        "good": good,
        "list": [1],
        "word": good | {"answers": {"t1": "up"}},
        "none": good | {"answers": {}},
        "other": good | {"page": "x"},
        "old": good | {"version": 0},
        "path": good | {"a": "../../x"},
    }.items():
        (project / f"{name}.json").write_text(json.dumps(value))
    (project / "torn.json").write_text('{"a": ')
    files = ["good", "list", "word", "none", "other", "old", "path", "torn", "gone"]
    said = polychrome("compare", "--ratings", *(f"{name}.json" for name in files), fails=True).err
    places = [line.split(": found")[0] for line in said.splitlines()[1:]]
    assert places == [
        "list.json", "word.json:answers.t1", "none.json:answers", "other.json:page", "old.json:version", "path.json:a",
        "torn.json:1", "gone.json",
    ]  # fmt: skip
    (project / "one.json").write_text(json.dumps(good | {"answers": {"t1": "left"}}))
    assert_told(polychrome("compare", "--ratings", "one.json", fails=True).err, "found 1 posts that everybody answered")
    (project / f"results/evaluation/{A}/replies.jsonl").unlink()
    assert_told(polychrome("compare", "--ratings", "good.json", fails=True).err, r"replies\.jsonl: found no such file")
    assert read_ratings(["good.json"]) == [good]
