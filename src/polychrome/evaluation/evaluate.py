"""One model's replies, measured: per post, and as means over posts with bootstrap intervals.

A reply passes when it is well-formed (:mod:`polychrome.measures.validity`), on topic (cosine with the post at least the
10th percentile of human replies) and predicted to engage at least like the median human reply; both thresholds come
with the judge, calibrated on phase data. The human replies are put to the same test. In which ways replies fail is
counted by kind (:mod:`polychrome.measures.failures`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from polychrome.bootstrap import mean_interval
from polychrome.engagement.judge import Judge
from polychrome.errors import InputError, Problem, bad
from polychrome.evaluation.passk import check_ks, pass_at_k
from polychrome.files import read_json, whole_directory, write_json, write_jsonl
from polychrome.measures.encoder import TextEncoder, relevance
from polychrome.measures.failures import failures_of, shares
from polychrome.measures.metrics import ReplySet, metrics
from polychrome.measures.validity import problems_of
from polychrome.measures.words import spaced_words

PerPost = dict[str, list[float | None]]  # metric -> value of each post, None where undefined


@dataclass(frozen=True, slots=True)
class Answered:
    """A test post, its human reply and a model's n replies."""

    id: str
    post: str
    human: str
    replies: tuple[str, ...]
    ended: tuple[bool, ...]  # whether each reply ended by itself; False was cut at max_new_tokens
    cross_entropy: float  # of the human reply, nats a token


@dataclass(frozen=True, slots=True)
class Scores:
    """What decides whether replies pass; arrays (n,) over the replies of many posts."""

    well_formed: np.ndarray  # bool
    relevance: np.ndarray  # cosine of post and reply
    engagement: np.ndarray  # the judge's prediction, a rank in human replies
    passes: np.ndarray  # bool


def evaluate(
    generations_path: str | Path,
    judge_directory: str | Path,
    encoder: TextEncoder,
    out_directory: str | Path,
    ks: Sequence[int] = (1, 5, 10),
    *,
    resamples: int,
    confidence: float,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure one generations file into ``out_directory``: metrics.json, also returned, per_post.json, replies.jsonl.

    metrics.json: {"posts", "samples", "metrics": {name: {"mean", "low", "high", "undefined_posts"}}, "human": {...},
    "failures": {kind: share of the replies that fail in this way, in [0, 1]}, "human_failures": {...}}.
    replies.jsonl, a line a post: {"id", "post", "human": reply, "replies": [n replies]}, a reply being {"text",
    "engagement", "relevance", "well_formed", "passes", "failures": [kind, ...]}. A metric that is undefined for a post
    (say, distinct-3 of one-word replies) leaves that post out and counts it; one that is defined for fewer than two
    posts has null for a mean. Raises InputError for a malformed file and for k > n.
    """
    answered = read_generations(generations_path)
    samples = len(answered[0].replies)
    check_ks(samples, ks)
    judge = Judge.open(judge_directory)
    posts, humans = [a.post for a in answered], [a.human for a in answered]
    encoder.embed([*posts, *humans])  # in company that is the same for every model: so are their last bits
    human = score(posts, humans, judge, encoder)
    asked = [a.post for a in answered for _ in a.replies]
    texts = [reply for a in answered for reply in a.replies]
    replies = score(asked, texts, judge, encoder)
    passing = replies.passes.reshape(len(answered), samples).sum(axis=1)
    of_humans = described(posts, humans, [True] * len(humans), human, judge)
    ended = [by_itself for a in answered for by_itself in a.ended]
    of_model = described(asked, texts, ended, replies, judge)
    per_post = set_metrics(answered, replies, encoder)
    per_post |= {f"pass_at_{k}": pass_at_k(samples, passing, k).tolist() for k in ks}
    human_per_post: PerPost = {
        "pass_at_1": human.passes.astype(float).tolist(),
        "relevance": human.relevance.tolist(),
        "engagement": human.engagement.tolist(),
        "well_formed": human.well_formed.astype(float).tolist(),
        "words": [float(len(spaced_words(text))) for text in humans],
    }

    def summary(metrics: PerPost) -> dict[str, Any]:
        return {name: _summary(values, resamples, confidence, seed) for name, values in metrics.items()}

    measured = {
        "posts": len(answered),
        "samples": samples,
        "metrics": summary(per_post),
        "human": summary(human_per_post),
        "failures": shares([reply["failures"] for reply in of_model]),
        "human_failures": shares([reply["failures"] for reply in of_humans]),
    }
    by_post = {
        "posts": [a.id for a in answered],
        "samples": samples,
        "passing": passing.tolist(),
        "metrics": per_post,
        "human": human_per_post,
    }
    with whole_directory(out_directory) as beside:
        write_json(beside / "metrics.json", measured)
        write_json(beside / "per_post.json", by_post)
        write_jsonl(beside / "replies.jsonl", reply_rows(answered, of_humans, of_model))
    return measured


def score(posts: Sequence[str], replies: Sequence[str], judge: Judge, encoder: TextEncoder) -> Scores:
    """Put ``replies[i]`` to ``posts[i]`` to the test of a pass."""
    well_formed = np.array([not problems_of(reply) for reply in replies])
    cosine = relevance(posts, replies, encoder)
    engagement = judge.predict(posts, replies)
    on_topic, engaging = cosine >= judge.thresholds.on_topic, engagement >= judge.thresholds.engagement
    return Scores(well_formed, cosine, engagement, well_formed & on_topic & engaging)


def described(
    posts: Sequence[str],
    replies: Sequence[str],
    ended: Sequence[bool],
    scores: Scores,
    judge: Judge,
) -> list[dict[str, Any]]:
    """Each of n replies to ``posts[i]`` with all that was measured of it, as replies.jsonl holds it."""
    return [
        {
            "text": reply,
            "engagement": float(scores.engagement[i]),
            "relevance": float(scores.relevance[i]),
            "well_formed": bool(scores.well_formed[i]),
            "passes": bool(scores.passes[i]),
            "failures": failures_of(
                posts[i],
                reply,
                relevance=float(scores.relevance[i]),
                on_topic=judge.thresholds.on_topic,
                ended=ended[i],
            ),
        }
        for i, reply in enumerate(replies)
    ]


def reply_rows(
    answered: Sequence[Answered], humans: Sequence[dict[str, Any]], replies: Sequence[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """The lines of replies.jsonl: the human reply and the model's n to each post, as :func:`described` has them."""
    n = len(answered[0].replies)
    for i, a in enumerate(answered):
        yield {"id": a.id, "post": a.post, "human": humans[i], "replies": list(replies[i * n : (i + 1) * n])}


def set_metrics(answered: Sequence[Answered], scores: Scores, encoder: TextEncoder) -> PerPost:
    """Every metric but Pass@k of each post's set; means over the set's replies where a reply is what is measured."""
    samples = len(answered[0].replies)
    vectors = encoder.embed([reply for a in answered for reply in a.replies]).reshape(len(answered), samples, -1)
    of_texts = [metrics(ReplySet(a.post, a.human, a.replies, v)) for a, v in zip(answered, vectors, strict=True)]
    per_post: PerPost = {name: [of_post[name] for of_post in of_texts] for name in of_texts[0]}
    per_post["cross_entropy"] = [a.cross_entropy for a in answered]
    for name in ("relevance", "engagement", "well_formed"):
        values = getattr(scores, name).astype(float)
        per_post[name] = values.reshape(len(answered), samples).mean(axis=1).tolist()
    return per_post


def _summary(values: Sequence[float | None], resamples: int, confidence: float, seed: int) -> dict[str, Any]:
    defined = np.array([[value for value in values if value is not None]], dtype=float)
    missing = len(values) - defined.shape[1]
    if defined.shape[1] < 2:
        return {"mean": None, "low": None, "high": None, "undefined_posts": missing}
    interval = mean_interval(defined, resamples=resamples, confidence=confidence, seed=seed)
    return {"mean": interval.mean, "low": interval.low, "high": interval.high, "undefined_posts": missing}


# --- files ------------------------------------------------------------------------------------------------------------


def read_generations(path: str | Path) -> list[Answered]:
    """Read ``results/generations/<model>/seed-<n>.jsonl``. Raises InputError naming every bad line.

    Every post has the same number n >= 2 of replies (a set of one has no diversity), and there are two posts or more
    (one has no interval).
    """
    path = Path(path)
    remedy = "Run `dvc repro` to generate it again."
    if not path.is_file():
        raise bad(str(path), "no such file", "replies of a model", "Run the stage that makes it: `dvc repro generate`.")
    answered: list[Answered] = []
    problems: list[Problem] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").rstrip("\n").split("\n"), start=1):
        where = f"{path}:{number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            problems.append(Problem(where, error.msg, "one JSON object a line", remedy))
            continue
        wrong = _wrong_fields(row, where, remedy)
        problems += wrong
        if wrong:
            continue
        nats = row["human_nll"] / row["human_tokens"]
        replies, ended = tuple(row["replies"]), tuple(row["ended"])
        answered.append(Answered(row["id"], row["post"], row["human"], replies, ended, nats))
        if len(answered[-1].replies) != max(len(answered[0].replies), 2):
            found = f"{len(answered[-1].replies)} replies"
            expected = f"{max(len(answered[0].replies), 2)}, as many for every post and at least 2"
            problems.append(Problem(f"{where}:replies", found, expected, remedy))
    twice = sorted({a.id for a in answered if sum(b.id == a.id for b in answered) > 1})
    problems += [Problem(f"{path}:id", f"{name} more than once", "each post once", remedy) for name in twice]
    if not problems and len(answered) < 2:
        problems.append(Problem(str(path), f"{len(answered)} posts", "at least 2", "Raise split.test_pairs."))
    if problems:
        raise InputError(problems)
    return answered


def _wrong_fields(row: Any, where: str, remedy: str) -> list[Problem]:
    if not isinstance(row, Mapping):
        return [Problem(where, type(row).__name__, "an object with id, post, human, replies, ended", remedy)]
    wrong = [
        Problem(f"{where}:{name}", repr(row.get(name, "no such field")), "text", remedy)
        for name in ("id", "post", "human")
        if not isinstance(row.get(name), str)
    ]
    wrong += [
        Problem(f"{where}:{name}", repr(row.get(name, "no such field")), "a number above 0", remedy)
        for name in ("human_nll", "human_tokens")
        if not isinstance(row.get(name), int | float) or not row[name] > 0
    ]
    replies = row.get("replies")
    if not isinstance(replies, list) or not all(isinstance(reply, str) for reply in replies):
        wrong.append(Problem(f"{where}:replies", repr(row.get("replies", "no such field")), "a list of texts", remedy))
        return wrong
    ended = row.get("ended")
    if not isinstance(ended, list) or len(ended) != len(replies) or not all(isinstance(each, bool) for each in ended):
        expected = f"a list of {len(replies)} true or false, one a reply"
        wrong.append(Problem(f"{where}:ended", repr(row.get("ended", "no such field")), expected, remedy))
    return wrong


@dataclass(frozen=True, slots=True)
class Measured:
    """One model and seed, as :func:`evaluate` left it in per_post.json."""

    posts: tuple[str, ...]
    samples: int
    passing: np.ndarray  # (posts,) replies that pass
    metrics: Mapping[str, np.ndarray]  # (posts,), NaN where undefined
    human: Mapping[str, np.ndarray]


def read_per_post(path: str | Path) -> Measured:
    """Read per_post.json. Raises InputError when it is missing or does not hold what :func:`evaluate` writes."""
    value = read_json(path)

    def arrays(metrics: PerPost) -> dict[str, np.ndarray]:
        made = {name: np.array(values, dtype=float) for name, values in metrics.items()}  # None becomes NaN
        uneven = [name for name, array in made.items() if array.shape != (len(value["posts"]),)]
        if uneven:
            raise ValueError(f"{', '.join(uneven)} not aligned with the posts")
        return made

    try:
        return Measured(
            posts=tuple(value["posts"]),
            samples=int(value["samples"]),
            passing=np.array(value["passing"], dtype=int),
            metrics=arrays(value["metrics"]),
            human=arrays(value["human"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        expected = "posts, samples, passing, metrics and human"
        raise bad(str(path), f"{error}", expected, "Run `dvc repro --force` on the stage that makes it.") from error
