"""Planted arms: sets of human replies of which it is known, before anything is measured, which must win at what.

All replies are by people, from conversations that neither the test set nor the judge has seen; "like" and "related"
are cosines of sentence embeddings, as in the test of a pass. No policy finds a human reply likely here, so
cross-entropy is one constant.

* ``planted``: the post's own human reply and the replies to the n - 1 posts of the pool that are most like it.
* ``off_topic``: n replies drawn at random from the tenth of the pool that is least related to the post.
* ``random``: n replies drawn at random from the whole pool, so to other posts.
* ``repeated``: the post's own human reply, n times.
* ``engaging``, ``unengaging``: n at random from the quarter of the pool that engaged most, and least: for engagement.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from polychrome import paths
from polychrome.audit.controls.record import NOT_MEASURED, ROOT, Control, verdict_of, write_part
from polychrome.errors import bad
from polychrome.evaluation.contrasts import Contrast, add_detectable, all_contrasts, find, in_words
from polychrome.evaluation.evaluate import evaluate, read_per_post
from polychrome.evaluation.metrics import compared, why_undefined
from polychrome.evaluation.results import read_results
from polychrome.evaluation.settings import EvaluationSettings
from polychrome.evaluation.statistics import compare_paired
from polychrome.files import write_jsonl
from polychrome.measures.encoder import TextEncoder
from polychrome.measures.words import LANGUAGE
from polychrome.pairs.schema import Pair, read_pairs
from polychrome.params import Params
from polychrome.randomness import numpy_generator
from polychrome.reporting.names import metric_name

PLANTED, OFF_TOPIC, RANDOM, REPEATED = "planted", "off_topic", "random", "repeated"
ARMS = (PLANTED, OFF_TOPIC, RANDOM, REPEATED)
ENGAGING, UNENGAGING = "engaging", "unengaging"
PAIRS = tuple(combinations(ARMS, 2))  # contrasted, all as one family
LEAST_RELATED = 0.1  # share of the pool
SEED = 0  # these arms have no training, so they have one seed

# (a, b, metric): a must be called above b. Written down before any of it was measured.
EXPECTED = (
    (PLANTED, OFF_TOPIC, "pass_at_1"),
    (PLANTED, OFF_TOPIC, "pass_at_k"),  # at the largest k
    (PLANTED, OFF_TOPIC, "rouge_l"),
    (PLANTED, RANDOM, "pass_at_1"),
    (PLANTED, RANDOM, "rouge_l"),
    (RANDOM, OFF_TOPIC, "pass_at_1"),
    (PLANTED, REPEATED, "semantic_diversity"),
    (PLANTED, REPEATED, "pass_at_k"),
    (PLANTED, REPEATED, "utility_k"),
    (PLANTED, OFF_TOPIC, "utility_k"),
    (REPEATED, PLANTED, "self_bleu"),
    (REPEATED, PLANTED, "rouge_l"),
)

TEXT = "Sets of human replies of which it is known beforehand which must win at what."


def run(params: Params) -> str:
    """Write results/controls/planted.json and the planted arms' evaluations; returns a table of the controls."""
    from polychrome.measures.encoder import Encoder

    test, pool = (read_pairs(paths.PHASES / f"{name}.jsonl") for name in ("test", "reward"))
    encoder, samples = Encoder.open(paths.ENCODER, remember=True), params.sampling.samples
    found = measure(test, pool, encoder, paths.JUDGE, ROOT / "planted", params.evaluation, samples)
    return write_part(ROOT / "planted.json", TEXT, *found)


def replies_of(
    test: Sequence[Pair], pool: Sequence[Pair], encoder: TextEncoder, samples: int, seed: int = SEED
) -> dict[str, list[tuple[str, ...]]]:
    """Arm -> its ``samples`` replies to each test post. Raises InputError for a pool of fewer than 10 x samples."""
    if len(pool) < samples / LEAST_RELATED:
        expected = f"at least {samples / LEAST_RELATED:.0f}, ten for each of the {samples} samples"
        raise bad("pool of human replies", len(pool), expected, "Raise split.reward_pairs.")
    posts = encoder.embed([pair.post for pair in test]).astype(np.float64)
    alike = posts @ encoder.embed([pair.post for pair in pool]).astype(np.float64).T
    related = posts @ encoder.embed([pair.reply for pair in pool]).astype(np.float64).T
    ranked = np.argsort([pair.engagement for pair in pool], kind="stable")
    quarter = len(pool) // 4
    found: dict[str, list[tuple[str, ...]]] = {arm: [] for arm in (*ARMS, ENGAGING, UNENGAGING)}
    for i, pair in enumerate(test):
        generator = numpy_generator(seed, "planted", pair.id)

        def some(of: Sequence[int] | int, generator: np.random.Generator = generator) -> tuple[str, ...]:
            return tuple(pool[j].reply for j in generator.choice(of, samples, replace=False))

        nearest = np.argsort(-alike[i], kind="stable")[: samples - 1]
        least = np.argsort(related[i], kind="stable")[: int(len(pool) * LEAST_RELATED)]
        found[PLANTED].append((pair.reply, *(pool[j].reply for j in nearest)))
        found[OFF_TOPIC].append(some(least))
        found[RANDOM].append(some(len(pool)))
        found[REPEATED].append((pair.reply,) * samples)
        found[ENGAGING].append(some(ranked[-quarter:]))
        found[UNENGAGING].append(some(ranked[:quarter]))
    return found


def measure(
    test: Sequence[Pair],
    pool: Sequence[Pair],
    encoder: TextEncoder,
    judge_directory: str | Path,
    out: str | Path,
    settings: EvaluationSettings,
    samples: int,
) -> tuple[list[Control], dict[str, Any]]:
    """Answer the test posts with the planted arms, evaluate and contrast them as models are, into folder ``out``.

    Returns a control for each of ``EXPECTED``, one on engagement, and each arm's means.
    """
    out, off_topic = Path(out), {}
    for arm, replies in replies_of(test, pool, encoder, samples).items():
        path = out / "generations" / arm / f"seed-{SEED}.jsonl"
        answers = [
            {"id": pair.id, "post": pair.post, "human": pair.reply, "replies": list(texts)}
            | {"ended": [True] * samples, "human_nll": 1.0, "human_tokens": 1}
            for pair, texts in zip(test, replies, strict=True)
        ]
        write_jsonl(path, answers)
        measured = evaluate(path, judge_directory, encoder, out / "evaluation" / arm / f"seed-{SEED}", settings)
        off_topic[arm] = measured["failures"]["off_topic"]
    results = read_results(ARMS, [SEED], out / "evaluation", settings)
    contrasts = all_contrasts(results, PAIRS, settings)
    add_detectable(contrasts, results, settings)
    controls = []
    for a, b, metric in EXPECTED:
        contrast = find(contrasts, a, b, settings.primary if metric == "pass_at_k" else metric)
        assert contrast is not None  # PAIRS has every two arms of EXPECTED
        controls.append(
            _control(contrast, off_topic, settings, why_undefined(contrast.metric, *results.relevance(a, b)))
        )
    controls.append(_engagement(out / "evaluation", settings))
    values = {arm: {m: results.values[arm][m] for m in compared(settings)} for arm in ARMS}
    means = {
        arm: {m: float(np.nanmean(v)) for m, v in of.items() if not np.isnan(v).all()} for arm, of in values.items()
    }
    about = {"posts": results.posts, "samples": samples, "pool": len(pool)}
    return controls, {"means": means, "off_topic": off_topic, **about}


def _engagement(evaluations: Path, settings: EvaluationSettings) -> Control:
    """Does the judge give more to replies that engaged people most than to those that engaged them least?"""
    high, low = (
        read_per_post(evaluations / arm / f"seed-{SEED}" / "per_post.json").metrics["engagement"][None, :]
        for arm in (ENGAGING, UNENGAGING)
    )
    effect = compare_paired(high, low, settings)
    assert effect is not None  # engagement is defined for every post
    return Control(
        name="planted_engaging_above_unengaging_engagement",
        text="Human replies of conversations that the judge has not seen: the most engaging against the least.",
        expected="higher engagement by the judge: the interval above zero, p below alpha",
        found=f"{effect.difference:+.4f} ({effect.low:+.4f} to {effect.high:+.4f}), p {effect.p:.2g}",
        **effect.ends(),
        verdict=verdict_of(effect.low > 0 and effect.p < settings.alpha),
        note=f"Cohen's d {effect.cohens_d:.2f}." if effect.cohens_d is not None else "",
    )


def _control(
    contrast: Contrast, off_topic: Mapping[str, float | None], settings: EvaluationSettings, why: str
) -> Control:
    """Is a of the ``contrast`` called above b? ``why`` says what an effect that is undefined lacks."""
    a, b, metric, effect = contrast.a, contrast.b, contrast.metric, contrast.effect
    shares = {arm: LANGUAGE if off_topic[arm] is None else f"{off_topic[arm]:.0%}" for arm in (a, b)}
    about = {
        "name": f"planted_{a}_above_{b}_{metric}",
        "text": f"Sets of human replies: {a.replace('_', ' ')} against {b.replace('_', ' ')} on {metric_name(metric)}.",
        "expected": "called above by the rule of compare",
        "note": (f"Off topic by the gate of a pass: {shares[a]} of the replies of {a}, {shares[b]} of {b}'s."),
    }
    if effect is None or contrast.p_holm is None:
        found = f"undefined: {why}"
        return Control(**about, found=found, verdict=NOT_MEASURED if why == LANGUAGE else verdict_of(False))
    wins = contrast.is_different(settings.alpha) and effect.difference > 0
    found = f"{effect.difference:+.3f} ({effect.low:+.3f} to {effect.high:+.3f})"
    found += f", Holm-corrected p {contrast.p_holm:.2g}" + ("" if wins else f"; {in_words(contrast)}")
    return Control(**about, **effect.ends(), found=found, verdict=verdict_of(wins))
