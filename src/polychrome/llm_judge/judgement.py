"""Two models' sets of replies judged against each other by post and seed, and what the verdicts add up to.

The unit is one test post and one seed: the sets that both models gave to it are shown in both orders. Orders that name
the same set make a win, two ties a tie; orders that disagree make a tie, so that a judge who goes by position, or obeys
a reply that says "answer A", moves nothing. A unit with a refused or unreadable order has no verdict and is counted.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import binomtest, rankdata

from polychrome.bootstrap import draw_rows, percentiles
from polychrome.errors import InputError, Problem, bad
from polychrome.evaluation.evaluate import read_generations, read_per_post
from polychrome.evaluation.settings import EvaluationSettings
from polychrome.evaluation.statistics import wilcoxon
from polychrome.files import write_json
from polychrome.llm_judge.asking import Judge
from polychrome.llm_judge.question import Answer, Question, speaks_to_the_judge
from polychrome.llm_judge.settings import LlmJudgeSettings
from polychrome.randomness import numpy_generator

RESULTS = Path("results")
SCORE = {"a": 1.0, "tie": 0.5, "b": 0.0}
SAYS = ({"A": "a", "B": "b", "tie": "tie"}, {"A": "b", "B": "a", "tie": "tie"})  # with a first, with b first


class Unit(NamedTuple):
    """One post and seed, and what was said of it, None where nothing was. Set A of the question is model a's."""

    id: str
    seed: int
    question: Question
    engagement: float  # mean predicted engagement of a's set minus that of b's
    answers: tuple[Answer | None, ...] = (None, None)  # a first, b first

    @property
    def by_order(self) -> list[str | None]:
        """What each order says: a, b, tie, refused or unreadable; None when it was not asked."""
        pairs = zip(self.answers, SAYS, strict=True)
        return [says.get(answer.better or "", answer.kind) if answer else None for answer, says in pairs]

    @property
    def verdict(self) -> str | None:
        """a, b or tie over both orders; None without two verdicts."""
        first, second = self.by_order
        if first not in SCORE or second not in SCORE:
            return None
        return first if first == second else "tie"


def judge_models(
    model_a: str,
    model_b: str,
    seeds: Sequence[int],
    settings: LlmJudgeSettings,
    evaluation: EvaluationSettings,
    tell: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Judge ``model_a`` against ``model_b``; writes ``results/llm_judge/<a>_vs_<b>.json`` and returns what it holds.

    A run that its budget or the endpoint ends writes what it has, with ``status`` "partial" and why; each answer is in
    the cache by then, and the next run goes on from there. The same files and cache give the same bytes. Raises
    InputError for bad input, for a key that is missing, and when not one unit could be judged; then nothing is written
    but the cache.
    """
    units, judge = read_units(model_a, model_b, seeds, settings), Judge(settings, tell)
    tell(judge.forecast([order for unit in units for order in (unit.question, unit.question.swapped())]))
    units = [u._replace(answers=(judge.ask(u.question), judge.ask(u.question.swapped()))) for u in units]
    tell(f"this run made {judge.calls} calls for at most ${judge.dollars:.4f}; the cache answered the rest")
    if judge.stopped:
        remedy = (
            "What was answered is in the cache; mend the cause (or raise the limit) and run the same command again."
        )
        if not any(unit.verdict for unit in units):
            expected = f"verdicts on {len(units)} posts and seeds, each in two orders"
            raise bad("llm_judge", f"none: {judge.stopped.detail}", expected, remedy)
        done = sum(None not in unit.answers for unit in units)
        tell(f"stopped after {done} of {len(units)} posts and seeds: {judge.stopped.detail}. {remedy}")
    result = {"a": model_a, "b": model_b, "seeds": list(seeds)} | summary(units, len(seeds), judge, evaluation)
    result["verdict"] = _sentence(result)
    write_json(RESULTS / f"llm_judge/{model_a}_vs_{model_b}.json", result)
    return result


def read_units(model_a: str, model_b: str, seeds: Sequence[int], settings: LlmJudgeSettings) -> list[Unit]:
    """Every unit in the order of judging: posts shuffled, all seeds of one post together.

    So a run that ends early has judged a random sample of posts, each with every seed. Raises InputError naming all
    files that are missing, damaged, or about other posts, and settings.replies above what there is.
    """
    if model_a == model_b:
        raise bad("llm_judge", f"{model_a} against itself", "two models", "Name another.")
    runs, problems = {}, []
    for model, seed in product((model_a, model_b), seeds):
        path = RESULTS / f"generations/{model}/seed-{seed}.jsonl"
        try:
            rows, measured = (
                read_generations(path),
                read_per_post(RESULTS / f"evaluation/{model}/seed-{seed}/per_post.json"),
            )
        except InputError as error:
            problems += error.problems
            continue
        engagement = dict(zip(measured.posts, measured.metrics["engagement"].tolist(), strict=True))
        runs[model, seed] = [(row, engagement.get(row.id, np.nan)) for row in rows]
        first = next(iter(runs.values()))
        if [(row.id, row.post) for row in rows] != [(row.id, row.post) for row, _ in first]:
            expected = f"the posts of {model_a} with seed {seeds[0]}, in the same order"
            problems.append(Problem(str(path), "other posts", expected, "Run `dvc repro` to generate it again."))
        if any(np.isnan(engaged) for _, engaged in runs[model, seed]):
            expected = "the engagement of each in results/evaluation"
            problems.append(Problem(str(path), "posts without", expected, "Run `dvc repro evaluate`."))
        if settings.replies > len(rows[0].replies):
            found, expected = f"{len(rows[0].replies)} replies", f"the {settings.replies} of llm_judge.replies"
            problems.append(Problem(str(path), found, expected, "Lower llm_judge.replies."))
    if problems:
        raise InputError(problems)
    posts = numpy_generator(settings.seed, "llm_judge posts").permutation(len(first))[: settings.posts or None]
    units = []
    for index, seed in product(posts, seeds):
        (a, engaged_a), (b, engaged_b) = runs[model_a, seed][index], runs[model_b, seed][index]
        sets = []
        for replies in (a.replies, b.replies):  # in an order of chance that is the same for every model
            order = numpy_generator(settings.seed, "llm_judge replies", seed, a.id).permutation(len(replies))
            sets.append(tuple(replies[place] for place in order[: settings.replies or None]))
        units.append(Unit(a.id, seed, Question(a.post, *sets), engaged_a - engaged_b))
    return units


def summary(units: Sequence[Unit], seeds: int, judge: Judge, evaluation: EvaluationSettings) -> dict[str, Any]:
    """What the verdicts on ``units`` add up to, from the point of view of model a: a win is a's."""
    settings, stopped = judge.settings, judge.stopped
    verdicts, orders = Counter(u.verdict for u in units), Counter(order for u in units for order in u.by_order)
    answers = [answer for unit in units for answer in unit.answers if answer]
    tokens = [sum(answer.tokens[i] for answer in answers if answer.tokens) for i in (0, 1)]

    def table(values: Iterable[float]) -> np.ndarray:
        """(seeds, posts)"""
        return np.fromiter(values, float).reshape(-1, seeds).T

    scores = table(SCORE.get(unit.verdict or "", np.nan) for unit in units)
    known = ~np.isnan(scores).any(axis=0)  # posts with a verdict for every seed
    score, engagement = scores[:, known], table(unit.engagement for unit in units)[:, known]
    first, second = (table(SCORE.get(u.by_order[i] or "", np.nan) for u in units)[:, known] for i in (0, 1))
    by_post = score.mean(axis=0) - 0.5
    if known.sum() >= 2:
        p, note = wilcoxon(by_post)
    else:
        p, note = None, "fewer than two posts with a verdict for every seed"
    notes = [note] if note else []
    if known.sum() >= 2 and np.ptp(score) == 0:
        notes.append("every verdict is the same, so the interval has no width; that is not certainty")
    found = partial(estimate, evaluation=evaluation, seed=settings.seed)
    return {
        "status": "partial" if stopped else "complete",
        "stopped": stopped and {"reason": stopped.reason, "text": str(stopped)},
        "judge": {name: getattr(settings, name) for name in ("backend", "model", "max_tokens", "replies", "seed")}
        | {"answered_by": sorted({answer.model for answer in answers})}
        | {"rubric_sha256": hashlib.sha256(judge.rubric.encode()).hexdigest()},
        "units": {"of": len(units), "asked": sum(None not in u.answers for u in units)}
        | {"judged": len(units) - verdicts[None]},
        "posts": {"of": len(known), "compared": int(known.sum())},
        "counts": {"win": verdicts["a"], "tie": verdicts["tie"], "loss": verdicts["b"]}
        | {"ties_by_disagreement": sum(unit.verdict == "tie" != unit.by_order[0] for unit in units)}
        | {f"{kind}_orders": orders[kind] for kind in ("refused", "unreadable")},
        "win_rate": found(np.mean, score),
        "p": p,
        "sign_test": sign_test(by_post) if known.sum() >= 2 else None,
        "agreement_between_orders": {
            "share": found(lambda a, b: np.mean(a == b), first, second),
            "kappa": found(cohens_kappa, first, second),
        },
        # the first set of an order is a's where a is shown first, and b's where b is: (first - second) is in both
        "position_bias": found(np.mean, first - second),
        "agreement_with_engagement": {
            "spearman": found(spearman, score, engagement),
            "kappa": found(kappa_of_signs, score - 0.5, engagement),
        },
        "withheld_replies": {
            side: sum(speaks_to_the_judge(reply) for unit in units for reply in getattr(unit.question, side))
            for side in ("a", "b")
        },
        "spend": {"answers": len(answers), "not_counted": sum(answer.tokens is None for answer in answers)}
        | {"input_tokens": tokens[0], "output_tokens": tokens[1], "dollars": judge.price(*tokens)},
        "confidence": evaluation.confidence,
        "notes": notes,
        "verdicts": [
            {"id": u.id, "seed": u.seed, "a_first": u.by_order[0], "b_first": u.by_order[1], "is": u.verdict}
            for u in units
        ],
    }


def _sentence(result: Mapping[str, Any]) -> str:
    rate, a, b, units = (result[name] for name in ("win_rate", "a", "b", "units"))
    partial = "" if result["status"] == "complete" else f" (partial: {units['judged']} of {units['of']} judged)"
    if rate is None:
        return f"Too few verdicts to compare {a} with {b}{partial}."
    words = f"is not shown to prefer {a} or {b}"
    if result["p"] < 1 - result["confidence"] and not rate["low"] <= 0.5 <= rate["high"]:
        better, worse = (a, b) if rate["value"] > 0.5 else (b, a)
        words = f"prefers the sets of {better} to those of {worse}"
    interval = f"{100 * result['confidence']:g}% interval {rate['low']:.2f} to {rate['high']:.2f}"
    shown = f"win rate {rate['value']:.2f}, {interval}, ties half, p = {result['p']:.3f}"
    return f"{result['judge']['model']} {words}: {shown} (of {a}){partial}."


# --- statistics -------------------------------------------------------------------------------------------------------


def cohens_kappa(a: np.ndarray, b: np.ndarray) -> float:
    """Agreement of two ratings (n,) beyond chance (Cohen 1960), NaN when chance alone would agree everywhere."""
    kinds = np.unique([a, b])[:, None]
    expected = (a == kinds).mean(axis=1) @ (b == kinds).mean(axis=1)
    return float((np.mean(a == b) - expected) / (1 - expected)) if expected < 1 - 1e-12 else float("nan")


def kappa_of_signs(a: np.ndarray, b: np.ndarray) -> float:
    """Cohen's kappa of the signs of two arrays (n,) where neither is zero, NaN where it is undefined."""
    decided = (a != 0) & (b != 0)
    return cohens_kappa(a[decided] > 0, b[decided] > 0) if decided.any() else float("nan")


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation of two arrays (n,) with mid-ranks for ties, NaN when either does not vary."""
    vary = np.ptp(a) > 0 and np.ptp(b) > 0
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1]) if vary else float("nan")


def sign_test(differences: np.ndarray) -> dict[str, Any]:
    """Two-sided p of the exact sign test on ``differences`` (posts,), zeros left out; 1 when nothing else is left."""
    above, below = int((differences > 0).sum()), int((differences < 0).sum())
    p = float(binomtest(above, above + below).pvalue) if above + below else 1.0
    return {"p": p, "posts_for_a": above, "posts_for_b": below}


def estimate(
    statistic: Callable[..., float], *arrays: np.ndarray, evaluation: EvaluationSettings, seed: int
) -> dict[str, float | None] | None:
    """``statistic`` of ``arrays`` (seeds, posts), flattened, with an interval that resamples posts and seeds.

    Resamples in which it is undefined are left out (``undefined`` is their share); from one in ten on there is no
    interval. None when the statistic is undefined for the values themselves, or there are fewer than two posts.
    """
    shape = arrays[0].shape
    value = float(statistic(*map(np.ravel, arrays))) if shape[1] >= 2 else float("nan")
    if np.isnan(value):
        return None
    drawn = draw_rows(shape, evaluation.bootstrap, numpy_generator(seed, "llm_judge bootstrap", *shape))
    made = np.array([statistic(*(array[np.ix_(*rows)].ravel() for array in arrays)) for rows in drawn])
    undefined = float(np.isnan(made).mean())
    ends = percentiles(made[~np.isnan(made)], evaluation.confidence, shape[1]) if undefined < 0.1 else (None, None)
    return {"value": value, "low": ends[0], "high": ends[1], "undefined": undefined}
