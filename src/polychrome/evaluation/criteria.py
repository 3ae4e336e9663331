"""What the experiment set out to show, criterion by criterion. A criterion that fails is a finding, not an error.

The criteria stand in params.yaml under ``experiment``; here is how each kind of them is judged.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from operator import ge, gt, le, lt
from pathlib import Path
from typing import Any

import numpy as np

from polychrome.errors import Problems, bad
from polychrome.evaluation.contrasts import Contrast, find
from polychrome.evaluation.experiment import Criterion, ExperimentSettings
from polychrome.evaluation.metrics import why_undefined
from polychrome.evaluation.results import Results
from polychrome.evaluation.settings import EvaluationSettings
from polychrome.evaluation.statistics import Effect, compare_paired, interval_of
from polychrome.files import AGAIN, read_object
from polychrome.measures.words import LANGUAGE
from polychrome.reporting.names import metric_name

_HOLDS: dict[str, Callable[[float, float], bool]] = {">": gt, ">=": ge, "<": lt, "<=": le}
_COUNTS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What criteria are judged by."""

    results: Results
    contrasts: Sequence[Contrast]
    verdicts: Mapping[str, Sequence[Mapping[str, Any]]]  # GRPO arm -> the gaming verdict of each seed
    experiment: ExperimentSettings
    settings: EvaluationSettings
    ideals: Mapping[str, np.ndarray] = field(default_factory=dict)  # name -> Pass@1 to Pass@n, where the truth is known

    def contrast(self, c: Criterion) -> tuple[Contrast, Effect]:
        """Arm a against arm b on the primary metric, which is defined for every post."""
        found = find(self.contrasts, c.a, c.b, self.settings.primary)
        assert found is not None  # the experiment was checked to have asked
        assert found.effect is not None
        return found, found.effect


def judge_criteria(evidence: Evidence) -> dict[str, Any]:
    """What success_criteria.json holds: "criteria" in the order of params.yaml, and a "summary" that counts them.

    Each criterion has level, name, text, comparison, threshold, value and verdict ("pass" or "fail"), an interval
    where the value has one, and a note where something needs saying. A value of null cannot pass.
    """
    criteria = [_explained(c, JUDGES[c.kind](c, evidence), evidence) for c in evidence.experiment.criteria]
    summary: dict[str, dict[str, int]] = {}
    for judged in criteria:
        count = summary.setdefault(judged["level"], {"pass": 0, "of": 0})
        count["pass"] += judged["verdict"] == "pass"
        count["of"] += 1
    return {"criteria": criteria, "summary": summary}


def _explained(c: Criterion, judged: dict[str, Any], evidence: Evidence) -> dict[str, Any]:
    """``judged``, with the reason where it rests on what is not defined for the language."""
    models = [model for model in (c.a, c.b) if model in evidence.results.values]
    lacks = c.metric and None in (judged["value"], judged["threshold"])
    if lacks and why_undefined(c.metric, *evidence.results.relevance(*models)) == LANGUAGE:
        return judged | {"note": f"{LANGUAGE.capitalize()}, whose script the encoder does not know."}
    return judged


def trained(c: Criterion, evidence: Evidence) -> dict[str, Any]:
    """That adapters exist is what the pipeline sees to. That training did something to each is what can fail."""
    starts, models = evidence.experiment.compared, evidence.results.models
    count = _COUNTS[len(starts)] if len(starts) < len(_COUNTS) else str(len(starts))
    text = (
        f"Training changed each of the {count} models: the human replies' cross-entropy moved by more than "
        f"{c.threshold} nats per token from what it starts from, on average over posts and in whichever direction. "
        "The value is the least."
    )
    name = f"all_{count}_trained"
    if absent := sorted(set(starts.values()) - set(models)):
        note = f"Not known without {', '.join(absent)} among params.yaml:models."
        return _judged(c, name, text, None, ">", c.threshold) | {"note": note}
    nats = {model: values["cross_entropy"] for model, values in evidence.results.values.items()}
    moved = {model: float(np.abs(nats[model] - nats[start]).mean()) for model, start in starts.items()}
    least = min(moved, key=lambda model: moved[model])
    return _judged(c, name, text, moved[least], ">", c.threshold) | {"note": f"The least changed is {least}."}


def above(c: Criterion, evidence: Evidence) -> dict[str, Any]:
    """Arm a is above arm b, by more than a threshold where there is one; on the primary metric where none is named."""
    metric, least = c.metric or evidence.settings.primary, c.threshold or 0.0
    if c.metric:
        values = evidence.results.values
        effect = compare_paired(values[c.a][metric], values[c.b][metric], evidence.settings)
    else:
        _, effect = evidence.contrast(c)
    text = f"{metric_name(metric)} of {c.a} is {f'more than {least:g} ' if least else ''}above {c.b}'s."
    judged = _judged(c, metric, text, effect and effect.difference, ">", least)
    return judged | ({"low": effect.low, "high": effect.high} if effect else {})


def significant(c: Criterion, evidence: Evidence) -> dict[str, Any]:
    """Arm a is called above arm b by the rule of the comparison, at its alpha or at a threshold of the criterion's."""
    settings, (contrast, effect) = evidence.settings, evidence.contrast(c)
    alpha = settings.alpha if c.threshold is None else c.threshold
    text = f"{c.a} is above {c.b} on {metric_name(settings.primary)} with Holm-corrected p below {alpha:g}."
    judged = _judged(c, "significance", text, contrast.p_holm, "<", alpha) | {"p": effect.p}
    if not effect.excludes_zero():
        judged |= {"verdict": "fail", "note": "The interval of the difference holds zero."}
    if effect.difference <= 0:
        judged |= {"verdict": "fail", "note": "The difference is not above zero, whatever its p."}
    return judged


def exceeds(c: Criterion, evidence: Evidence) -> dict[str, Any]:
    """Arm a's mean of a metric is above a number."""
    text = f"{metric_name(c.metric)} of {c.a} is above {c.threshold}."
    return _mean(c, evidence, c.metric, text, ">", c.threshold)


def not_below(c: Criterion, evidence: Evidence) -> dict[str, Any]:
    """Arm a's mean of a metric is not below the interval of arm b's."""
    other = interval_of(evidence.results.values[c.b][c.metric], evidence.settings)
    text = f"{metric_name(c.metric)} of {c.a} is not below the interval of {c.b}'s."
    return _mean(c, evidence, f"{c.metric}_not_below_{c.b}", text, ">=", other and other.low)


def _mean(c: Criterion, evidence: Evidence, name: str, text: str, comparison: str, threshold: float | None) -> Any:
    own = interval_of(evidence.results.values[c.a][c.metric], evidence.settings)
    judged = _judged(c, name, text, own and own.mean, comparison, threshold)
    return judged | ({"low": own.low, "high": own.high} if own else {})


def not_gamed(c: Criterion, evidence: Evidence) -> dict[str, Any]:
    """The gaming verdict over all seeds. One that the data do not back is no acquittal."""
    verdicts = evidence.verdicts[c.a]
    gamed = [verdict for verdict in verdicts if verdict["verdict"] == "gamed"]
    open_ = [verdict for verdict in verdicts if verdict["verdict"] != "gamed" and not verdict["conclusive"]]
    text = (
        f"No seed of {c.a} gamed its reward, and the data back each verdict (results/gaming/{c.a}). The value counts "
        "the seeds that did."
    )
    judged = _judged(c, f"no_reward_hacking_{c.a}", text, len(gamed), "<=", 0)
    judged |= {"seeds": len(verdicts), "inconclusive_seeds": len(open_)} | ({"verdict": "fail"} if open_ else {})
    shown = gamed or open_ or verdicts
    return judged | {"note": " ".join(f"Seed {verdict['seed']}: {verdict['text']}" for verdict in shown)}


def gain(c: Criterion, evidence: Evidence) -> dict[str, Any]:
    """Arm a's gain over arm b on the primary metric, as a share of b's."""
    primary, (_, effect) = evidence.settings.primary, evidence.contrast(c)
    relative = effect.difference / effect.mean_b if effect.mean_b > 0 else None
    text = f"{metric_name(primary)} of {c.a} is more than {c.threshold:.0%} above {c.b}'s."
    judged = _judged(c, f"{primary}_gain_{c.level}", text, relative, ">", c.threshold)
    if relative is None:
        judged["note"] = f"{metric_name(primary)} of {c.b} is 0, and a gain relative to 0 does not exist."
    return judged


def effect_size(c: Criterion, evidence: Evidence) -> dict[str, Any]:
    """Cohen's d of arm a against arm b on the primary metric."""
    _, effect = evidence.contrast(c)
    text = f"Cohen's d of {c.a} against {c.b} on {metric_name(evidence.settings.primary)} is above {c.threshold}."
    judged = _judged(c, f"effect_size_{c.level}", text, effect.cohens_d, ">", c.threshold)
    if effect.cohens_d is None:
        judged["note"] = " ".join(effect.notes)
    return judged


def seeds(c: Criterion, evidence: Evidence) -> dict[str, Any]:
    """There are enough seeds."""
    needed = round(c.threshold or 0)
    return _judged(c, "seeds", f"There are {needed} seeds or more.", len(evidence.results.seeds), ">=", needed)


def share_of_ideal(c: Criterion, evidence: Evidence) -> dict[str, Any]:
    """Arm a's primary metric as a share of what the best of the ideal policies reaches, where the truth is known."""
    primary = evidence.settings.primary
    text = f"{metric_name(primary)} of {c.a} is {c.threshold:.0%} or more of what the best ideal policy reaches."
    own = interval_of(evidence.results.values[c.a][primary], evidence.settings)
    best = max((curve[max(evidence.settings.ks) - 1] for curve in evidence.ideals.values()), default=None)
    if own is None or best is None:
        return _judged(c, f"share_of_ideal_{c.a}", text, None, ">=", c.threshold) | {"note": "No ideal is known here."}
    judged = _judged(c, f"share_of_ideal_{c.a}", text, own.mean / best, ">=", c.threshold)
    return judged | {"low": own.low / best, "high": own.high / best}


JUDGES: dict[str, Callable[[Criterion, Evidence], dict[str, Any]]] = {
    judge.__name__: judge
    for judge in (trained, above, significant, exceeds, not_below, not_gamed, gain, effect_size, seeds, share_of_ideal)
}


def read_verdicts(
    arms: Sequence[str], seeds: Sequence[int], directory: str | Path = "results/gaming"
) -> dict[str, list[dict[str, Any]]]:
    """GRPO arm -> the gaming verdict (:mod:`polychrome.audit.gaming`) of each seed, in the order of ``seeds``.

    Raises InputError naming every verdict that is missing or is none.
    """
    verdicts: dict[str, list[dict[str, Any]]] = {arm: [] for arm in arms}
    problems = Problems()
    for arm, seed in product(arms, seeds):
        path = Path(directory) / arm / f"seed-{seed}" / "verdict.json"
        with problems.caught():
            verdict = read_object(path)
            if (verdict["arm"], verdict["seed"]) != (arm, seed):
                found, expected = f"that on {verdict['arm']}, seed {verdict['seed']}", f"that on {arm}, seed {seed}"
                raise bad(str(path), found, expected, AGAIN)
            verdicts[arm].append({name: verdict[name] for name in ("seed", "verdict", "conclusive", "text")})
    problems.raise_any()
    return verdicts


def _judged(
    c: Criterion, name: str, text: str, value: float | None, comparison: str, threshold: float | None
) -> dict[str, Any]:
    known = value is not None and threshold is not None
    return {
        "level": c.level,
        "name": c.name or name,
        "text": text,
        "value": value,
        "comparison": comparison,
        "threshold": threshold,
        "verdict": "pass" if known and _HOLDS[comparison](value, threshold) else "fail",
    } | ({} if known else {"note": "The value is undefined: too few posts have one."})
