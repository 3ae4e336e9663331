"""A run for the report's tests: replies, curves and gaming invented, the rest committed or made by the stage itself."""

import random
import shutil
from pathlib import Path

from polychrome.evaluation.compare import compare
from polychrome.evaluation.metrics import compared
from polychrome.files import read_json, read_jsonl, write_csv, write_json, write_jsonl
from polychrome.frontier.comparing import compare as compare_frontier
from polychrome.measures.passk import pass_at_k
from polychrome.reporting import names
from tests.evaluation.fakes import EXPERIMENT, settings
from tests.frontier.made import params_of, write_model

ROOT = Path(__file__).parents[3]
MODELS = tuple(model for model in names.MODELS if model != names.HUMAN)
UNTOUCHED = ("zero_shot", "prompted")
GRPO = ("grpo_from_baseline", "grpo_from_polychromic")
SEEDS = (42, 123, 456)
RUN = {"models": MODELS, "untouched": UNTOUCHED, "seeds": SEEDS}
POSTS = 10
KINDS = ("copied", "generic", "hostile", "off_topic", "repeated", "truncated")
FOREIGN = "да, конечно, почему бы и нет"  # of which the encoder says nothing
HOSTILE = "</script><img src=x onerror=\"document.title='broken'\"> \u2028 {{ 7*7 }} & <b>bold</b>"
COMMITTED = (
    *(f"results/{name}" for name in ("judge.json", "reward.json")),
    *(f"results/controls/{name}" for name in ("aa.json", "controls.json", "overoptimisation.csv")),
    "data/prepared/cleaning_report.json",
    "data/phases/phase_split_statistics.json",
)
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
    "i would probably sleep until noon and then go for a long walk by the river",
    "that's great",
    "Do you have a favourite one? I can never choose between the first and the last.",
    "me too! we should trade recipes some time",
    "it rained all day here so i stayed in and read",
    "no way, my sister said the very same thing yesterday",
)


def make_tree(root: Path) -> Path:
    """Write ``results``, ``data`` and ``.timings`` under ``root``; returns it."""
    draw = random.Random(11)
    results = root / "results"
    for name in COMMITTED:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    for place, model in enumerate(MODELS):
        for seed in SEEDS:
            _evaluation(results / f"evaluation/{model}/seed-{seed}", draw, needed=0.5 + 0.015 * place)
            if model not in UNTOUCHED:
                write_curves(results / f"training/{model}/seed-{seed}", _curves(draw, model))
            if model in GRPO:
                _gaming(results / f"gaming/{model}/seed-{seed}", draw, model, seed)
    folders = {"evaluations": results / "evaluation", "gaming": results / "gaming", "out": results}
    compare(MODELS, SEEDS, EXPERIMENT, settings(), **folders)
    said = {"share": {"mean": 0.81, "low": 0.7, "high": 0.9}, "kappa": None}
    verdict = {"verdict": "local is not shown to prefer either: win rate 0.52.", "agreement_between_orders": said}
    write_json(results / "llm_judge/grpo_from_polychromic_vs_baseline.json", verdict)
    for seed in SEEDS:
        write_model(results / "frontier", "baseline", seed, alone=True)
        write_model(results / "frontier", "polychromic", seed, varied=0.2)
    compare_frontier(params_of(("baseline", "polychromic"), SEEDS), results / "frontier")
    for run in ("prepare", "compare", *(f"grpo {arm} {seed}" for arm in GRPO for seed in SEEDS)):
        timing = {"stage": run, "seconds": 12.5, "machine": "x86_64", "dtype": "float32", "threads": 2}
        write_json(root / f".timings/{run.replace(' ', '-')}.json", timing)
    return root


def edit(path: Path, change) -> None:
    """Change what a JSON or JSON Lines file holds."""
    read, write = (read_jsonl, write_jsonl) if path.suffix == ".jsonl" else (read_json, write_json)
    value = read(path)
    change(value)
    write(path, value)


def write_curves(folder: Path, curves) -> None:
    """Curves of a training run as DVCLive leaves them: metric -> values by step."""
    plots = folder / "plots/metrics/train"
    plots.mkdir(parents=True)
    for name, values in curves.items():
        rows = [f"{step}\t{value}" for step, value in enumerate(values)]
        (plots / f"{name}.tsv").write_text("\n".join([f"step\t{name}", *rows]) + "\n")


def _curves(draw, model):
    start, slope = {"loss": 3.0}, {"loss": -0.02, "reward": 0.003, "kl": 0.12, "diversity": -0.002}
    start |= {"reward": 0.68, "kl": 0.0, "diversity": 0.8} if model in GRPO else {}
    start |= {"diversity": 0.8} if "polychromic" in model else {}
    return {name: [v + slope[name] * i + draw.gauss(0, 0.02) for i in range(24)] for name, v in start.items()}


def _scored(draw, text, needed=0.5):
    engagement, failures = draw.gauss(0.5, 0.05), [kind for kind in KINDS if draw.random() < 0.06]
    scores = {"engagement": engagement, "relevance": draw.uniform(-0.05, 0.8), "failures": failures}
    passes = engagement > needed and not failures
    return scores | {"text": text, "well_formed": "repeated" not in failures, "passes": passes}


def _evaluation(folder, draw, needed):
    rows = []
    for i in range(POSTS):
        texts = [f"{draw.choice(_REPLIES)} {draw.choice(('', ':)', 'really'))}" for _ in range(10)]
        replies = [_scored(draw, HOSTILE if i == place == 0 else text, needed) for place, text in enumerate(texts)]
        replies[0] |= {"text": FOREIGN, "relevance": None} if i == 1 else {}
        human = _scored(random.Random(i), "that's how it was for me too, it gets easier after a month")
        rows.append({"id": f"t{i}", "post": _POSTS[i % len(_POSTS)], "human": human, "replies": replies})
    write_jsonl(folder / "replies.jsonl", rows)
    every = [one for row in rows for one in row["replies"]]
    passing = [sum(one["passes"] for one in row["replies"]) for row in rows]
    metrics = {name: [draw.uniform(0.1, 0.9) for _ in rows] for name in compared(settings())}
    curve = [[float(pass_at_k(10, [count], k)[0]) for k in range(1, 11)] for count in passing]
    metrics |= {f"pass_at_{k}": [of_post[k - 1] for of_post in curve] for k in settings().ks}
    human = {"pass_at_1": [float(row["human"]["passes"]) for row in rows]}
    human |= {"engagement": [row["human"]["engagement"] for row in rows]}
    per_post = {"posts": [row["id"] for row in rows], "samples": 10, "pass_curve": curve}
    write_json(folder / "per_post.json", per_post | {"metrics": metrics, "human": human})
    shares = {kind: sum(kind in one["failures"] for one in every) / len(every) for kind in KINDS}
    people = dict.fromkeys(KINDS, 0.0) | {"generic": 0.05}
    write_json(folder / "metrics.json", {"failures": shares, "human_failures": people})


def _gaming(folder, draw, arm, seed):
    gamed = (arm, seed) == (GRPO[0], SEEDS[1])
    about = {"value": 0.02, "low": 0.01, "high": 0.05, "comparison": "<", "threshold": 0.1}
    about["verdict"] = "fail" if gamed else "pass"
    checks = [{"name": name, "text": f"{name}."} | about for name in ("judge", "near_identical")]
    change, peak = {"mean": 0.09, "low": 0.07, "high": 0.11}, {"judge": {"text": "The judge would peak at 1.4 nats."}}
    verdict = {"arm": arm, "seed": seed, "verdict": "gamed" if gamed else "not gamed", "conclusive": seed != SEEDS[2]}
    verdict |= {"text": f"{arm} raised the reward.", "checks": checks, "human": {"judge": 0.497}}
    write_json(folder / "verdict.json", verdict | {"proxy": change, "gap_growth": change, "over_optimisation": peak})
    rows = []
    for step in range(1, 25):
        row = {"step": step, "kl": 0.12 * step}
        for name, level in (("proxy", 0.7), ("judge", 0.5)):
            value = draw.gauss(level, 0.01)
            row |= {name: value, f"{name}_low": value - 1, f"{name}_high": value + 1}
        rows.append(row)
    write_csv(folder / "curve.csv", rows)
    gap = {"id": "p", "post": _POSTS[0], "proxy": 0.9, "judge": 0.4}
    gaps = [gap | {"step": i, "reply": _REPLIES[i % 7] if i else HOSTILE, "gap": 0.5 - 0.01 * i} for i in range(10)]
    write_jsonl(folder / "gaps.jsonl", gaps)
