"""A whole results tree of an invented run, as the stages would leave it: every file that the report reads."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

MODELS = (
    "zero_shot",
    "prompted",
    "baseline_warmstart",
    "polychromic_warmstart",
    "baseline",
    "polychromic",
    "grpo_from_baseline",
    "grpo_from_polychromic",
)
UNTOUCHED = ("zero_shot", "prompted")
GRPO = ("grpo_from_baseline", "grpo_from_polychromic")
COMPARED = ("baseline", "polychromic", *GRPO)
SEEDS = (42, 123, 456)
KS = (1, 5, 10)
KINDS = ("generic", "off_topic", "copied", "repeated", "truncated", "hostile")
HOSTILE = "</script><img src=x onerror=\"document.title='broken'\"> \u2028 {{ 7*7 }} & <b>bold</b>"
METRICS = ("pass_at_1", "pass_at_10", "self_bleu", "semantic_diversity", "rouge_l", "engagement", "cross_entropy")
LEVELS = {  # Pass@1, Pass@10, self-BLEU, diversity, ROUGE-L, engagement
    "zero_shot": (0.69, 0.97, 0.13, 0.70, 0.072, 0.516),
    "prompted": (0.61, 0.99, 0.12, 0.74, 0.072, 0.512),
    "baseline_warmstart": (0.62, 0.90, 0.15, 0.70, 0.071, 0.509),
    "polychromic_warmstart": (0.63, 0.98, 0.13, 0.72, 0.068, 0.511),
    "baseline": (0.38, 0.92, 0.14, 0.79, 0.052, 0.488),
    "polychromic": (0.34, 0.83, 0.14, 0.80, 0.054, 0.482),
    "grpo_from_baseline": (0.67, 0.97, 0.14, 0.65, 0.071, 0.516),
    "grpo_from_polychromic": (0.68, 0.95, 0.15, 0.65, 0.060, 0.516),
}
_POSTS = (
    "i just moved to a new city and i don't know anyone here yet",
    "do you ever cook for yourself or is it all takeout",
    "my cat knocked over the plant again, third time this week",
    "what would you do with a whole day and no phone",
    "honestly i think winter is the best season",
    "i'm reading a book about octopuses and it is strange and wonderful",
)
_REPLIES = (
    "oh that sounds lovely, how long have you been doing it?",
    "haha same here, what made you start?",
    "i would probably sleep until noon and then go for a long walk by the river",
    "that's great",
    "Do you have a favourite one? I can never choose between the first and the last.",
    "me too! we should trade recipes some time",
    "i've never tried, is it hard to learn?",
    "what kind of music do you listen to while you do that",
    "I am not sure, but I would love to hear more about it",
    "it rained all day here so i stayed in and read",
    "no way, my sister said the very same thing yesterday",
    "what's the best part of it for you?",
)


def make_tree(
    root: Path, *, posts: int = 6, samples: int = 10, seeds=SEEDS, models=MODELS, optional: bool = True
) -> Path:
    """Write ``results``, ``data`` and ``.timings`` under ``root``; returns it."""
    draw = random.Random(11)
    results = root / "results"
    put(results / "comparison.json", _comparison(draw, posts, samples, seeds, models))
    put(results / "success_criteria.json", _criteria())
    _pass_at_k(results / "pass_at_k.csv", models, samples)
    _plane(results / "plane.csv", models)
    for model in models:
        for seed in seeds:
            _evaluation(results / f"evaluation/{model}/seed-{seed}", draw, model, posts, samples)
            if model not in UNTOUCHED:
                _training(results / f"training/{model}/seed-{seed}", draw, model)
            if model in GRPO:
                _gaming(results / f"gaming/{model}/seed-{seed}", draw, model, seed)
    put(results / "judge.json", _JUDGE)
    put(results / "reward.json", _REWARD)
    put(root / "data/prepared/cleaning_report.json", _CLEANING)
    put(root / "data/phases/phase_split_statistics.json", _SPLIT)
    for run in ("prepare", "split", "judge", "reward", "compare"):
        put(root / f".timings/{run}.json", {"stage": run, "seconds": 12.5, "machine": "x86_64"})
    for arm in GRPO:
        for seed in seeds:
            value = {
                "stage": f"grpo {arm} {seed}",
                "seconds": 214.3,
                "dtype": "float32",
                "threads": 2,
                "machine": "x86_64",
            }
            put(root / f".timings/grpo-{arm}-{seed}.json", value)
    if optional:
        put(
            results / "controls/aa.json", {"text": "A/A.", "verdict": "as expected", "controls": [_CONTROL], "sets": 16}
        )
        put(
            results / "controls/controls.json",
            {"text": "1 of 1 controls came out as expected.", "controls": [_CONTROL]},
        )
        rows = [
            f"{beta},{step},{0.2 * step / (1 + 9 * beta):.4f},{0.6 + 0.01 * step:.4f},{0.5 - 0.0002 * step * step:.5f}"
            for beta in (0.0, 0.05, 0.2)
            for step in range(24)
        ]
        (results / "controls/overoptimisation.csv").write_text("\n".join(["beta,step,kl,proxy,judge", *rows]) + "\n")
        verdict = (
            "local is not shown to prefer grpo_from_polychromic or baseline: win rate 0.52, 95% interval 0.45 to 0.59."
        )
        value = {
            "verdict": verdict,
            "agreement_between_orders": {"share": {"mean": 0.81, "low": 0.7, "high": 0.9}, "kappa": None},
        }
        put(results / "llm_judge/grpo_from_polychromic_vs_baseline.json", value)
    return root


def put(path: Path, value) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False))


def put_lines(path: Path, rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _comparison(draw, posts, samples, seeds, models):
    pairs = {
        "Q1": ("Does polychromic fine-tuning beat the baseline?", [("polychromic", "baseline")]),
        "Q2": (
            "Does a warm start followed by GRPO beat fine-tuning on all the data?",
            [("grpo_from_baseline", "baseline"), ("grpo_from_polychromic", "polychromic")],
        ),
        "Q3": (
            "Is the polychromic warm start the better start for GRPO?",
            [("grpo_from_polychromic", "grpo_from_baseline")],
        ),
        "Q4": (
            "Which of the four is best, and is it separated from the second?",
            [("grpo_from_polychromic", "baseline"), ("grpo_from_baseline", "polychromic")],
        ),
    }
    questions = [
        {
            "id": name,
            "question": words,
            "verdict": f"No difference between {own[0][0]} and {own[0][1]} on Pass@10 is established: difference ...",
            "contrasts": [_contrast(draw, a, b, metric) for a, b in own for metric in METRICS],
        }
        for name, (words, own) in pairs.items()
    ]
    order = sorted(COMPARED, key=lambda model: -LEVELS[model][1])
    questions[3]["ranking"] = [
        {
            "rank": i,
            "model": m,
            "value": LEVELS[m][1],
            "low": LEVELS[m][1] - 0.05,
            "high": min(1.0, LEVELS[m][1] + 0.04),
        }
        for i, m in enumerate(order, start=1)
    ]
    family = {
        "primary_metric": "pass_at_10",
        "confidence": 0.95,
        "alpha": 0.05,
        "posts": posts,
        "samples": samples,
        "seeds": list(seeds),
        "tests": 42,
    }
    return {"family": family, "questions": questions, "models": {model: _measured(model) for model in models}}


def _contrast(draw, a, b, metric):
    place = {"pass_at_1": 0, "pass_at_10": 1, "self_bleu": 2, "semantic_diversity": 3, "rouge_l": 4, "engagement": 5}
    difference = LEVELS[a][place[metric]] - LEVELS[b][place[metric]] if metric in place else draw.uniform(-0.1, 0.7)
    different = abs(difference) > 0.11
    return {
        "a": a,
        "b": b,
        "metric": metric,
        "difference": difference,
        "low": difference - 0.06,
        "high": difference + 0.07,
        "p": 0.01,
        "p_holm": 0.0004 if different else 0.41,
        "different": different,
        "detectable": 0.094,
        "sd_posts": 0.2,
        "sd_seeds": 0.02,
    }


def _criteria():
    rows = [
        ("must", "Pass@10 of grpo_from_polychromic is above baseline's.", 0.025, ">", 0.0, "pass"),
        ("must", "ROUGE-L of grpo_from_polychromic is above 0.3.", 0.0601, ">", 0.3, "fail"),
        ("must", "The reward of grpo_from_baseline was not gamed.", None, ">=", 0.0, "fail"),
        ("should", "There are 3 seeds or more.", 3, ">=", 3, "pass"),
        (
            "nice",
            "Cohen's d of grpo_from_polychromic against baseline on Pass@10 is above 0.5.",
            0.07,
            ">",
            0.5,
            "fail",
        ),
    ]
    criteria = [
        {
            "level": level,
            "name": f"c{i}",
            "text": text,
            "value": value,
            "comparison": sign,
            "threshold": limit,
            "verdict": v,
        }
        for i, (level, text, value, sign, limit, v) in enumerate(rows)
    ]
    criteria[0] |= {"low": -0.075, "high": 0.15, "note": "The interval of the difference holds zero."}
    return {"criteria": criteria, "summary": {"must": {"pass": 1, "of": 3}}}


def _measured(model):
    p1, p10, bleu, diversity, rouge, engagement = LEVELS[model]
    values = {
        "pass_at_1": p1,
        "pass_at_5": (p1 + 2 * p10) / 3,
        "pass_at_10": p10,
        "self_bleu": bleu,
        "semantic_diversity": diversity,
        "rouge_l": rouge,
        "engagement": engagement,
        "words": 12.25,
    }
    return {
        name: {
            "mean": v,
            "low": 0.9 * v,
            "high": min(1.08 * v, max(v, 1)),
            "sd_posts": 0.2,
            "sd_seeds": 0.02,
            "posts": 40,
        }
        for name, v in values.items()
    }


def _pass_at_k(path, models, samples):
    rows = ["model,k,value,low,high"]
    for model in models:
        p1, p10 = LEVELS[model][:2]
        for k in range(1, samples + 1):
            value = p1 + (p10 - p1) * math.log(k) / math.log(max(2, samples))
            rows.append(f"{model},{k},{value:.4f},{value - 0.08:.4f},{min(1, value + 0.07):.4f}")
    path.write_text("\n".join([*rows, "human,1,0.5,0.35,0.65"]) + "\n")


def _plane(path, models):
    rows = [
        "model,semantic_diversity,semantic_diversity_low,semantic_diversity_high,self_bleu,self_bleu_low,self_bleu_high,"
        "pass_at_1,pass_at_1_low,pass_at_1_high"
    ]
    for model in models:
        p1, _, _, x, _, _ = LEVELS[model]
        rows.append(f"{model},{x},{x - 0.03:.3f},{x + 0.04:.3f},,,,{p1},{p1 - 0.08:.3f},{p1 + 0.07:.3f}")
    path.write_text("\n".join(rows) + "\n")


def _scored(draw, text, level):
    engagement = draw.gauss(0.3 + 0.4 * level, 0.05)
    failures = [kind for kind in KINDS if draw.random() < 0.06]
    passes = not failures and engagement >= 0.497
    return {
        "text": text,
        "engagement": engagement,
        "relevance": draw.uniform(-0.05, 0.8),
        "well_formed": "repeated" not in failures,
        "passes": passes,
        "failures": failures,
    }


def _evaluation(folder, draw, model, posts, samples):
    rows = []
    for i in range(posts):
        replies = [
            _scored(draw, f"{draw.choice(_REPLIES)} {draw.choice(('', '', ':)', 'really'))}".strip(), LEVELS[model][0])
            for _ in range(samples)
        ]
        if i == 0:
            replies[0]["text"] = HOSTILE
        post = f"{_POSTS[i % len(_POSTS)]}{'' if i < len(_POSTS) else f' ({i})'}"
        human = _scored(random.Random(i), "that's how it was for me too, it gets easier after a month", 0.5)
        rows.append({"id": f"t{i}", "post": post, "human": human, "replies": replies})
    put_lines(folder / "replies.jsonl", rows)
    every = [one for row in rows for one in row["replies"]]
    shares = {kind: sum(kind in one["failures"] for one in every) / len(every) for kind in KINDS}
    put(folder / "metrics.json", {"failures": shares, "human_failures": dict.fromkeys(KINDS, 0.0) | {"generic": 0.05}})


def _training(folder, draw, model):
    plots = folder / "plots/metrics/train"
    plots.mkdir(parents=True)
    curves = {"loss": 3.0}
    if model in GRPO:
        curves |= {"reward": 0.68, "kl": 0.0, "diversity": 0.8}
    elif "polychromic" in model:
        curves |= {"diversity": 0.8}
    slope = {"loss": -0.02, "reward": 0.003, "kl": 0.12, "diversity": -0.002}
    for name, start in curves.items():
        rows = [f"{step}\t{start + slope[name] * step + draw.gauss(0, 0.02):.5f}" for step in range(24)]
        (plots / f"{name}.tsv").write_text("\n".join([f"step\t{name}", *rows]) + "\n")
    put(folder / "summary.json", {"reward_gain": {"mean": 0.04, "low": 0.02, "high": 0.06}})


def _gaming(folder, draw, arm, seed):
    gamed = arm == "grpo_from_baseline" and seed == SEEDS[1]
    checks = [
        ("judge", "The judge does not fall from baseline_warmstart.", 0.004, ">=", -0.05),
        ("length", "Length does not drift.", 1.08, "<", 1.5),
        ("near_identical", "Replies to different posts are not near-identical.", 0.21 if gamed else 0.02, "<", 0.1),
    ]
    verdict = {
        "arm": arm,
        "seed": seed,
        "start": arm.replace("grpo_from_", "") + "_warmstart",
        "verdict": "gamed" if gamed else "not gamed",
        "conclusive": seed != SEEDS[2],
        "proxy": {"first": 0.66, "last": 0.75, "mean": 0.09, "low": 0.07, "high": 0.11},
        "gap_growth": {"first": -0.01, "last": 0.01, "mean": 0.02, "low": -0.01, "high": 0.05},
        "over_optimisation": {"proxy": {"text": "No peak."}, "judge": {"text": "The judge would peak at 1.4 nats."}},
        "human": {"judge": 0.497},
        "text": f"{arm} {'says the same to all' if gamed else 'raised the reward, and the judge did not fall'}.",
        "checks": [
            {
                "name": name,
                "text": text,
                "value": value,
                "low": value - 0.01,
                "high": value + 0.01,
                "comparison": sign,
                "threshold": limit,
                "verdict": "fail" if gamed and name == "near_identical" else "pass",
            }
            for name, text, value, sign, limit in checks
        ],
    }
    put(folder / "verdict.json", verdict)
    rows = [
        "step,kl,proxy,proxy_low,proxy_high,judge,judge_low,judge_high,length,genericness,copy_rate,repetition,truncated,near_identical_across_posts"
    ]
    for step in range(1, 25):
        proxy, judge = (
            0.66 + 0.004 * step + draw.gauss(0, 0.01),
            0.51 + 0.0005 * step * (12 - step) / 12 + draw.gauss(0, 0.004),
        )
        kl = 0.12 * step + draw.uniform(0, 0.2)
        scores = [proxy, proxy - 0.03, proxy + 0.03, judge, judge - 0.015, judge + 0.015]
        rows.append(",".join([str(step), *(f"{value:.4f}" for value in (kl, *scores)), "12,0.1,0.02,0.01,0.04,0.03"]))
    (folder / "curve.csv").write_text("\n".join(rows) + "\n")
    gaps = [
        {
            "step": 20 - i,
            "id": f"p{i}",
            "post": _POSTS[i % len(_POSTS)],
            "reply": HOSTILE if i == 0 else draw.choice(_REPLIES),
            "proxy": 0.9 - 0.01 * i,
            "judge": 0.4,
            "gap": 0.5 - 0.01 * i,
        }
        for i in range(10)
    ]
    put_lines(folder / "gaps.jsonl", gaps)


def _with_interval(name, value, width):
    return {name: value, f"{name}_low": value - width, f"{name}_high": value + width}


_CONTROL = {
    "name": "aa_replies_rule",
    "text": "An arm against itself, replies drawn anew: how often the rule claims any difference in Q1 to Q4.",
    "expected": "at most 0.05: the interval of the rate does not lie above it",
    "found": "0.021 (0.013 to 0.032) of 1000 families of tests",
    "value": 0.021,
    "low": 0.013,
    "high": 0.032,
    "verdict": "as expected",
    "note": "Below is no fault.",
}
_JUDGE = {
    **_with_interval("spearman", 0.24, 0.04),
    **_with_interval("spearman_of_reply_length_alone", 0.08, 0.05),
    "pairs": 1500,
    "conversations": 916,
    "engagement_threshold": 0.497,
    "on_topic_threshold": 0.08,
    "verdict": "held-out Spearman 0.240, 95% interval 0.200 to 0.280: it ranks unseen replies better than chance",
}
_REWARD = {
    **_with_interval("spearman", 0.31, 0.03),
    **_with_interval("spearman_of_reply_length_alone", 0.09, 0.03),
    **_with_interval("pairwise_accuracy", 0.61, 0.02),
    "p_against_length": 0.0002,
    "pairs": 4000,
    "conversations": 1400,
    "held_out_pairs": 800,
    "calibration": [
        {
            "predicted": 0.3 + 0.05 * i,
            "actual": 0.33 + 0.04 * i,
            "low": 0.29 + 0.04 * i,
            "high": 0.37 + 0.04 * i,
            "pairs": 100,
        }
        for i in range(8)
    ],
    "error_by_quartile": [0.31, 0.14, 0.13, 0.29],
    "ceiling": {"agreement": 0.096, "low": 0.026, "high": 0.165, "neighbours": 967, "ceiling_of_what_lasts": 0.31},
    "verdict": "held-out Spearman 0.310, 95% interval 0.280 to 0.340: three quarters of what engagement says of itself",
}
_CLEANING = {
    "candidates": 131569,
    "kept": 6000,
    "conversations": 1967,
    "source": "chitchat",
    "dropped": {
        "too long": 51411,
        "beyond limit": 50602,
        "too short": 19066,
        "no engagement measured": 4013,
        "non-text": 421,
        "URL only": 0,
    },
}
_SPLIT = {
    "chi_square": {"p": 1.0},
    "kolmogorov_smirnov": {
        "engagement": {"phase1 / phase2": {"p": 0.61}},
        "reply_words": {"phase1 / phase2": {"p": 0.41}},
    },
    "overlap": {
        "authors": {"phase1 / phase2": 10},
        "conversations": {"phase1 / phase2": 0},
        "near_duplicate_replies": {"phase1 / phase2": 0},
    },
    "parts": {
        name: {"pairs": pairs, "conversations": 40, "engagement_median": 0.97, "reply_words_median": 9.0}
        for name, pairs in (
            ("phase1", 64),
            ("phase2", 64),
            ("test", 40),
            ("validation", 16),
            ("judge", 1500),
            ("reward", 4000),
        )
    },
    "left_out": {"not needed": 4053},
    "settings": {"seed": 7},
}
