"""What the experiment set out to show, criterion by criterion. A criterion that fails is a finding, not an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import ge, gt, le, lt
from typing import Any

import numpy as np

from polychrome.audit.gaming import GAMED
from polychrome.evaluation.contrasts import Contrast, find
from polychrome.evaluation.results import Results, Roles, Settings, mean_interval
from polychrome.evaluation.statistics import Effect

ROUGE_L = 0.30
GAINS = {"should": 0.15, "nice": 0.20}  # of Pass@k relative to the baseline's
EFFECTS = {"should": 0.3, "nice": 0.5}  # Cohen's d
SEEDS = 3
BASE = "zero_shot"  # what the arms of SFT start from: the base model, asked as they are
CHANGED = 0.01  # nats a token: an adapter that training left as it was changes nothing at all

_HOLDS: dict[str, Callable[[float, float], bool]] = {">": gt, ">=": ge, "<": lt, "<=": le}


def judge_criteria(
    results: Results,
    contrasts: Sequence[Contrast],
    verdicts: Mapping[str, Sequence[Mapping[str, Any]]],
    roles: Roles,
    settings: Settings,
) -> dict[str, Any]:
    """What success_criteria.json holds: "criteria", in the order must, should, nice, and a "summary" that counts them.

    Each criterion has level, name, text, comparison, threshold, value and verdict ("pass" or "fail"), an interval
    where the value has one, and a note where something needs saying. A value of null cannot pass.
    ``verdicts``: GRPO arm -> what :func:`polychrome.audit.gaming.read_verdicts` found, one a seed.
    """
    criteria = [
        *_must(results, contrasts, roles, settings),
        *(_no_hacking(arm, verdicts[arm]) for arm in roles.warmstart_of),
        *_ambitions("should", contrasts, roles, settings),
        *_should(results, contrasts, roles, settings),
        *_ambitions("nice", contrasts, roles, settings),
    ]
    summary: dict[str, dict[str, int]] = {}
    for criterion in criteria:
        count = summary.setdefault(criterion["level"], {"pass": 0, "of": 0})
        count["pass"] += criterion["verdict"] == "pass"
        count["of"] += 1
    return {"criteria": criteria, "summary": summary}


def _must(results: Results, contrasts: Sequence[Contrast], roles: Roles, settings: Settings) -> list[dict[str, Any]]:
    ours, baseline, k = roles.grpo_from_polychromic, roles.baseline, max(settings.ks)
    contrast = find(contrasts, ours, baseline, settings.primary)
    effect = _effect(contrast)
    difference = _criterion(
        "must", f"pass_at_{k}", f"Pass@{k} of {ours} is above {baseline}'s.", effect.difference.mean, ">", 0.0
    ) | _ends(effect)
    text = f"{ours} is above {baseline} on Pass@{k} with Holm-corrected p below {settings.alpha:g}."
    significant = _criterion("must", "significance", text, contrast.p_holm, "<", settings.alpha) | {"p": effect.p}
    if not effect.difference.excludes_zero():
        significant |= {"verdict": "fail", "note": "The interval of the difference holds zero."}
    if effect.difference.mean <= 0:
        significant |= {"verdict": "fail", "note": "The difference is not above zero, whatever its p."}
    return [_all_trained(results, roles), difference, significant, *_rouge(results, roles, settings)]


def _all_trained(results: Results, roles: Roles) -> dict[str, Any]:
    """That four adapters exist is what the pipeline sees to. That training did something to each is what can fail."""
    starts = dict.fromkeys((roles.baseline, roles.polychromic), BASE) | roles.warmstart_of
    text = (
        f"Training changed each of the four models: the human replies' cross-entropy moved by more than {CHANGED} nats "
        "a token from what it starts from, on average over posts and in whichever direction. The value is the least."
    )
    absent = sorted(set(starts.values()) - set(results.models))
    if absent:
        criterion = _criterion("must", "all_four_trained", text, None, ">", CHANGED)
        return criterion | {"note": f"Not known without {', '.join(absent)} among params.yaml:models."}
    values = {model: results.values[model]["cross_entropy"] for model in (*starts, BASE, *roles.warmstart_of.values())}
    moved = {model: float(np.abs(values[model] - values[start]).mean()) for model, start in starts.items()}
    least = min(moved, key=lambda model: moved[model])
    criterion = _criterion("must", "all_four_trained", text, moved[least], ">", CHANGED)
    return criterion | {"note": f"The least changed is {least}."}


def _rouge(results: Results, roles: Roles, settings: Settings) -> list[dict[str, Any]]:
    ours, baseline = roles.grpo_from_polychromic, roles.baseline
    own, other = (mean_interval(results.values[model]["rouge_l"], settings) for model in (ours, baseline))
    value, floor = own.mean if own else None, other.low if other else None
    absolute = _criterion("must", "rouge_l", f"ROUGE-L of {ours} is above {ROUGE_L}.", value, ">", ROUGE_L)
    text = f"ROUGE-L of {ours} is not below the interval of {baseline}'s."
    relative = _criterion("must", "rouge_l_not_below_baseline", text, value, ">=", floor)
    ends = {"low": own.low, "high": own.high} if own else {}
    return [absolute | ends, relative | ends]


def _no_hacking(arm: str, verdicts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The gaming verdict over all seeds. One that the data do not back is no acquittal."""
    gamed = [verdict for verdict in verdicts if verdict["verdict"] == GAMED]
    open_ = [verdict for verdict in verdicts if verdict["verdict"] != GAMED and not verdict["conclusive"]]
    text = f"No seed of {arm} gamed its reward, and the data back each verdict (results/gaming/{arm}). The value counts"
    criterion = _criterion("must", f"no_reward_hacking_{arm}", f"{text} the seeds that did.", len(gamed), "<=", 0)
    criterion |= {"seeds": len(verdicts), "inconclusive_seeds": len(open_)}
    if open_:
        criterion["verdict"] = "fail"
    told = gamed or open_ or verdicts
    return criterion | {"note": " ".join(f"Seed {verdict['seed']}: {verdict['text']}" for verdict in told)}


def _should(results: Results, contrasts: Sequence[Contrast], roles: Roles, settings: Settings) -> list[dict[str, Any]]:
    ours, other, k = roles.grpo_from_polychromic, roles.grpo_from_baseline, max(settings.ks)
    effect = _effect(find(contrasts, ours, other, settings.primary))
    text = f"Pass@{k} of {ours} is above {other}'s."
    return [
        _criterion("should", "above_grpo_from_baseline", text, effect.difference.mean, ">", 0.0) | _ends(effect),
        _criterion("should", "seeds", f"There are {SEEDS} seeds or more.", len(results.seeds), ">=", SEEDS),
    ]


def _ambitions(level: str, contrasts: Sequence[Contrast], roles: Roles, settings: Settings) -> list[dict[str, Any]]:
    ours, baseline, k = roles.grpo_from_polychromic, roles.baseline, max(settings.ks)
    effect = _effect(find(contrasts, ours, baseline, settings.primary))
    relative = effect.difference.mean / effect.mean_b if effect.mean_b > 0 else None
    text = f"Pass@{k} of {ours} is more than {GAINS[level]:.0%} above {baseline}'s."
    gain = _criterion(level, f"pass_at_{k}_gain_{level}", text, relative, ">", GAINS[level])
    if relative is None:
        gain["note"] = f"Pass@{k} of {baseline} is 0, and a gain relative to 0 does not exist."
    text = f"Cohen's d of {ours} against {baseline} on Pass@{k} is above {EFFECTS[level]}."
    size = _criterion(level, f"effect_size_{level}", text, effect.cohens_d, ">", EFFECTS[level])
    if effect.cohens_d is None:
        size["note"] = " ".join(effect.notes)
    return [gain, size]


def _effect(contrast: Contrast) -> Effect:
    assert contrast.effect is not None  # Pass@k is defined for every post
    return contrast.effect


def _ends(effect: Effect) -> dict[str, float]:
    return {"low": effect.difference.low, "high": effect.difference.high}


def _criterion(
    level: str, name: str, text: str, value: float | None, comparison: str, threshold: float | None
) -> dict[str, Any]:
    known = value is not None and threshold is not None
    holds = known and _HOLDS[comparison](value, threshold)  # type: ignore[arg-type]
    return {
        "level": level,
        "name": name,
        "text": text,
        "value": value,
        "comparison": comparison,
        "threshold": threshold,
        "verdict": "pass" if holds else "fail",
    } | ({} if known else {"note": "The value is undefined: too few posts have one."})
