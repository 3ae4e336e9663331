"""Two models' sets of replies judged against each other by post and seed, and what the verdicts add up to.

The unit is one test post and one seed: the sets that both models gave to it are shown in both orders. Orders that name
the same set make a win, two ties a tie; orders that disagree make a tie, so that a judge who goes by position, or obeys
a reply that says "answer A", moves nothing. A unit with a refused or unreadable order has no verdict and is counted.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from polychrome.bootstrap import mean_interval
from polychrome.errors import InputError, Problem, bad
from polychrome.evaluation.evaluate import Answered, read_generations, read_per_post
from polychrome.evaluation.statistics import wilcoxon
from polychrome.files import write_json
from polychrome.llm_judge.agreement import Estimate, cohens_kappa, resampled, sign_test, spearman
from polychrome.llm_judge.asking import Asker, Stopped
from polychrome.llm_judge.backends import make_backend
from polychrome.llm_judge.budget import Budget, Pace
from polychrome.llm_judge.cache import NO_USAGE, Answer, Cache
from polychrome.llm_judge.question import Question, speaks_to_the_judge
from polychrome.llm_judge.settings import Settings
from polychrome.randomness import numpy_generator

DIGITS = 6  # significant, in the file: what is beyond them is rounding, not measurement


@dataclass(frozen=True, slots=True)
class Unit:
    """One post and seed with both models' sets, as they are shown."""

    id: str
    seed: int
    post: str
    a: tuple[str, ...]
    b: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Judged:
    """A unit with what was said of it, None where nothing was."""

    unit: Unit
    a_first: Answer | None
    b_first: Answer | None

    @property
    def by_order(self) -> tuple[str | None, str | None]:
        """What each order says: a, b, tie, refused or unreadable; None when it was not asked."""
        return _said(self.a_first, "a", "b"), _said(self.b_first, "b", "a")

    @property
    def verdict(self) -> str | None:
        """a, b or tie over both orders; None without two verdicts."""
        first, second = self.by_order
        if not {first, second} <= {"a", "b", "tie"}:
            return None
        return first if first == second else "tie"

    @property
    def asked(self) -> bool:
        """Whether both orders have been answered somehow."""
        return self.a_first is not None and self.b_first is not None


def judge_models(
    model_a: str,
    model_b: str,
    seeds: Sequence[int],
    settings: Settings,
    *,
    resamples: int,
    confidence: float,
    generations: str | Path = "results/generations",
    evaluations: str | Path = "results/evaluation",
    out: str | Path = "results/llm_judge",
    tell: Callable[[str], None] = print,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """Judge ``model_a`` against ``model_b``; writes ``<out>/<a>_vs_<b>.json`` and returns what it holds.

    Reads ``<generations>/<model>/seed-<n>.jsonl`` and ``<evaluations>/<model>/seed-<n>/per_post.json`` of both. A run
    that its budget or the endpoint ends writes what it has, with ``status`` "partial" and why; each answer is in the
    cache by then, and the next run goes on from there. The same files and cache give the same bytes.
    Raises InputError for bad input, for a key that is missing, and when not one unit could be judged; then nothing is
    written but the cache.
    """
    rubric = settings.read_rubric()
    units = read_units(model_a, model_b, seeds, settings, Path(generations))
    engagement = read_engagement(model_a, model_b, seeds, Path(evaluations), sorted({unit.id for unit in units}))
    budget = Budget(
        settings.max_dollars,
        settings.max_calls,
        settings.dollars_per_million_input,
        settings.dollars_per_million_output,
    )
    pace = Pace(settings.requests_per_minute, clock, sleep)
    cache = Cache(Path(settings.cache), tell)
    asker = Asker(settings, rubric, make_backend(settings), cache, budget, pace, tell)
    judged = []
    for unit in units:
        question = Question(unit.post, unit.a, unit.b)
        judged.append(Judged(unit, asker.ask(question), asker.ask(question.swapped())))
    tell(f"this run made {budget.calls} calls for at most ${budget.dollars:.4f}; the cache answered the rest")
    if asker.stopped:
        _tell_stopped(asker.stopped, judged, tell)
    result = summary(model_a, model_b, seeds, judged, engagement, settings, asker.stopped, resamples, confidence)
    write_json(Path(out) / f"{model_a}_vs_{model_b}.json", _tidy(result))
    return result


def _tell_stopped(stopped: Stopped, judged: Sequence[Judged], tell: Callable[[str], None]) -> None:
    """Say why a run ended early. Raises InputError when it has nothing to show."""
    done = sum(j.asked for j in judged)
    remedy = "What was answered is in the cache; mend the cause (or raise the limit) and run the same command again."
    if not any(j.verdict for j in judged):
        expected = f"verdicts on {len(judged)} posts and seeds, each in two orders"
        raise bad("llm_judge", f"none: {stopped.detail}", expected, remedy)
    tell(f"stopped after {done} of {len(judged)} posts and seeds: {stopped.detail}. {remedy}")


# --- what is judged ---------------------------------------------------------------------------------------------------


def read_units(model_a: str, model_b: str, seeds: Sequence[int], settings: Settings, generations: Path) -> list[Unit]:
    """Every unit in the order of judging: posts shuffled, all seeds of one post together.

    So a run that ends early has judged a random sample of posts, each with every seed. Raises InputError naming all
    files that are missing, damaged, or about other posts, and settings.replies above what there is.
    """
    if model_a == model_b:
        raise bad("llm_judge", f"{model_a} against itself", "two models", "Name another.")
    runs: dict[tuple[str, int], list[Answered]] = {}
    problems: list[Problem] = []
    for model in (model_a, model_b):
        for seed in seeds:
            try:
                runs[model, seed] = read_generations(generations / model / f"seed-{seed}.jsonl")
            except InputError as error:
                problems += error.problems
    if problems or not seeds:
        raise InputError(problems or [Problem("seeds", "none", "at least one", "Name one.")])
    first = runs[model_a, seeds[0]]
    for (model, seed), run in runs.items():
        path = generations / model / f"seed-{seed}.jsonl"
        if [(row.id, row.post) for row in run] != [(row.id, row.post) for row in first]:
            expected = f"the posts of {generations / model_a / f'seed-{seeds[0]}.jsonl'}, in the same order"
            problems.append(Problem(str(path), "other posts", expected, "Run `dvc repro` to generate it again."))
        if settings.replies > len(run[0].replies):
            found, expected = f"{len(run[0].replies)} replies", f"the {settings.replies} of llm_judge.replies"
            problems.append(Problem(str(path), found, expected, "Lower llm_judge.replies."))
    if problems:
        raise InputError(problems)
    order = numpy_generator(settings.seed, "llm_judge posts").permutation(len(first))
    if settings.posts:
        order = order[: settings.posts]
    return [
        Unit(
            first[index].id,
            seed,
            first[index].post,
            _sample(runs[model_a, seed][index], seed, settings),
            _sample(runs[model_b, seed][index], seed, settings),
        )
        for index in order
        for seed in seeds
    ]


def _sample(row: Answered, seed: int, settings: Settings) -> tuple[str, ...]:
    """The replies that are shown, in an order of chance that is the same for every model."""
    order = numpy_generator(settings.seed, "llm_judge replies", seed, row.id).permutation(len(row.replies))
    return tuple(row.replies[index] for index in order[: settings.replies or None])


def read_engagement(
    model_a: str, model_b: str, seeds: Sequence[int], evaluations: Path, ids: Sequence[str]
) -> dict[tuple[str, int], float]:
    """(post id, seed) -> mean predicted engagement of a's set minus that of b's. Raises InputError naming all gaps."""
    differences: dict[tuple[str, int], float] = {}
    problems: list[Problem] = []
    for seed in seeds:
        found: list[dict[str, float]] = []
        for model in (model_a, model_b):
            path = evaluations / model / f"seed-{seed}" / "per_post.json"
            try:
                measured = read_per_post(path)
                values = dict(zip(measured.posts, measured.metrics["engagement"].tolist(), strict=True))
                if gaps := [name for name in ids if not np.isfinite(values.get(name, np.nan))]:
                    raise KeyError(f"{len(gaps)} of the judged posts ({gaps[0]})")
                found.append(values)
            except InputError as error:
                problems += error.problems
            except KeyError as error:
                expected = "the engagement of every test post"
                problems.append(Problem(str(path), f"none for {error.args[0]}", expected, "Run `dvc repro evaluate`."))
        if len(found) == 2:
            differences |= {(name, seed): found[0][name] - found[1][name] for name in ids}
    if problems:
        raise InputError(problems)
    return differences


# --- what it adds up to -----------------------------------------------------------------------------------------------

SCORE = {"a": 1.0, "tie": 0.5, "b": 0.0}


def summary(
    model_a: str,
    model_b: str,
    seeds: Sequence[int],
    judged: Sequence[Judged],
    engagement: dict[tuple[str, int], float],
    settings: Settings,
    stopped: Stopped | None,
    resamples: int,
    confidence: float,
) -> dict[str, Any]:
    """What the result file holds, from the point of view of ``model_a``: a win is a's."""
    ids = [unit_id for unit_id, units in _by_post(judged).items() if all(j.verdict for j in units)]
    table = {(j.unit.id, j.unit.seed): j for j in judged}
    grid = [[table[name, seed] for name in ids] for seed in seeds]  # (seeds, posts), each with a verdict

    def array(value: Callable[[Judged], float]) -> np.ndarray:
        return np.array([[value(j) for j in row] for row in grid], dtype=float).reshape(len(seeds), len(ids))

    def mean(values: np.ndarray) -> dict[str, float] | None:
        if values.shape[1] < 2:
            return None
        interval = mean_interval(values, resamples=resamples, confidence=confidence, seed=settings.seed)
        return {"mean": interval.mean, "low": interval.low, "high": interval.high}

    def estimate(statistic: Callable[[np.ndarray, np.ndarray], float], a: np.ndarray, b: np.ndarray) -> Any:
        made = resampled(statistic, a, b, resamples=resamples, confidence=confidence, seed=settings.seed)
        return made and _described(made)

    score = array(lambda j: SCORE[j.verdict or ""])
    first, second = (array(lambda j, i=i: SCORE[j.by_order[i] or ""]) for i in (0, 1))  # type: ignore[misc]
    gap = array(lambda j: engagement[j.unit.id, j.unit.seed])
    by_post = (score - 0.5).mean(axis=0)
    p, note = wilcoxon(by_post) if len(ids) >= 2 else (None, "fewer than two posts with a verdict for every seed")
    p_sign, wins, losses = sign_test(by_post)
    result: dict[str, Any] = {
        "a": model_a,
        "b": model_b,
        "status": "partial" if stopped else "complete",
        "stopped": stopped and {"reason": stopped.reason, "text": stopped.text},
        "judge": _judge(judged, settings),
        "seeds": list(seeds),
        "units": {
            "of": len(judged),
            "asked": sum(j.asked for j in judged),
            "judged": sum(j.verdict is not None for j in judged),
            "not_asked": sum(not j.asked for j in judged),
        },
        "counts": _counts(judged),
        "posts": {"of": len(_by_post(judged)), "compared": len(ids)},
        "win_rate": mean(score),
        "p": p,
        "sign_test": {"p": p_sign if len(ids) >= 2 else None, "posts_for_a": wins, "posts_for_b": losses},
        "agreement_between_orders": {
            "share": mean((first == second).astype(float)),
            "kappa": estimate(cohens_kappa, first, second),
        },
        # the first set of an order is a's where a is shown first, and b's where b is: (first - second) is in both
        "position_bias": mean(first - second),
        "agreement_with_engagement": {
            "spearman": estimate(spearman, score, gap),
            "same_sign": _same_sign(score, gap),
            "kappa": estimate(_kappa_of_signs, score - 0.5, gap),
        },
        "withheld_replies": {
            "a": sum(map(speaks_to_the_judge, (r for j in judged for r in j.unit.a))),
            "b": sum(map(speaks_to_the_judge, (r for j in judged for r in j.unit.b))),
        },
        "spend": _spend(judged, settings),
        "confidence": confidence,
        "notes": [note] if note else [],
        "verdicts": [
            {"id": j.unit.id, "seed": j.unit.seed, "a_first": j.by_order[0], "b_first": j.by_order[1], "is": j.verdict}
            for j in judged
        ],
    }
    if len(ids) >= 2 and np.ptp(score) == 0:
        result["notes"].append("every verdict is the same, so the interval has no width; that is not certainty")
    return result | {"verdict": _sentence(result)}


def _by_post(judged: Sequence[Judged]) -> dict[str, list[Judged]]:
    posts: dict[str, list[Judged]] = {}
    for j in judged:
        posts.setdefault(j.unit.id, []).append(j)
    return posts


def _judge(judged: Sequence[Judged], settings: Settings) -> dict[str, Any]:
    answers = [answer for j in judged for answer in (j.a_first, j.b_first) if answer]
    return {
        "backend": settings.backend,
        "model": settings.model,
        "answered_by": sorted({answer.model for answer in answers}),
        "answer": settings.answer_form,
        "temperature": settings.temperature,
        "max_tokens": settings.max_tokens,
        "replies_shown": len(judged[0].unit.a),
        "rubric_sha256": hashlib.sha256(settings.read_rubric().encode()).hexdigest(),
        "seed": settings.seed,
    }


def _counts(judged: Sequence[Judged]) -> dict[str, int]:
    verdicts = Counter(j.verdict for j in judged)
    orders = Counter(order for j in judged for order in j.by_order)
    disagreeing = sum(j.verdict is not None and len(set(j.by_order)) > 1 for j in judged)
    return {
        "win": verdicts["a"],
        "tie": verdicts["tie"],
        "loss": verdicts["b"],
        "ties_by_disagreement": disagreeing,
        "refused_orders": orders["refused"],
        "unreadable_orders": orders["unreadable"],
    }


def _spend(judged: Sequence[Judged], settings: Settings) -> dict[str, Any]:
    """What all answers took when they were made, by whichever run. Failed calls are the budget's, and not here."""
    total = sum((answer.usage for j in judged for answer in (j.a_first, j.b_first) if answer), start=NO_USAGE)
    prices = Budget(0, 0, settings.dollars_per_million_input, settings.dollars_per_million_output)
    return asdict(total) | {"dollars": prices.cost(total.input_tokens, total.output_tokens)}


def _same_sign(score: np.ndarray, gap: np.ndarray) -> dict[str, Any]:
    """How often the judge that prefers a set prefers the one with the higher predicted engagement."""
    decided = (score != 0.5) & (gap != 0)
    agreeing = int(((score > 0.5) == (gap > 0))[decided].sum())
    share = agreeing / int(decided.sum()) if decided.any() else None
    return {"units": int(decided.sum()), "agreeing": agreeing, "share": share}


def _kappa_of_signs(verdicts: np.ndarray, gap: np.ndarray) -> float:
    decided = (verdicts != 0) & (gap != 0)
    return cohens_kappa(verdicts[decided] > 0, gap[decided] > 0) if decided.any() else float("nan")


def _said(answer: Answer | None, a: str, b: str) -> str | None:
    """An answer about the sets A and B, in terms of the models that they were."""
    if answer is None:
        return None
    if answer.kind != "verdict":
        return answer.kind
    return {"A": a, "B": b}.get(answer.better or "", "tie")


def _described(estimate: Estimate) -> dict[str, Any]:
    return {name: value for name, value in asdict(estimate).items() if name != "undefined" or value > 0}


def _sentence(result: dict[str, Any]) -> str:
    rate, a, b = result["win_rate"], result["a"], result["b"]
    units = result["units"]
    partial = "" if result["status"] == "complete" else f" (partial: {units['judged']} of {units['of']} judged)"
    if rate is None:
        return f"Too few verdicts to compare {a} with {b}{partial}."
    interval = f"win rate {rate['mean']:.2f}, {100 * result['confidence']:g}% interval {rate['low']:.2f} to "
    interval += f"{rate['high']:.2f}, ties half, p = {result['p']:.3f}"
    if result["p"] < 1 - result["confidence"] and not rate["low"] <= 0.5 <= rate["high"]:
        words = f"prefers the sets of {a if rate['mean'] > 0.5 else b} to those of {b if rate['mean'] > 0.5 else a}"
    else:
        words = f"is not shown to prefer {a} or {b}"
    return f"{result['judge']['model']} {words}: {interval} (of {a}){partial}."


def _tidy(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: _tidy(item) for key, item in value.items()}
    return [_tidy(item) for item in value] if isinstance(value, list | tuple) else value
