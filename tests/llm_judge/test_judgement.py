"""Two models judged end to end: what is asked, what it adds up to, what a broken run leaves, what a re-run costs."""

import json
import shutil

import numpy as np
import pytest
from scipy import stats

from polychrome.errors import InputError
from tests.llm_judge.conftest import KEY, POSTS, SEEDS, by_words, varied, write_model
from tests.llm_judge.server import raw, status, verdict

UNITS = POSTS * len(SEEDS)
CALLS = 2 * UNITS


def prefers_by_post(table):
    """A judge that knows which set it prefers by the post's number: varied, dull or tie."""

    def judge(request):
        number = int(request.question["post"].split()[-1].rstrip("?"))
        honest = by_words(request)
        return {"varied": honest, "dull": {"A": "B", "B": "A"}[honest], "tie": "tie"}[table[number]]

    return judge


# --- what is asked ----------------------------------------------------------------------------------------------------


def test_every_post_and_seed_is_asked_in_both_orders(bench, backend):
    bench.run(backend)
    asked = [request.question for request in bench.server.requests]
    assert len(asked) == CALLS
    for first, second in zip(asked[::2], asked[1::2], strict=True):
        assert (first["post"], first["set_A"], first["set_B"]) == (second["post"], second["set_B"], second["set_A"])
        assert first["set_A"] != first["set_B"]


def test_requests_say_nothing_of_models_arms_or_seeds(bench, backend):
    bench.run(backend)
    for request in bench.server.requests:
        text = json.dumps([request.body, sorted(request.headers)]).replace(request.mark, "")
        named = [word for word in ("varied", "dull", "seed", "42", "t0", str(bench.root)) if word in text]
        assert named == []
        assert set(request.question) == {"post", "set_A", "set_B"}


def test_every_request_has_a_mark_of_its_own(bench, backend):
    bench.run(backend)
    assert len({request.mark for request in bench.server.requests}) == CALLS


def test_a_sample_of_posts_and_replies_is_shown(bench, backend):
    result = bench.run(backend, posts=2, replies=2)
    assert result["units"]["of"] == 2 * len(SEEDS)
    assert len({verdict["id"] for verdict in result["verdicts"]}) == 2
    assert {len(request.question["set_A"]) for request in bench.server.requests} == {2}


def test_the_rubric_comes_from_its_file(bench, backend):
    (bench.root / "mine.md").write_text("Prefer rhymes.")
    bench.run(backend, rubric=str(bench.root / "mine.md"))
    assert "Prefer rhymes." in bench.server.requests[0].user
    with pytest.raises(InputError, match="none\\.md"):
        bench.run(backend, rubric=str(bench.root / "none.md"))


# --- what it adds up to -----------------------------------------------------------------------------------------------


def test_the_better_sets_win(bench, backend):
    result = bench.run(backend)
    assert (result["counts"]["win"], result["counts"]["tie"], result["counts"]["loss"]) == (UNITS, 0, 0)
    assert result["win_rate"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert "not certainty" in result["notes"][-1]
    assert result["agreement_between_orders"]["share"]["mean"] == 1.0
    assert result["position_bias"]["mean"] == 0.0
    assert result["judge"]["answered_by"] == ["judge-1-served"]
    assert result["spend"]["calls"] == CALLS
    assert result["spend"]["dollars"] == pytest.approx(CALLS * (700 * 3 + 40 * 15) / 1e6)


def test_figures_follow_from_the_verdicts(bench, backend):
    table = ["varied", "varied", "tie", "dull"]
    bench.server.judge = prefers_by_post(table)
    gaps = [0.3, 0.2, 0.1, -0.4]  # of engagement, in the order of the verdicts
    write_model(bench.root, "varied", ["one apple", "two birds", "red sea"], engagement=lambda i: 0.5 + gaps[i])
    write_model(bench.root, "dull", ["nice", "nice", "nice"], engagement=0.5)
    result = bench.run(backend)
    score = np.array([1, 1, 0.5, 0])
    assert result["counts"] | {"win": 4, "tie": 2, "loss": 2} == result["counts"]
    assert result["win_rate"]["mean"] == pytest.approx(score.mean())
    assert result["win_rate"]["low"] < score.mean() < result["win_rate"]["high"]
    assert result["p"] == pytest.approx(stats.wilcoxon(score - 0.5, zero_method="pratt", correction=True).pvalue)
    assert result["sign_test"] == {"p": 1.0, "posts_for_a": 2, "posts_for_b": 1}
    assert result["agreement_between_orders"]["kappa"]["value"] == 1.0
    engaged = result["agreement_with_engagement"]
    expected = stats.spearmanr(np.tile(score, 2), np.tile(gaps, 2)).statistic
    assert engaged["spearman"]["value"] == pytest.approx(expected, abs=1e-5)
    assert engaged["same_sign"] == {"units": 6, "agreeing": 6, "share": 1.0}
    assert engaged["kappa"]["value"] == 1.0
    assert "is not shown to prefer" in result["verdict"]


def test_a_judge_who_goes_by_position_moves_nothing(bench, backend):
    bench.server.judge = lambda request: "A"
    result = bench.run(backend)
    assert result["counts"]["tie"] == result["counts"]["ties_by_disagreement"] == UNITS
    assert result["win_rate"]["mean"] == 0.5
    assert result["p"] == 1.0
    assert result["agreement_between_orders"]["share"]["mean"] == 0.0
    assert result["position_bias"]["mean"] == 1.0
    bench.server.judge = lambda request: "B"
    assert bench.run(backend, seed=1)["position_bias"]["mean"] == -1.0


def test_refusals_are_counted_and_their_posts_left_out(bench, backend):
    def refuse(handler, request):
        if request.protocol == "anthropic":
            handler.say({"type": "message", "content": [], "stop_reason": "refusal", "model": "m", "usage": {}})
        else:
            message = {"role": "assistant", "content": None, "refusal": "no"}
            handler.say({"choices": [{"message": message, "finish_reason": "stop"}], "model": "m"})

    bench.server.script = [refuse]
    result = bench.run(backend)
    assert (result["status"], result["counts"]["refused_orders"]) == ("complete", 1)
    assert (result["units"]["judged"], result["posts"]) == (UNITS - 1, {"of": POSTS, "compared": POSTS - 1})
    refused = [v for v in result["verdicts"] if v["is"] is None]
    assert [v["a_first"] for v in refused] == ["refused"]
    before = bench.written()
    assert bench.run(backend) == result
    assert bench.server.requests == []
    assert bench.written() == before


# --- a re-run ---------------------------------------------------------------------------------------------------------


def test_a_re_run_asks_nothing_and_writes_the_same_bytes(bench, backend, monkeypatch):
    bench.run(backend)
    before = bench.written()
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name)
    bench.run(backend, base_url="http://127.0.0.1:1", max_calls=0)
    assert bench.server.requests == []
    assert bench.written() == before


def test_the_other_way_round_costs_nothing_and_is_the_mirror_image(bench, backend):
    there = bench.run(backend)
    back = bench.run(backend, a="dull", b="varied")
    assert bench.server.requests == []
    assert (back["counts"]["loss"], back["win_rate"]["mean"]) == (there["counts"]["win"], 0.0)


@pytest.mark.parametrize("change", [{"model": "judge-2"}, {"temperature": 0.5}, {"max_tokens": 100}, {"seed": 9}])
def test_another_question_is_asked_anew(bench, backend, change):
    bench.run(backend)
    bench.run(backend, **change)
    assert len(bench.server.requests) == CALLS


def test_a_changed_reply_is_asked_about_anew_and_nothing_else(bench, backend):
    bench.run(backend)
    write_model(bench.root, "varied", lambda seed, i: ["ten", *varied(seed, i)[1:]], seeds=SEEDS[:1])
    bench.run(backend)
    assert len(bench.server.requests) == CALLS / 2


@pytest.mark.parametrize("damage", ["", "{", '{"request": 1}'])
def test_a_damaged_cache_is_told_and_mended(bench, backend, damage):
    bench.run(backend)
    before = bench.written()
    bench.cached()[3].write_text(damage)
    bench.run(backend)
    assert len(bench.server.requests) == 1
    assert sum("damaged entry" in line for line in bench.told) == 1
    assert bench.written() == before


# --- a run that ends early --------------------------------------------------------------------------------------------


def test_a_run_ended_by_its_calls_states_what_it_has_and_goes_on_from_there(bench, backend):
    partial = bench.run(backend, max_calls=7)
    assert len(bench.server.requests) == 7
    assert (partial["status"], partial["stopped"]["reason"]) == ("partial", "calls")
    assert partial["units"] == {"of": UNITS, "asked": 3, "judged": 3, "not_asked": UNITS - 3}
    assert "partial: 3 of 8 judged" in partial["verdict"]
    assert any("stopped after 3 of 8" in line and "max_calls" in line for line in bench.told)
    assert bench.run(backend, max_calls=7)["units"]["judged"] == 7
    bench.run(backend, max_calls=7)
    assert len(bench.server.requests) == CALLS - 14
    in_parts = bench.written()
    shutil.rmtree(bench.root / "cache")
    bench.run(backend)
    assert bench.written() == in_parts


def test_a_partial_run_has_whole_posts(bench, backend):
    """All seeds of one post come before the next post, so that what there is can be compared."""
    partial = bench.run(backend, max_calls=8)
    assert partial["posts"] == {"of": POSTS, "compared": 2}
    assert partial["win_rate"]["mean"] == 1.0


def test_the_budget_in_dollars_is_never_overrun(bench, backend):
    partial = bench.run(backend, max_dollars=0.05)
    assert partial["stopped"]["reason"] == "dollars"
    assert 0 < partial["spend"]["dollars"] <= 0.05
    assert 0 < partial["units"]["judged"] < UNITS


def test_a_budget_below_one_call_makes_no_call(bench, backend):
    with pytest.raises(InputError, match="max_dollars"):
        bench.run(backend, max_dollars=0.001)
    assert bench.server.requests == []
    assert not (bench.root / "out").exists()


def test_an_endpoint_that_goes_down_leaves_a_stated_partial_result(bench, backend):
    bench.server.script = [verdict("A"), verdict("B")] * 2 + [status(529)] * 3
    partial = bench.run(backend, retries=2)
    assert (partial["status"], partial["units"]["judged"]) == ("partial", 2)
    assert partial["stopped"]["text"] == "the endpoint failed: HTTP 529 overloaded_error"
    assert bench.run(backend)["status"] == "complete"
    assert len(bench.server.requests) == CALLS - 4


def test_an_endpoint_that_is_down_from_the_start_is_one_clear_error(bench, backend):
    bench.server.script = [raw("<html>", "text/html", 502)] * 3
    with pytest.raises(InputError, match="HTTP 502"):
        bench.run(backend, retries=2)
    assert not (bench.root / "out").exists()


def test_a_stopped_run_still_reads_what_later_posts_have_in_the_cache(bench, backend):
    bench.run(backend)
    for path in bench.cached()[:2]:
        path.unlink()
    partial = bench.run(backend, max_calls=1)
    assert partial["stopped"]["reason"] == "calls"
    assert partial["units"]["judged"] == UNITS - 1


def test_a_killed_run_keeps_every_answer(bench, backend):
    def killed(handler, request):
        raise_in_main.append(True)
        status(500)(handler, request)

    raise_in_main, sleep = [], bench.time.sleep

    def sleep_or_die(seconds):
        if raise_in_main:
            raise KeyboardInterrupt
        sleep(seconds)

    bench.time.sleep = sleep_or_die
    bench.server.script = [verdict("A"), verdict("B"), verdict("A"), killed]
    with pytest.raises(KeyboardInterrupt):
        bench.run(backend)
    assert len(bench.cached()) == 3
    raise_in_main.clear()
    bench.run(backend)
    assert len(bench.server.requests) == CALLS - 3


# --- the key ----------------------------------------------------------------------------------------------------------


def test_the_key_is_in_no_written_byte_and_no_line_told(bench, backend, capfd):
    bench.server.script = [status(429, f"key {KEY}"), status(500, KEY), verdict("A", f"said {KEY}")]
    bench.run(backend)
    bench.server.script = [status(401, f"invalid key {KEY}")]
    with pytest.raises(InputError) as caught:
        bench.run(backend, model="judge-2")
    files = [path for path in bench.root.rglob("*") if path.is_file()]
    assert len(files) > CALLS
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
    assert KEY not in str(caught.value) + "\n".join(bench.told) + "".join(capfd.readouterr())


# --- bad input --------------------------------------------------------------------------------------------------------


def test_everything_that_is_missing_is_told_at_once(bench, backend):
    (bench.root / "generations/dull/seed-42.jsonl").unlink()
    (bench.root / "generations/varied/seed-123.jsonl").unlink()
    with pytest.raises(InputError) as caught:
        bench.run(backend)
    assert [problem.found for problem in caught.value.problems] == ["no such file"] * 2


def test_a_missing_evaluation_is_told_before_anything_is_spent(bench, backend):
    (bench.root / "evaluation/dull/seed-42/per_post.json").unlink()
    with pytest.raises(InputError, match=r"dull/seed-42/per_post\.json"):
        bench.run(backend)
    assert bench.server.requests == []


def test_models_that_answered_other_posts_are_told(bench, backend):
    write_model(bench.root, "dull", ["a b", "c d", "e f"], posts=POSTS - 1)
    with pytest.raises(InputError, match="other posts"):
        bench.run(backend)


def test_more_replies_than_there_are_is_told(bench, backend):
    with pytest.raises(InputError, match=r"llm_judge\.replies"):
        bench.run(backend, replies=4)


def test_a_model_against_itself_is_told(bench, backend):
    with pytest.raises(InputError, match="against itself"):
        bench.run(backend, b="varied")


def test_settings_that_make_no_sense_are_all_told(bench):
    with pytest.raises(InputError) as caught:
        bench.settings("gemini", model="", max_tokens=0, retries=-1, max_dollars=float("nan"))
    told = str(caught.value)
    assert all(name in told for name in ("backend", "model", "max_tokens", "retries", "max_dollars"))


def test_the_vendors_own_endpoint_needs_a_price(bench, backend):
    with pytest.raises(InputError, match="price"):
        bench.settings(backend, base_url="", dollars_per_million_output=0.0)


@pytest.mark.parametrize(
    ("url", "free"),
    [
        ("https://api.example.com/v1", False),
        ("http://8.8.8.8/v1", False),
        ("http://127.0.0.1:8080/v1", True),
        ("http://[::1]:8080/v1", True),
        ("http://10.1.2.3/v1", True),
        ("http://localhost/v1", True),
        ("http://box.local/v1", True),
    ],
)
def test_only_an_endpoint_nearby_may_be_without_a_price(bench, url, free):
    unpriced = {"base_url": url, "dollars_per_million_input": 0.0, "dollars_per_million_output": 0.0}
    if free:
        bench.settings("openai", **unpriced)
        return
    with pytest.raises(InputError, match="price"):
        bench.settings("openai", **unpriced)
