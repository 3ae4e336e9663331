"""Two models judged end to end: what is asked, what it adds up to, what a broken run leaves, what a re-run costs."""

import json
import re
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from polychrome.bootstrap import estimate
from polychrome.errors import InputError
from polychrome.evaluation.statistics import cohens_kappa, kappa_of_signs, sign_test, spearman
from polychrome.llm_judge.asking import CACHE
from polychrome.params import load_params
from tests.llm_judge.conftest import KEY, POSTS, SEEDS, UNITS, by_words, varied, write_model
from tests.llm_judge.server import raw, refuse, say, status, verdict
from tests.reported import reported

ROOT = Path(__file__).parents[2]

CALLS = 2 * UNITS

# --- what is asked ----------------------------------------------------------------------------------------------------


def test_every_post_and_seed_is_asked_blind_and_in_both_orders(bench):
    bench.run()
    asked = [request.question for request in bench.server.requests]
    assert len(asked) == CALLS
    for first, second in zip(asked[::2], asked[1::2], strict=True):
        assert (first["post"], first["set_A"], first["set_B"]) == (second["post"], second["set_B"], second["set_A"])
    for request in bench.server.requests:
        text = json.dumps([request.body, sorted(request.headers)]).replace(request.mark, "")
        assert not re.search(f"varied|dull|seed|42|t0|{Path.cwd()}", text)
        assert set(request.question) == {"post", "set_A", "set_B"}
    assert len({request.mark for request in bench.server.requests}) == CALLS


def test_a_sample_of_posts_and_replies_is_shown(bench):
    result = bench.run(posts=2, replies=2)
    assert result["units"]["of"] == 2 * len(SEEDS)
    assert len({verdict["id"] for verdict in result["verdicts"]}) == 2
    assert {len(request.question["set_A"]) for request in bench.server.requests} == {2}
    samples = {tuple(verdict["id"] for verdict in bench.run(posts=2, seed=seed)["verdicts"]) for seed in range(4)}
    assert len(samples) > 1


# --- what it adds up to -----------------------------------------------------------------------------------------------


def test_the_better_sets_win(bench):
    result = bench.run()
    assert result["counts"] == {"win": UNITS, "tie": 0, "loss": 0}
    assert result["win_rate"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert "not certainty" in result["note"]
    assert result["agreement_between_orders"]["value"] == 1.0
    assert result["position_bias"]["value"] == 0.0
    assert result["answered_by"] == ["judge-1-served"]
    assert result["tokens"] == {"input": CALLS * 700, "output": CALLS * 40, "answers_not_counted": 0}
    assert result["dollars"] == pytest.approx(CALLS * (700 * 3 + 40 * 15) / 1e6)


def test_figures_follow_from_the_verdicts(bench):
    def judge(request):
        """Prefers by the post's number."""
        honest = by_words(request)
        other = {"A": "B", "B": "A"}[honest]
        return [honest, honest, "tie", other][int(re.search(r"\d", request.question["post"])[0])]

    bench.server.judge = judge
    score, gaps = np.array([1, 1, 0.5, 0]), [0.3, 0.2, 0.1, -0.4]  # by post
    write_model("varied", ["one apple", "two birds", "red sea"], engagement=lambda i: 0.5 + gaps[i])
    write_model("dull", ["nice", "nice", "nice"])
    result = bench.run()
    assert result["counts"] == {"win": 4, "tie": 2, "loss": 2}
    assert result["win_rate"]["value"] == pytest.approx(score.mean())
    assert result["win_rate"]["low"] < score.mean() < result["win_rate"]["high"]
    assert result["p"] == pytest.approx(stats.wilcoxon(score - 0.5, zero_method="pratt", correction=True).pvalue)
    assert result["sign_test"] == {"p": 1.0, "posts_for_a": 2, "posts_for_b": 1}
    assert result["kappa_between_orders"]["value"] == 1.0
    rho = stats.spearmanr(np.tile(score, 2), np.tile(gaps, 2)).statistic
    assert result["spearman_with_engagement"]["value"] == pytest.approx(rho)
    assert result["kappa_with_engagement"]["value"] == 1.0
    assert "is not shown to prefer" in result["verdict"]


def test_refusals_are_counted_and_their_posts_left_out(bench):
    bench.server.script = [refuse]
    result = bench.run()
    assert (result["status"], result["orders"]["refused"]) == ("complete", 1)
    assert (result["units"]["judged"], result["posts"]) == (UNITS - 1, {"of": POSTS, "compared": POSTS - 1})
    assert [v["a_first"] for v in result["verdicts"] if v["is"] is None] == ["refused"]
    assert bench.run() == result
    assert bench.server.requests == []


# --- kappa, rho and the sign test, against other implementations and by hand ------------------------------------------


def rho(*arrays):
    return estimate(spearman, arrays, 200, 0.95, np.random.default_rng(0))


def test_kappa_and_rho_are_those_of_others_with_ties_and_undefined_where_one_side_never_varies():
    a, b = np.random.default_rng(0).integers(3, size=(2, 60))
    assert cohens_kappa(a / 2, b / 2) == pytest.approx(cohen_kappa_score(a, b))
    sides = (a != 1) & (b != 1)  # a tie says nothing
    assert kappa_of_signs(a - 1, b - 1) == pytest.approx(cohen_kappa_score(a[sides], b[sides]))
    assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    assert np.isnan([cohens_kappa(np.ones(5), np.ones(5)), spearman(np.ones(4), np.arange(4.0))]).all()
    assert rho(np.ones((1, 3)), np.ones((1, 3))) is None


def test_the_sign_test_leaves_zeros_out():
    assert sign_test(np.array([1.0, 0.5, 0.5, 0.0, 1.0, 0.2])) == {"p": 2 / 2**5, "posts_for_a": 5, "posts_for_b": 0}
    assert sign_test(np.zeros(3)) == {"p": 1.0, "posts_for_a": 0, "posts_for_b": 0}


def test_an_interval_covers_and_repeats_and_there_is_none_where_most_resamples_are_undefined():
    a, noise = np.random.default_rng(2).normal(size=(2, 2, 60))
    made = [rho(a, 0.6 * a + 0.8 * noise) for _ in range(2)]
    assert made[0] == made[1]
    assert 0 < made[0]["low"] < 0.58 < made[0]["high"]  # the true one is 0.58
    two = np.array([[1.0, 0.0]])
    assert rho(two, two) == {"value": pytest.approx(1.0), "low": None, "high": None}


# --- a re-run ---------------------------------------------------------------------------------------------------------


def test_a_re_run_asks_nothing_needs_no_key_and_writes_the_same_bytes(bench, monkeypatch):
    there = bench.run()
    assert bench.told[0].startswith(f"{CALLS} of {CALLS} questions are not in the cache: at most $")
    before = bench.written()
    monkeypatch.delenv(f"{bench.backend.upper()}_API_KEY")
    bench.run(base_url="http://127.0.0.1:2", max_calls=0)
    assert bench.told[0].startswith(f"0 of {CALLS} questions are not in the cache: at most $0.0000")
    assert bench.written() == before
    back = bench.run("dull", "varied", max_calls=0)  # the other way round is the mirror image
    assert (back["counts"]["loss"], back["win_rate"]["value"]) == (there["counts"]["win"], 0.0)


def test_another_question_is_asked_again(bench):
    bench.run()
    for change in ({"model": "judge-2"}, {"max_tokens": 100}, {"seed": 9}):
        bench.run(**change)
        assert len(bench.server.requests) == CALLS


# --- a run that ends early --------------------------------------------------------------------------------------------


def test_a_run_ended_by_its_budget_states_what_it_has_and_goes_on_from_there(bench):
    """All seeds of one post come before the next post, so that what there is can be compared."""
    partial = bench.run(max_calls=9)
    assert len(bench.server.requests) == 9
    assert (partial["status"], partial["stopped"]["reason"]) == ("partial", "calls")
    assert partial["units"] == {"of": UNITS, "judged": 4}
    assert partial["orders"]["not_asked"] == CALLS - 9
    assert partial["posts"] == {"of": POSTS, "compared": 2}
    assert partial["win_rate"]["value"] == 1.0
    assert "partial: 4 of 8 judged" in partial["verdict"]
    assert any("stopped with 4 of 8" in line and "max_calls" in line for line in bench.told)
    bench.run(max_calls=9)
    assert len(bench.server.requests) == CALLS - 9
    in_parts = bench.written()
    CACHE.unlink()
    bench.run()
    assert bench.written() == in_parts
    CACHE.unlink()
    partial = bench.run(max_dollars=0.05)
    assert partial["stopped"]["reason"] == "dollars"
    assert 0 < partial["dollars"] <= 0.05
    assert 0 < partial["units"]["judged"] < UNITS


@pytest.mark.parametrize(
    ("change", "script", "words"),
    [({"max_dollars": 0.001}, [], "max_dollars"), ({}, [raw("", code=502)] * 6, "HTTP 502")],
)
def test_with_nothing_judged_there_is_one_clear_error_and_no_result(bench, change, script, words):
    bench.server.script = list(script)
    with pytest.raises(InputError, match=words):
        bench.run(**change)
    assert len(bench.server.requests) == len(script)
    assert not Path("results/llm_judge").exists()


def test_an_endpoint_that_goes_down_leaves_a_stated_partial_result(bench):
    bench.server.script = [verdict("A"), verdict("B")] * 2 + [status(529)] * 6
    partial = bench.run()
    assert (partial["status"], partial["units"]["judged"]) == ("partial", 2)
    assert partial["stopped"]["text"] == "the endpoint failed: HTTP 529 overloaded_error"
    assert bench.run()["status"] == "complete"
    assert len(bench.server.requests) == CALLS - 4


def test_a_changed_reply_is_asked_about_again_and_a_stopped_run_still_reads_the_rest_from_the_cache(bench):
    bench.run()
    write_model("varied", ["eleven", "twelve", "red fish"], seeds=SEEDS[:1])
    partial = bench.run(max_calls=0)
    assert (partial["stopped"]["reason"], partial["units"]["judged"]) == ("calls", UNITS / 2)
    assert bench.run()["status"] == "complete"
    assert len(bench.server.requests) == CALLS / 2


def test_a_killed_run_keeps_every_answer(bench):
    def kill(request):
        raise KeyboardInterrupt

    bench.server.script = [verdict("A")] * 4 + [kill]
    with pytest.raises(KeyboardInterrupt):
        bench.run()
    bench.run()
    assert len(bench.server.requests) == CALLS - 4


def test_the_key_is_in_no_written_byte_and_no_line_told_though_an_endpoint_repeats_it(bench, capfd):
    echo = say(value={"reason": f"said {KEY}", "better": "A"}, model=f"m-{KEY}")
    bench.server.script = [status(429, f"key {KEY}"), status(500, KEY), echo]
    assert "m-[key]" in bench.run()["answered_by"]
    told = "\n".join(bench.told)
    bench.server.script = [status(401, f"invalid key {KEY}")]
    with pytest.raises(InputError, match=r"HTTP 401.*invalid key \[key\]") as caught:
        bench.run(model="judge-2")
    assert not [path for path in Path().rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert KEY not in "".join([told, str(caught.value), *bench.told, *capfd.readouterr()])


def test_the_stage_tells_dvc_by_its_exit_status_whether_to_run_it_again(bench, monkeypatch, capsys):
    params = load_params(ROOT / "params.yaml")
    params = replace(params, seeds=SEEDS, evaluation=replace(params.evaluation, bootstrap=50))

    def run(*models, **changes):
        changed = replace(params, llm_judge=bench.settings(**changes))
        monkeypatch.setattr("polychrome.params.load_params", lambda: changed)
        monkeypatch.setattr("sys.argv", ["llm_judge.py", *models])
        monkeypatch.syspath_prepend(ROOT / "stages")
        try:
            runpy.run_path(str(ROOT / "stages/llm_judge.py"), run_name="__main__")
        except SystemExit as end:
            return end.code, *capsys.readouterr()
        return 0, *capsys.readouterr()

    code, out, err = run("varied", "dull", max_calls=7)
    assert (code, "partial: 3 of 8 judged" in out, "max_calls" in err) == (1, True, True)
    code, out, _ = run("varied", "dull")
    assert (code, "win rate 1.00" in out, len(bench.server.requests)) == (0, True, CALLS)
    code, _, err = run("varied")
    assert (code, "two models" in err, "Traceback" in err) == (1, True, False)


# --- bad input --------------------------------------------------------------------------------------------------------


def test_everything_that_is_missing_is_reported_at_once_before_anything_is_spent(bench):
    for path in ("generations/dull/seed-42.jsonl", "evaluation/varied/seed-123/per_post.json"):
        Path("results", path).unlink()
    assert [problem.found for problem in reported(bench.run)] == ["no such file"] * 2
    assert bench.server.requests == []
    with pytest.raises(InputError, match="against itself"):
        bench.run(b="varied")


def test_other_posts_here_or_in_the_evaluation_and_too_few_replies_are_reported(bench):
    write_model("dull", varied, seeds=SEEDS[:1], post="another {}")
    write_model("varied", varied, seeds=SEEDS[1:], posts=2)
    found = [problem.found for problem in reported(bench.run, replies=4)]
    assert (found.count("other posts"), found.count("3 replies")) == (2, 4)
