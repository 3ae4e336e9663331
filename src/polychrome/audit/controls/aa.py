"""A/A: a model against itself, many times over. How often does the comparison claim a difference that is not there?

Each replicate is a whole comparison of "models" that are one arm, by the rule's own code (docs/controls.md).
**Replies**: posts are drawn with replacement, and for each a set of n replies with replacement from those of the same
seed. **Seeds**: seeds are drawn, too. Means of few differ by sampling alone, and this part is taken out: a set comes
from the seed's own replies with chance w, and from those of all seeds otherwise, w chosen metric by metric so that the
variance between seeds is what a two-way analysis of variance leaves for them.

Of the contrasts of a replicate, the rates of the plain test count the first alone: the others share its replies.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from polychrome import paths
from polychrome.audit.controls.record import NOT_MEASURED, REMEDY, ROOT, Control, verdict_of, write_part
from polychrome.engagement.ruler import Ruler, open_ruler
from polychrome.errors import InputError, Problem, bad
from polychrome.evaluation.contrasts import Contrast, all_contrasts
from polychrome.evaluation.evaluate import Answered, set_metrics
from polychrome.evaluation.experiment import ExperimentSettings
from polychrome.evaluation.metrics import contrasted
from polychrome.evaluation.power import components
from polychrome.evaluation.results import Results
from polychrome.evaluation.settings import EvaluationSettings
from polychrome.files import read_objects
from polychrome.measures.encoder import TextEncoder
from polychrome.params import Params
from polychrome.randomness import numpy_generator
from polychrome.reporting.names import metric_name

Rule = Callable[[Results, Sequence[tuple[str, str]], EvaluationSettings], list[Contrast]]
SETS = 16  # sets drawn for each post, of which replicates choose
REPLICATES = 120
SMOOTH = "engagement"  # so finely graded that its plain test should err in 5 of 100, not in fewer
COVERAGE = 0.95  # of the rates' own intervals
TEXT = "How often the comparison claims a difference between an arm and itself."
_FINE = "Below is no fault: Holm holds for any dependence, the interval must agree, and one metric cannot differ."
_SEEDS_NOTE = "Wilcoxon's p speaks of these very seeds, so that it alone may err more often here; the rule must not."


def run(params: Params) -> str:
    """Write results/controls/aa.json; returns a table of it."""
    from polychrome.measures.encoder import Encoder

    arms = [model for model in params.models if model not in params.untouched]
    folders = {arm: [paths.evaluation_dir(arm, seed) for seed in params.seeds] for arm in arms}
    ruler, encoder = open_ruler(paths.JUDGE), Encoder.open(paths.ENCODER, remember=True)
    controls, details = measure(folders, ruler, encoder, params.experiment, params.evaluation)
    return write_part(ROOT / "aa.json", TEXT, controls, details | {"seeds": list(params.seeds)})


@dataclass(frozen=True, slots=True)
class Population:
    """Sets of one arm to draw from: metric -> (seeds, posts, SETS), drawn within each seed and over all seeds."""

    arm: str
    own: Mapping[str, np.ndarray]
    pooled: Mapping[str, np.ndarray]
    weights: Mapping[str, float]  # metric -> chance w in [0, 1] of a seed's own set; see above


@dataclass(frozen=True, slots=True)
class Rates:
    """How often a difference was claimed: shares of the replicates."""

    replicates: int
    plain_test: Mapping[str, float]  # metric -> the first contrast had p below alpha, uncorrected
    claimed_by_rule: Mapping[str, float]  # metric -> the rule called any contrast on it different
    families_with_a_claim: float  # the rule called anything different


def population(
    arm: str, runs: Sequence[Path], ruler: Ruler, encoder: TextEncoder, settings: EvaluationSettings, sets: int = SETS
) -> Population:
    """Draw the sets of one arm from its evaluations, folders with replies.jsonl, one for each seed."""
    read = [read_objects(run / "replies.jsonl") for run in runs]
    if len(read[0]) < 2:
        raise bad(str(runs[0] / "replies.jsonl"), f"{len(read[0])} posts", "at least 2", "Raise split.test_pairs.")
    generator = numpy_generator(0, "a/a", arm)
    own = [_draw([[post] for post in rows], sets, ruler, encoder, settings, generator) for rows in read]
    pooled = own
    if len(read) > 1:
        of_post = [list(of_seeds) for of_seeds in zip(*read, strict=True)]
        pooled = [_draw(of_post, sets, ruler, encoder, settings, generator) for _ in read]
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
    ruler: Ruler,
    encoder: TextEncoder,
    settings: EvaluationSettings,
    generator: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Metrics of ``sets`` sets for each post (posts, sets), drawn from the replies in its ``rows``, one per seed."""
    answered, drawn, size = [], [], len(rows[0][0]["replies"])
    for number, of_post in enumerate(rows):
        replies = [reply for row in of_post for reply in row["replies"]]
        post, human = of_post[0]["post"], of_post[0]["human"]["text"]
        for _ in range(sets):
            drawn.append([replies[i] for i in generator.integers(len(replies), size=size)])
            texts = tuple(reply["text"] for reply in drawn[-1])
            answered.append(Answered(str(number), post, human, texts, (True,) * size, 0.0))
    metrics = set_metrics(answered, drawn, ruler, encoder, settings)
    return {name: np.array(metrics[name], dtype=float).reshape(len(rows), sets) for name in contrasted(settings)}


# --- replicates -------------------------------------------------------------------------------------------------------


def simulate(
    populations: Sequence[Population],
    experiment: ExperimentSettings,
    settings: EvaluationSettings,
    *,
    replicates: int = REPLICATES,
    own_seeds: bool = False,
    rule: Rule = all_contrasts,
) -> Rates:
    """Put ``replicates`` comparisons without a difference to ``rule``, the arms taking turns.

    ``own_seeds`` gives each of the compared models seeds of its own.
    """
    names = contrasted(settings)
    plain, claimed, families = dict.fromkeys(names, 0), dict.fromkeys(names, 0), 0
    models = tuple(dict.fromkeys((*experiment.compared, *(arm for pair in experiment.pairs for arm in pair))))
    generator = numpy_generator(0, "a/a replicates", own_seeds)
    for replicate in range(replicates):
        results = _replicate(populations[replicate % len(populations)], models, settings, own_seeds, generator)
        contrasts = rule(results, experiment.pairs, settings)
        different = {c.metric for c in contrasts if c.is_different(settings.alpha)}
        families += bool(different)
        for metric in names:
            first = next(contrast for contrast in contrasts if contrast.metric == metric)
            plain[metric] += first.effect is not None and first.effect.p < settings.alpha
            claimed[metric] += metric in different
    shares = ({metric: count / replicates for metric, count in counts.items()} for counts in (plain, claimed))
    return Rates(replicates, *shares, families / replicates)


def _replicate(
    population: Population,
    models: tuple[str, ...],
    settings: EvaluationSettings,
    own_seeds: bool,
    generator: np.random.Generator,
) -> Results:
    seeds, posts, sets = next(iter(population.own.values())).shape
    drawn = generator.integers(posts, size=posts)
    values: dict[str, dict[str, np.ndarray]] = {}
    for model in models:
        of_seed = generator.integers(seeds, size=seeds) if own_seeds else np.arange(seeds)
        of_set = generator.integers(sets, size=(seeds, posts))
        chance = generator.random((seeds, posts))
        place = (of_seed[:, None], drawn[None, :], of_set)
        values[model] = {
            name: np.where(chance < population.weights[name], own[place], population.pooled[name][place])
            if own_seeds
            else own[place]
            for name, own in population.own.items()
        }
    return Results(models, tuple(range(seeds)), max(settings.ks), posts, values, pass_curve={}, human={})


# --- what is said of them ---------------------------------------------------------------------------------------------


def rate_interval(rate: float, of: int, coverage: float = COVERAGE) -> tuple[float, float]:
    """The exact interval of a rate among ``of`` (Clopper and Pearson 1934)."""
    from scipy.stats import binomtest  # here, since the rest of this module does without what it imports

    found = binomtest(round(rate * of), of).proportion_ci(coverage, method="exact")
    return float(found.low), float(found.high)


def _rated(value: float, of: int) -> tuple[dict[str, float], str]:
    """A rate with its interval as a control holds them, and in words."""
    low, high = rate_interval(value, of)
    return {"value": value, "low": low, "high": high}, f"{value:.3f} ({low:.3f} to {high:.3f}) of {of}"


def plain_control(rates: Rates, settings: EvaluationSettings) -> Control:
    """The plain test: 5 in 100 on the smooth metric, on none more, beyond what so many replicates could tell."""
    alpha, of, metrics = settings.alpha, rates.replicates, [m for m in contrasted(settings) if m != "cross_entropy"]
    strict = 1 - (1 - COVERAGE) / len(metrics)  # so many rates are looked at
    above = [metric_name(m) for m in metrics if rate_interval(rates.plain_test[m], of, strict)[0] > alpha]
    rate, said = _rated(rates.plain_test[SMOOTH], of)
    listed = ", ".join(f"{metric_name(m)} {rates.plain_test[m]:.3f}" for m in metrics)
    return Control(
        name="aa_replies_plain_test",
        text=f"An arm against itself, replies drawn again: how often p of one test is below {alpha:g}, uncorrected.",
        expected=f"{alpha:g} within the interval of the rate for {metric_name(SMOOTH)}; above {alpha:g} for no metric",
        found=f"{said} for {metric_name(SMOOTH)}" + (f"; above {alpha:g}: {', '.join(above)}" if above else ""),
        **rate,
        verdict=verdict_of(rate["low"] <= alpha <= rate["high"] and not above),
        note=f"Rates: {listed}. Where values are coarse, ties and zeros make the test err less often.",
    )


def family_control(rates: Rates | None, asked: str, alpha: float, what: str, note: str = _FINE) -> Control:
    """The whole rule: any claim at all in at most 5 of 100 families, beyond what so many replicates could tell.

    ``asked`` names the questions. Without ``rates`` there is one seed, which cannot be held against others.
    """
    about = {
        "name": f"aa_{what}_rule",
        "text": f"An arm against itself, {what} drawn again: how often the rule of compare claims any difference in "
        f"{asked}.",
    }
    if rates is None:
        found, note = "one seed: how seeds differ is not known", "Needs two seeds in params.yaml."
        return Control(**about, expected=f"at most {alpha:g}", found=found, verdict=NOT_MEASURED, note=note)
    rate, found = _rated(rates.families_with_a_claim, rates.replicates)
    expected, verdict = f"at most {alpha:g}: the interval of the rate does not lie above it", rate["low"] <= alpha
    return Control(
        **about, **rate, expected=expected, found=f"{found} families of tests", verdict=verdict_of(verdict), note=note
    )


def measure(
    folders: Mapping[str, Sequence[Path]],
    ruler: Ruler,
    encoder: TextEncoder,
    experiment: ExperimentSettings,
    settings: EvaluationSettings,
    *,
    replicates: int = REPLICATES,
    sets: int = SETS,
) -> tuple[list[Control], dict[str, Any]]:
    """The A/A controls of the arms whose evaluations lie in ``folders``, one for each seed, and the rates behind them.

    Raises InputError naming every folder that has no evaluation.
    """
    absent = [run for runs in folders.values() for run in runs if not (run / "replies.jsonl").is_file()]
    if absent:
        raise InputError([Problem(str(run), "no replies.jsonl", "an evaluation", REMEDY) for run in absent])
    populations = [population(arm, runs, ruler, encoder, settings, sets) for arm, runs in folders.items()]
    of_replies = simulate(populations, experiment, settings, replicates=replicates)
    asked, alpha = experiment.asked, settings.alpha
    controls = [plain_control(of_replies, settings), family_control(of_replies, asked, alpha, "replies")]
    details = {"replies": asdict(of_replies), "arms": list(folders), "sets": sets}
    if len(next(iter(folders.values()))) == 1:
        return [*controls, family_control(None, asked, alpha, "seeds")], details
    of_seeds = simulate(populations, experiment, settings, replicates=replicates, own_seeds=True)
    controls.append(family_control(of_seeds, asked, alpha, "seeds", _SEEDS_NOTE))
    own = {p.arm: {name: p.weights[name] for name in contrasted(settings)} for p in populations}
    return controls, details | {"seeds_drawn": asdict(of_seeds), "chance_of_own_set": own}
