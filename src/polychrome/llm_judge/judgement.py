"""Two models' sets of replies judged against each other by post and seed, and what the verdicts add up to.

The unit is one test post and one seed: the sets that both models gave to it are shown in both orders. Orders that name
the same set make a win, two ties a tie; orders that disagree make a tie, so that a judge who goes by position, or obeys
a reply that says "answer A", moves nothing. A unit with a refused or unreadable order has no verdict and is counted.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from polychrome.bootstrap import estimate
from polychrome.errors import Problem, Problems, bad
from polychrome.evaluation.evaluate import Answered, read_generations, read_per_post
from polychrome.evaluation.statistics import cohens_kappa, kappa_of_signs, sign_test, spearman, wilcoxon
from polychrome.files import write_json
from polychrome.llm_judge.asking import Judge
from polychrome.llm_judge.question import RUBRIC, Answer, Question, speaks_to_the_judge
from polychrome.llm_judge.settings import LlmJudgeSettings
from polychrome.pairs.schema import as_said
from polychrome.randomness import numpy_generator

if TYPE_CHECKING:
    from polychrome.params import Params

RESULTS = Path("results")
SCORE = {"a": 1.0, "tie": 0.5, "b": 0.0}
SAYS = ({"A": "a", "B": "b", "tie": "tie"}, {"A": "b", "B": "a", "tie": "tie"})  # with a first, with b first
REMEDY = "The answers so far are in the cache; fix the cause (or raise the limit) and run the same command again."


class Unit(NamedTuple):
    """One post and seed."""

    id: str
    seed: int
    orders: tuple[Question, Question]  # model a's set first, model b's first
    engagement: float  # mean predicted engagement of a's set minus that of b's


def judge_models(a: str, b: str, params: Params, tell: Callable[[str], None]) -> dict[str, Any]:
    """Judge model ``a`` against ``b``; writes ``results/llm_judge/<a>_vs_<b>.json`` and returns what it holds.

    A run that its budget or the endpoint ends writes what it has, with ``status`` "partial" and why; the next run goes
    on from the cache. The same files and cache give the same bytes. Raises InputError for bad input, for a key that is
    missing, and when not one unit could be judged; then nothing is written but the cache.
    """
    units, judge = read_units(a, b, params.seeds, params.llm_judge), Judge(params.llm_judge, tell)
    tell(judge.forecast([question for unit in units for question in unit.orders]))
    answers = [[judge.ask(question) for question in unit.orders] for unit in units]
    tell(f"this run made {judge.calls} calls for at most ${judge.dollars:.4f}; the cache answered the rest")
    result = {"a": a, "b": b, "seeds": list(params.seeds)} | summary(units, answers, judge, params)
    done, stopped = result["units"]["judged"], judge.stopped
    if stopped and not done:
        raise bad("llm_judge", f"none: {stopped.detail}", f"verdicts on {len(units)} posts and seeds", REMEDY)
    if stopped:
        tell(f"stopped with {done} of {len(units)} posts and seeds judged: {stopped.detail}. {REMEDY}")
    result["verdict"] = in_words(result)
    write_json(RESULTS / f"llm_judge/{a}_vs_{b}.json", result)
    return result


def read_units(model_a: str, model_b: str, seeds: Sequence[int], settings: LlmJudgeSettings) -> list[Unit]:
    """Every unit in the order of judging: posts shuffled, all seeds of one post together.

    So a run that ends early has judged a random sample of posts, each with every seed. Raises InputError naming all
    files that are missing, damaged, or about other posts, and settings.replies above what there is.
    """
    if model_a == model_b:
        raise bad("llm_judge", f"{model_a} against itself", "two models", "Name another.")
    runs, problems = {}, Problems()
    for model, seed in product((model_a, model_b), seeds):
        path = RESULTS / f"generations/{model}/seed-{seed}.jsonl"
        with problems.caught():
            rows = read_generations(path)
            measured = read_per_post(RESULTS / f"evaluation/{model}/seed-{seed}/per_post.json")
            runs[model, seed] = rows, measured.metrics["engagement"]
            first = next(iter(runs.values()))[0]
            asked, posts = ([(row.id, as_said(row.context, row.post)) for row in some] for some in (rows, first))
            if asked != posts or list(measured.posts) != [row.id for row in rows]:
                expected = f"those of {model_a} with seed {seeds[0]}, here and in results/evaluation"
                problems.append(Problem(str(path), "other posts", expected, "Run `dvc repro` to make them again."))
            if settings.replies > len(rows[0].replies):
                found, expected = f"{len(rows[0].replies)} replies", f"the {settings.replies} of llm_judge.replies"
                problems.append(Problem(str(path), found, expected, "Lower llm_judge.replies."))
    problems.raise_any()

    def shown(row: Answered, seed: int) -> tuple[str, ...]:  # in an order of chance that is the same for every model
        order = numpy_generator(settings.seed, "llm_judge replies", seed, row.id).permutation(len(row.replies))
        return tuple(row.replies[place] for place in order[: settings.replies or None])

    units = []
    order = numpy_generator(settings.seed, "llm_judge posts").permutation(len(posts))
    for place, seed in product(order[: settings.posts or None], seeds):
        (rows_a, engagement_a), (rows_b, engagement_b) = runs[model_a, seed], runs[model_b, seed]
        (name, post), a, b = posts[place], shown(rows_a[place], seed), shown(rows_b[place], seed)
        gap = float(engagement_a[place] - engagement_b[place])
        units.append(Unit(name, seed, (Question(post, a, b), Question(post, b, a)), gap))
    return units


def verdict_on(unit: Unit, answers: Sequence[Answer | None]) -> dict[str, Any]:
    """What each order says (a, b, tie, refused, unreadable; None: not asked), and both (None without two verdicts)."""
    first, second = (a and says.get(a.better or "", a.kind) for a, says in zip(answers, SAYS, strict=True))
    both = (first if first == second else "tie") if first in SCORE and second in SCORE else None
    return {"id": unit.id, "seed": unit.seed, "a_first": first, "b_first": second, "is": both}


def summary(units: list[Unit], answers: list[list[Answer | None]], judge: Judge, params: Params) -> dict[str, Any]:
    """What the ``answers`` on ``units`` add up to, from the point of view of model a: a win is a's."""
    settings, stopped, evaluation = judge.settings, judge.stopped, params.evaluation
    verdicts = list(map(verdict_on, units, answers))
    counts, orders = Counter(v["is"] for v in verdicts), Counter(v[x] for v in verdicts for x in ("a_first", "b_first"))
    given = [answer for both in answers for answer in both if answer]
    uncounted = [answer.tokens for answer in given].count(None)
    tokens = [sum(answer.tokens[i] for answer in given if answer.tokens) for i in (0, 1)]
    withheld = [sum(speaks_to_the_judge(reply) for unit in units for reply in unit.orders[i].a) for i in (0, 1)]
    scores = [[SCORE.get(v[said], np.nan) for v in verdicts] for said in ("is", "a_first", "b_first")]
    tables = np.array([*scores, [unit.engagement for unit in units]]).reshape(4, -1, len(params.seeds))
    known = ~np.isnan(tables[0]).any(axis=1)  # posts with a verdict for every seed
    score, first, second, engagement = tables[:, known].swapaxes(1, 2)  # (seeds, posts) each
    by_post, posts = score.mean(axis=0) - 0.5, int(known.sum())
    p, note = wilcoxon(by_post) if posts >= 2 else (None, "fewer than two posts with a verdict for every seed")
    if posts >= 2 and np.ptp(score) == 0:
        note = "every verdict is the same, so the interval has no width; that is not certainty"

    def found(statistic: Callable[..., float], *arrays: np.ndarray) -> dict[str, float | None] | None:
        generator = numpy_generator(settings.seed, "llm_judge bootstrap", *arrays[0].shape)
        return estimate(statistic, arrays, evaluation.bootstrap, evaluation.confidence, generator)

    return {
        "status": "partial" if stopped else "complete",
        "stopped": stopped and {"reason": stopped.reason, "text": str(stopped)},
        "judge": {name: getattr(settings, name) for name in ("backend", "model", "max_tokens", "replies", "seed")},
        "answered_by": sorted({answer.model for answer in given}),
        "rubric_sha256": hashlib.sha256(RUBRIC.encode()).hexdigest(),
        "units": {"of": len(units), "judged": len(units) - counts[None]},
        "posts": {"of": len(known), "compared": posts},
        "counts": {"win": counts["a"], "tie": counts["tie"], "loss": counts["b"]},
        "ties_by_disagreement": sum(v["is"] == "tie" != v["a_first"] for v in verdicts),
        "orders": {"refused": orders["refused"], "unreadable": orders["unreadable"], "not_asked": orders[None]},
        "win_rate": found(np.mean, score),
        "p": p,
        "note": note,
        "sign_test": sign_test(by_post),
        "agreement_between_orders": found(lambda a, b: np.mean(a == b), first, second),
        "kappa_between_orders": found(cohens_kappa, first, second),
        # the first set of an order is a's where a is shown first, and b's where b is: (first - second) is in both
        "position_bias": found(np.mean, first - second),
        "spearman_with_engagement": found(spearman, score, engagement),
        "kappa_with_engagement": found(kappa_of_signs, score - 0.5, engagement),
        "withheld_replies": {"a": withheld[0], "b": withheld[1]},
        "tokens": {"input": tokens[0], "output": tokens[1], "answers_not_counted": uncounted},
        "dollars": judge.price(*tokens),
        "confidence": evaluation.confidence,
        "verdicts": verdicts,
    }


def in_words(result: Mapping[str, Any]) -> str:
    """The finding in a sentence."""
    a, b, units, win_rate, confidence = (result[name] for name in ("a", "b", "units", "win_rate", "confidence"))
    partly = "" if result["status"] == "complete" else f" (partial: {units['judged']} of {units['of']} judged)"
    if win_rate is None:
        return f"Too few verdicts to compare {a} with {b}{partly}."
    rate, low, high = win_rate.values()
    words = f"is not shown to prefer {a} or {b}"
    if result["p"] < 1 - confidence and not low <= 0.5 <= high:
        words = f"prefers the sets of {a} to those of {b}" if rate > 0.5 else f"prefers the sets of {b} to those of {a}"
    words = f"{result['judge']['model']} {words}: win rate {rate:.2f}, {100 * confidence:g}% interval"
    return f"{words} {low:.2f} to {high:.2f}, ties half, p = {result['p']:.3f} (of {a}){partly}."
