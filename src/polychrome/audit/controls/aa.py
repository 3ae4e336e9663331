"""A/A: a model against itself, many times over. How often does the comparison claim a difference that is not there?

Each replicate is a whole comparison, Q1 to Q4, of four "models" that are one and the same arm: its answers are drawn
anew, and the rule of :mod:`polychrome.evaluation.contrasts` is put to them through its own code.

* **Replies.** Posts are drawn with replacement. For each, each of the four models gets a set of n replies drawn with
  replacement from those that the arm with the same seed gave to that post. The four are exchangeable, so there is no
  difference: p of the plain test should be below 0.05 in 5 replicates of 100 (in fewer where values are so coarse that
  ties abound), and a family of tests should hold any claim in at most 5 of 100. Fewer are likely: Holm's correction
  holds whatever the dependence between tests, the rule wants the interval besides, and the cross-entropy of human
  replies, which no drawing changes, takes part with p = 1.
* **Seeds.** The same, but each of the four models is the arm with seeds of its own, drawn with replacement from those
  that were trained. This is the harder question, that of arms instead of models: Wilcoxon's p takes the seeds as they
  are, and only the interval knows that others could have been drawn. Means of two seeds differ by sampling alone, even
  where seeds do not matter, and this part is taken out: a set comes from the seed's own replies with chance w, and from
  those of all seeds otherwise, w chosen metric by metric so that the variance between seeds is what a two-way analysis
  of variance leaves for them.

Of the six contrasts of a replicate, the rates of the plain test count the first alone: the others share its replies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from polychrome.audit.controls.record import NOT_MEASURED, Control, verdict_of
from polychrome.audit.controls.rows import read_rows
from polychrome.errors import InputError, bad
from polychrome.evaluation.contrasts import Contrast, all_contrasts
from polychrome.evaluation.evaluate import Answered, Scores, set_metrics
from polychrome.evaluation.passk import pass_at_k
from polychrome.evaluation.power import components
from polychrome.evaluation.results import Results, Roles, Settings, label
from polychrome.measures.encoder import TextEncoder
from polychrome.randomness import numpy_generator

Rule = Callable[[Results, Roles, Settings], list[Contrast]]
SETS = 16  # sets drawn for each post, of which replicates choose
REPLICATES = 120
SMOOTH = "engagement"  # so finely graded that its plain test should err in 5 of 100, not in fewer
COVERAGE = 0.95  # of the rates' own intervals
_RULE_TEXT = "An arm against itself, {} drawn anew: how often the rule of compare claims any difference in Q1 to Q4."


@dataclass(frozen=True, slots=True)
class Population:
    """Sets of one arm to draw from: metric -> (seeds, posts, SETS), drawn within each seed and over all seeds."""

    arm: str
    own: Mapping[str, np.ndarray]
    pooled: Mapping[str, np.ndarray]
    weights: Mapping[str, float]  # metric -> chance w in [0, 1] of a seed's own set; see above


@dataclass(frozen=True, slots=True)
class Rates:
    """How often a difference was claimed."""

    replicates: int
    plain: Mapping[str, int]  # metric -> replicates whose first contrast had p below alpha, uncorrected
    claimed: Mapping[str, int]  # metric -> replicates in which the rule called any contrast on it different
    families: int  # replicates in which the rule called anything different


def population(
    arm: str, runs: Sequence[Path], encoder: TextEncoder, settings: Settings, sets: int = SETS
) -> Population:
    """Draw the sets of one arm from its evaluations, folders with replies.jsonl and per_post.json, one a seed."""
    read = [_read_replies(run) for run in runs]
    posts = len(read[0])
    generator = numpy_generator(settings.seed, "a/a", arm)
    own = [_draw([[post] for post in rows], sets, encoder, settings, generator) for rows in read]
    pooled = own
    if len(read) > 1:
        of_post = [[rows[i] for rows in read] for i in range(posts)]
        pooled = [_draw(of_post, sets, encoder, settings, generator) for _ in read]
    stacked, mixed = ({name: np.stack([s[name] for s in some]) for name in own[0]} for some in (own, pooled))
    return Population(arm, stacked, mixed, {name: _own_share(values) for name, values in stacked.items()})


def _own_share(values: np.ndarray) -> float:
    """w: the square root of the seeds' share in the variance of their means, made up for that of few seeds."""
    seeds = len(values)
    if seeds == 1:
        return 1.0
    means = values.mean(axis=2)
    means = means[:, ~np.isnan(means).any(axis=0)]
    if means.shape[1] < 2 or np.ptp(means.mean(axis=1)) < 1e-12:
        return 0.0
    observed = means.mean(axis=1).var(ddof=1)  # these means of many sets still hold the luck of the n replies drawn
    return float(min(1.0, np.sqrt(components(means).seed_variance / observed * seeds / (seeds - 1))))


def _draw(
    rows: Sequence[Sequence[Mapping[str, Any]]],
    sets: int,
    encoder: TextEncoder,
    settings: Settings,
    generator: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Every metric of ``sets`` sets for each post (posts, sets), drawn from the replies in its ``rows``, one a seed."""
    answered: list[Answered] = []
    drawn: list[Mapping[str, Any]] = []
    for number, of_post in enumerate(rows):
        replies = [reply for row in of_post for reply in row["replies"]]
        size, first = len(of_post[0]["replies"]), of_post[0]
        for _ in range(sets):
            chosen = [replies[i] for i in generator.integers(len(replies), size=size)]
            texts = tuple(reply["text"] for reply in chosen)
            human = first["human"]["text"]
            answered.append(Answered(str(number), first["post"], human, texts, (True,) * size, 0.0))
            drawn += chosen
    scores = Scores(
        well_formed=np.array([reply["well_formed"] for reply in drawn]),
        relevance=np.array([reply["relevance"] for reply in drawn]),
        engagement=np.array([reply["engagement"] for reply in drawn]),
        passes=np.array([reply["passes"] for reply in drawn]),
    )
    size = len(answered[0].replies)
    metrics = set_metrics(answered, scores, encoder)
    passing = scores.passes.reshape(len(answered), size).sum(axis=1)
    metrics |= {f"pass_at_{k}": pass_at_k(size, passing, k).tolist() for k in settings.ks}
    shape = (len(rows), sets)
    return {name: np.array(metrics[name], dtype=float).reshape(shape) for name in settings.headline}


def _read_replies(run: Path) -> list[dict[str, Any]]:
    rows = read_rows(run / "replies.jsonl", ("post", "human", "replies"))
    if len(rows) < 2:
        raise bad(str(run / "replies.jsonl"), f"{len(rows)} posts", "at least 2", "Raise split.test_pairs.")
    return rows


# --- replicates -------------------------------------------------------------------------------------------------------


def simulate(
    populations: Sequence[Population],
    settings: Settings,
    *,
    replicates: int = REPLICATES,
    own_seeds: bool = False,
    rule: Rule = all_contrasts,
) -> Rates:
    """Put ``replicates`` comparisons without a difference to ``rule``, the arms taking turns.

    ``own_seeds`` gives each of the four models seeds of its own.
    """
    plain, claimed, families = dict.fromkeys(settings.headline, 0), dict.fromkeys(settings.headline, 0), 0
    roles = Roles()
    generator = numpy_generator(settings.seed, "a/a replicates", own_seeds)
    for replicate in range(replicates):
        results = _replicate(populations[replicate % len(populations)], roles, settings, own_seeds, generator)
        contrasts = rule(results, roles, settings)
        different = {c.metric for c in contrasts if c.is_different(settings.alpha)}
        families += bool(different)
        for metric in settings.headline:
            first = next(contrast for contrast in contrasts if contrast.metric == metric)
            plain[metric] += first.effect is not None and first.effect.p < settings.alpha
            claimed[metric] += metric in different
    return Rates(replicates, plain, claimed, families)


def _replicate(
    population: Population, roles: Roles, settings: Settings, own_seeds: bool, generator: np.random.Generator
) -> Results:
    seeds, posts, sets = next(iter(population.own.values())).shape
    drawn = generator.integers(posts, size=posts)
    values: dict[str, dict[str, np.ndarray]] = {}
    for model in roles.compared:
        of_seed = generator.integers(seeds, size=seeds) if own_seeds else np.arange(seeds)
        of_set = generator.integers(sets, size=(seeds, posts))
        chance = generator.random((seeds, posts))
        place = (of_seed[:, None], drawn[None, :], of_set)
        values[model] = {name: population.own[name][place] for name in settings.headline}
        if own_seeds:
            pooled = {name: population.pooled[name][place] for name in settings.headline}
            values[model] = {
                name: np.where(chance < population.weights[name], own, pooled[name])
                for name, own in values[model].items()
            }
    return Results(
        models=roles.compared,
        seeds=tuple(range(seeds)),
        samples=max(settings.ks),
        posts=posts,
        values=values,
        passing={},
        human={},
    )


# --- what is said of them ---------------------------------------------------------------------------------------------


def rate_interval(count: int, of: int, coverage: float = COVERAGE) -> tuple[float, float]:
    """The exact interval of a rate (Clopper and Pearson 1934)."""
    from scipy.special import betaincinv

    tail = (1 - coverage) / 2
    low = float(betaincinv(count, of - count + 1, tail)) if count else 0.0
    high = float(betaincinv(count + 1, of - count, 1 - tail)) if count < of else 1.0
    return low, high


def plain_control(rates: Rates, settings: Settings, what: str) -> Control:
    """The plain test: 5 in 100 on the smooth metric, on none more, beyond what so many replicates could tell."""
    alpha, metrics = settings.alpha, [m for m in settings.headline if m != "cross_entropy"]
    strict = 1 - (1 - COVERAGE) / len(metrics)  # so many rates are looked at
    above = [m for m in metrics if rate_interval(rates.plain[m], rates.replicates, strict)[0] > alpha]
    low, high = rate_interval(rates.plain[SMOOTH], rates.replicates)
    rate = rates.plain[SMOOTH] / rates.replicates
    listed = ", ".join(f"{label(m)} {rates.plain[m] / rates.replicates:.3f}" for m in metrics)
    too_many = f"; above {alpha:g}: {', '.join(map(label, above))}" if above else ""
    return Control(
        name=f"aa_{what}_plain_test",
        text=f"An arm against itself, {what} drawn anew: how often p of one test is below {alpha:g}, uncorrected.",
        expected=f"{alpha:g} within the interval of the rate for {label(SMOOTH)}; above {alpha:g} for no metric",
        found=f"{rate:.3f} ({low:.3f} to {high:.3f}) of {rates.replicates} for {label(SMOOTH)}{too_many}",
        value=rate,
        low=low,
        high=high,
        verdict=verdict_of(low <= alpha <= high and not above),
        note=f"Rates: {listed}. Where values are coarse, ties and zeros make the test err less often.",
    )


def family_control(rates: Rates, settings: Settings, what: str) -> Control:
    """The whole rule: any claim at all in at most 5 of 100 families, beyond what so many replicates could tell."""
    alpha, rate = settings.alpha, rates.families / rates.replicates
    low, high = rate_interval(rates.families, rates.replicates)
    return Control(
        name=f"aa_{what}_rule",
        text=_RULE_TEXT.format(what),
        expected=f"at most {alpha:g}: the interval of the rate does not lie above it",
        found=f"{rate:.3f} ({low:.3f} to {high:.3f}) of {rates.replicates} families of tests",
        value=rate,
        low=low,
        high=high,
        verdict=verdict_of(low <= alpha),
        note="Below is no fault: Holm holds for any dependence, the interval must agree, and one metric cannot differ.",
    )


def measure(
    arms: Sequence[str],
    seeds: Sequence[int],
    encoder: TextEncoder,
    settings: Settings,
    *,
    evaluations: str | Path = "results/evaluation",
    replicates: int = REPLICATES,
    sets: int = SETS,
) -> tuple[list[Control], dict[str, Any]]:
    """The A/A controls of ``arms`` and ``seeds``, and the rates behind them.

    Raises InputError naming every arm and seed that has no evaluation.
    """
    folders = {arm: [Path(evaluations) / arm / f"seed-{seed}" for seed in seeds] for arm in arms}
    problems = [
        problem
        for runs in folders.values()
        for run in runs
        if not (run / "replies.jsonl").is_file()
        for problem in bad(str(run), "no replies.jsonl", "an evaluation", "Run `dvc repro`.").problems
    ]
    if problems:
        raise InputError(problems)
    populations = [population(arm, runs, encoder, settings, sets) for arm, runs in folders.items()]
    of_replies = simulate(populations, settings, replicates=replicates)
    controls = [plain_control(of_replies, settings, "replies"), family_control(of_replies, settings, "replies")]
    details = {"replies": _described(of_replies), "arms": list(arms), "seeds": list(seeds), "sets": sets}
    if len(seeds) == 1:
        return [*controls, _one_seed(settings)], details
    of_seeds = simulate(populations, settings, replicates=replicates, own_seeds=True)
    note = "Wilcoxon's p speaks of these very seeds, so that it alone may err more often here; the rule must not."
    controls.append(replace(family_control(of_seeds, settings, "seeds"), note=note))
    own = {p.arm: {name: p.weights[name] for name in settings.headline} for p in populations}
    return controls, details | {"seeds_drawn": _described(of_seeds), "chance_of_own_set": own}


def _one_seed(settings: Settings) -> Control:
    return Control(
        name="aa_seeds_rule",
        text=_RULE_TEXT.format("seeds"),
        expected=f"at most {settings.alpha:g}",
        found="one seed: how seeds differ is not known",
        value=None,
        low=None,
        high=None,
        verdict=NOT_MEASURED,
        note="Needs two seeds in params.yaml.",
    )


def _described(rates: Rates) -> dict[str, Any]:
    n = rates.replicates
    return {
        "replicates": n,
        "plain_test": {metric: count / n for metric, count in rates.plain.items()},
        "claimed_by_rule": {metric: count / n for metric, count in rates.claimed.items()},
        "families_with_a_claim": rates.families / n,
    }
