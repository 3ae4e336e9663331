"""One model's replies, measured: per post, and as means over posts with bootstrap intervals.

A reply passes when it ended, is well-formed (:mod:`polychrome.measures.validity`), on topic (cosine with the post at
least the 10th percentile of human replies) and predicted to engage at least like the human replies at
`evaluation.pass_quantile`; both thresholds come with the judge, calibrated on phase data. The truth in the audience
world, and people's rated replies where a post has many, take the judge's place (:mod:`polychrome.engagement.ruler`).
The human replies are put to the same test. In which ways replies fail is counted by kind
(:mod:`polychrome.measures.failures`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from polychrome.engagement.ruler import Ruler, open_ruler
from polychrome.errors import Problem, bad
from polychrome.evaluation.settings import EvaluationSettings
from polychrome.evaluation.statistics import interval_of
from polychrome.files import (
    Row,
    read_json,
    read_jsonl,
    read_objects,
    whole_directory,
    write_json,
    write_jsonl,
    wrong_fields,
)
from polychrome.measures.encoder import TextEncoder, known
from polychrome.measures.failures import shares
from polychrome.measures.metrics import metrics
from polychrome.measures.passk import check_ks
from polychrome.measures.sets import ReplySet
from polychrome.measures.words import spaced_words
from polychrome.pairs.schema import TURNS, Turns, are_turns, turns_of

OF_REPLIES = ("relevance", "engagement", "well_formed")  # metrics of one reply, averaged over the replies of a set
PerPost = dict[str, list[float | None]]  # metric -> value of each post, None where undefined


@dataclass(frozen=True, slots=True)
class Answered:
    """A test post, its human reply and a model's n replies."""

    id: str
    post: str
    human: str
    replies: tuple[str, ...]
    ended: tuple[bool, ...]  # whether each reply ended by itself; False was cut at max_new_tokens
    cross_entropy: float  # of the human reply, nats per token
    context: Turns = ()
    references: tuple[str, ...] = ()  # what else people replied to the very post


def evaluate(
    generations_path: str | Path,
    judge_directory: str | Path,
    encoder: TextEncoder,
    out_directory: str | Path,
    settings: EvaluationSettings,
    references: str | Path | None = None,
) -> dict[str, Any]:
    """Measure one generations file into ``out_directory``: metrics.json, also returned, per_post.json, replies.jsonl.

    ``references`` is what stage `split` wrote of other people's replies to the test posts.
    metrics.json: {"posts", "samples", "metrics": {name: {"mean", "low", "high", "undefined_posts"}}, "human": {...},
    "failures": {kind: share of the replies that fail in this way, in [0, 1], null where none can be asked},
    "human_failures": {...}}.
    replies.jsonl, a line for each post: {"id", "post", "human": reply, "replies": [n replies]}, a reply being {"text",
    "engagement", "relevance", "well_formed", "passes", "failures": [kind, ...]}. A metric that is undefined for a post
    (say, distinct-3 of one-word replies) leaves that post out and counts it; one that is defined for fewer than two
    posts has null for a mean. Where the encoder does not know the script of a post or of a reply to it, what rests on
    it is undefined and a pass asks for the rest. Raises InputError for a malformed file and for k > n.
    """
    answered = read_generations(generations_path)
    if references is not None:
        answered = _with_references(answered, references)
    samples = len(answered[0].replies)
    check_ks(samples, settings.ks)
    ruler = open_ruler(judge_directory, encoder)
    posts, humans = [a.post for a in answered], [a.human for a in answered]
    encoder.embed(
        [*posts, *humans, *(text for a in answered for text in a.references)]
    )  # in company that is the same for every model: so are their last bits
    of_humans = ruler.rate(posts, humans, [True] * len(humans), encoder)
    each = [(a.post, reply, ended) for a in answered for reply, ended in zip(a.replies, a.ended, strict=True)]
    of_model = ruler.rate(*zip(*each, strict=True), encoder)
    sets = [of_model[start : start + samples] for start in range(0, len(of_model), samples)]
    per_post = set_metrics(answered, sets, ruler, encoder, settings)
    human: PerPost = {name: means([[reply[name]] for reply in of_humans]) for name in OF_REPLIES}
    human["pass_at_1"] = [float(ruler.pass_curve([reply])[0]) for reply in of_humans]
    human["words"] = [float(len(spaced_words(text))) for text in humans]
    measured = {
        "posts": len(answered),
        "samples": samples,
        "metrics": _summary(per_post, settings),
        "human": _summary(human, settings),
        "failures": shares(of_model),
        "human_failures": shares(of_humans),
    }
    by_post = {
        "posts": [a.id for a in answered],
        "samples": samples,
        "pass_curve": [ruler.pass_curve(replies).tolist() for replies in sets],
        "metrics": per_post,
        "human": human,
    }
    rows = [
        {"id": a.id, "post": a.post, "human": of_human, "replies": replies}
        | ({"context": a.context} if a.context else {})
        for a, of_human, replies in zip(answered, of_humans, sets, strict=True)
    ]
    with whole_directory(out_directory) as beside:
        write_json(beside / "metrics.json", measured)
        write_json(beside / "per_post.json", by_post)
        write_jsonl(beside / "replies.jsonl", rows)
    return measured


def _with_references(answered: Sequence[Answered], path: str | Path) -> list[Answered]:
    others = {row["id"]: tuple(row["replies"]) for row in read_objects(path)}
    if absent := [a.id for a in answered if a.id not in others]:
        raise bad(str(path), f"no line for {absent[0]}", "a line for each test post", "Run `dvc repro split generate`.")
    return [replace(a, references=others[a.id]) for a in answered]


def set_metrics(
    answered: Sequence[Answered],
    sets: Sequence[Sequence[Row]],
    ruler: Ruler,
    encoder: TextEncoder,
    settings: EvaluationSettings,
) -> PerPost:
    """Every metric of each post's set; means over the set's replies where a reply is what is measured."""
    vectors = encoder.embed([reply for a in answered for reply in a.replies]).reshape(len(answered), len(sets[0]), -1)
    of_texts = [
        metrics(_reply_set(a, rows, of, ruler, encoder)) for a, rows, of in zip(answered, sets, vectors, strict=True)
    ]
    per_post: PerPost = {name: [of_post[name] for of_post in of_texts] for name in of_texts[0]}
    per_post["cross_entropy"] = [a.cross_entropy for a in answered]
    for name in OF_REPLIES:
        per_post[name] = means([[reply[name] for reply in replies] for replies in sets])
    curves = [ruler.pass_curve(replies) for replies in sets]
    return per_post | {f"pass_at_{k}": [float(curve[k - 1]) for curve in curves] for k in settings.ks}


def means(values: Sequence[Sequence[float | None]]) -> list[float | None]:
    """The mean of each row (n,); None where a value is."""
    return [None if np.isnan(mean) else mean for mean in np.array(values, float).mean(axis=1).tolist()]


def _reply_set(
    answered: Answered, rows: Sequence[Row], vectors: np.ndarray, ruler: Ruler, encoder: TextEncoder
) -> ReplySet:
    """The set with all that its metrics look at; likeness to people where more than one replied."""
    post, replies, people = answered.post, answered.replies, [answered.human, *answered.references]
    n, near, among, read = len(replies), None, None, vectors if known(encoder, replies).all() else None
    ended = np.array(answered.ended, dtype=bool)  # one that was cut says nothing, alike or not
    if answered.references:
        seen = read is not None and known(encoder, people).all()
        of_all = np.concatenate([vectors, encoder.embed(people)]) if seen else None
        if (alike := ruler.alike(post, [*replies, *people], of_all)) is not None:
            near, among = alike[:n, n:] & ended[:, None], alike[n:, n:]
    classes = ruler.classes(post, replies, read)
    return ReplySet(
        post,
        answered.human,
        replies,
        read,
        classes=np.where(ended, classes, -1).tolist() if classes else (),
        utilities=[_utility(row) for row in rows],
        passes=[row["passes"] for row in rows],
        near=near,
        people=among,
    )


def _utility(reply: Row) -> float:
    """Its engagement within [0, 1]; 0 where it could not pass however well it engaged."""
    fails = not reply["well_formed"] or {"off_topic", "truncated"} & set(reply["failures"])
    return 0.0 if fails else min(max(reply["engagement"], 0.0), 1.0)


def _summary(metrics: PerPost, settings: EvaluationSettings) -> dict[str, Any]:
    found = {}
    for name, values in metrics.items():
        interval = interval_of(np.array([values], dtype=float), settings)  # None becomes NaN
        ends = asdict(interval) if interval else dict.fromkeys(("mean", "low", "high"))
        found[name] = ends | {"undefined_posts": sum(value is None for value in values)}
    return found


# --- files ------------------------------------------------------------------------------------------------------------


def read_generations(path: str | Path) -> list[Answered]:
    """Read ``results/generations/<model>/seed-<n>.jsonl``. Raises InputError naming every bad line.

    Every post has the same number n >= 2 of replies (a set of one has no diversity), and there are two posts or more
    (one has no interval).
    """
    rows = read_replies(
        path,
        what="replies of a model",
        remedy="Generate it again: `dvc repro generate`.",
        texts=("id", "post", "human"),
        numbers={"human_nll": 0, "human_tokens": 0},
        each={"ended": bool},
        once=True,
    )
    if len(rows) < 2:
        raise bad(str(path), f"{len(rows)} posts", "at least 2", "Raise split.test_pairs.")
    made = []
    for row in rows:
        nats, texts = row["human_nll"] / row["human_tokens"], (row["id"], row["post"], row["human"])
        made.append(Answered(*texts, tuple(row["replies"]), tuple(row["ended"]), nats, turns_of(row)))
    return made


def read_replies(
    path: str | Path,
    *,
    what: str,
    remedy: str,
    texts: Sequence[str],
    numbers: Mapping[str, float],
    each: Mapping[str, type],
    once: bool = False,
) -> list[Row]:
    """Rows with ``replies``, a list of n >= 2 texts, n the same in all. Raises InputError naming every bad line.

    ``texts`` are fields of text, ``numbers`` field -> what it must be above, ``each`` field -> the type (bool or float)
    of which it lists one for each reply. ``once`` asks for each id in one row alone.
    """
    counts: list[int] = []
    ids: dict[str, str] = {}

    def check(where: str, row: Row) -> Iterator[Problem]:
        replies = row.get("replies")
        holds = {name: (isinstance(row.get(name), str), "text") for name in texts}
        holds["context"] = (are_turns(row.get("context", [])), TURNS)
        for name, least in numbers.items():
            holds[name] = (_is(float, row.get(name)) and row[name] > least, f"a finite number above {least}")
        holds["replies"] = (isinstance(replies, list) and all(isinstance(r, str) for r in replies), "a list of texts")
        if holds["replies"][0]:
            for name, kind in each.items():
                values, expected = row.get(name), "true or false" if kind is bool else "finite numbers"
                fits = isinstance(values, list) and len(values) == len(replies) and all(_is(kind, v) for v in values)
                holds[name] = (fits, f"a list of {len(replies)} {expected}, one per reply")
            counts.append(len(replies))
        yield from wrong_fields(where, row, holds, remedy)
        if holds["replies"][0] and len(replies) != max(counts[0], 2):
            expected = f"{max(counts[0], 2)}, as many for every post and at least 2"
            yield Problem(f"{where}:replies", f"{len(replies)} replies", expected, remedy)
        if once and isinstance(row.get("id"), str) and (first := ids.setdefault(row["id"], where)) != where:
            yield Problem(f"{where}:id", f"{row['id']} again", f"each post once ({first} has it already)", remedy)

    return read_jsonl(path, check, what=what, remedy=remedy)


def _is(kind: type, value: Any) -> bool:
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    return isinstance(value, int | float) and bool(np.isfinite(value))


@dataclass(frozen=True, slots=True)
class Measured:
    """One model and seed, as :func:`evaluate` left it in per_post.json."""

    posts: tuple[str, ...]
    samples: int
    pass_curve: np.ndarray  # (posts, samples), Pass@1 to Pass@n
    metrics: Mapping[str, np.ndarray]  # (posts,), NaN where undefined
    human: Mapping[str, np.ndarray]


def read_per_post(path: str | Path) -> Measured:
    """Read per_post.json. Raises InputError when it is missing or does not hold what :func:`evaluate` writes."""
    value = read_json(path)
    try:
        arrays = {  # None becomes NaN
            part: {name: np.array(values, dtype=float) for name, values in value[part].items()}
            for part in ("metrics", "human")
        }
        shape = (len(value["posts"]),)
        if uneven := [name for part in arrays.values() for name, array in part.items() if array.shape != shape]:
            raise ValueError(f"{', '.join(uneven)} not aligned with the posts")
        curves = np.array(value["pass_curve"], dtype=float)
        if curves.shape != (*shape, value["samples"]):
            raise ValueError(f"pass_curve of shape {curves.shape}, not posts times samples")
        return Measured(tuple(value["posts"]), value["samples"], curves, **arrays)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        expected = "posts, samples, pass_curve, metrics and human"
        raise bad(str(path), f"{error}", expected, "Run `dvc repro --force` on the stage that makes it.") from error
