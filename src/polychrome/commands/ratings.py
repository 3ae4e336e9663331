"""What people answered on a page of `polychrome rate`: read, unblinded, and set beside the judge."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from polychrome import paths
from polychrome.errors import Problem, Problems, bad
from polychrome.files import read_json, read_objects
from polychrome.randomness import numpy_generator, seed_for

if TYPE_CHECKING:
    from polychrome.evaluation.settings import EvaluationSettings

VERSION = 1
ANSWERS = {"left": 1.0, "tie": 0.5, "right": 0.0}
SAME = ("a", "b", "seed", "replies", "page")  # of all files that are reported together
_APART = "Report them separately."
_REMEDY = "Save the answers again, on a page that `polychrome rate` made."


def a_is_left(seed: int, post: str) -> bool:
    """Whether model a's set stands on the left: by chance, which the page knows nothing of."""
    return seed_for(seed, "rate", "side", post) % 2 == 0


def shown(seed: int, post: str, there: int, count: int) -> list[int]:
    """Which of ``there`` replies of a set are shown, in which order: ``count`` by chance, all for 0."""
    return numpy_generator(seed, "rate", "replies", post).permutation(there)[: count or None].tolist()


def read_ratings(files: Sequence[str]) -> list[dict[str, Any]]:
    """What the pages saved, a file a person. Raises InputError for files that are not that, or of different pages."""
    read, problems = [], Problems()
    for file in files:
        with problems.caught():
            value = read_json(file, "answers saved by a page of `polychrome rate`", _REMEDY)
            found = list(_problems(file, value)) or [
                Problem(f"{file}:{key}", repr(value[key]), f"{read[0][key]!r}, as in {files[0]}", _APART)
                for key in SAME
                if read and value[key] != read[0][key]
            ]
            problems.extend(found)
            if not found:
                read.append(value)
    problems.raise_any()
    return read


def _problems(file: str, value: Any) -> Iterator[Problem]:
    keys = {"version": int, "a": str, "b": str, "seed": int, "replies": int, "page": str, "answers": dict}
    if not isinstance(value, dict) or any(not isinstance(value.get(key), kind) for key, kind in keys.items()):
        yield Problem(file, "other JSON", f"an object with {', '.join(keys)}", _REMEDY)
    elif value["version"] != VERSION:
        yield Problem(f"{file}:version", str(value["version"]), str(VERSION), "Make the page again.")
    else:
        for side in "ab":
            if not re.fullmatch(r"\w+/seed-\d+", value[side]):
                yield Problem(f"{file}:{side}", repr(value[side]), "<arm>/seed-<n>", _REMEDY)
        if not value["answers"]:
            yield Problem(f"{file}:answers", "none", "one answer or more", "Answer on the page, then save.")
        for post, answer in value["answers"].items():
            if answer not in ANSWERS:
                yield Problem(f"{file}:answers.{post}", repr(answer), " or ".join(ANSWERS), _REMEDY)


def summary(ratings: Sequence[Mapping[str, Any]], settings: "EvaluationSettings") -> dict[str, Any]:
    """How often a's set is preferred, ties half, with an interval over posts (and people), and the judge's agreement.

    Looked at are posts that everybody answered. Raises InputError with fewer than two of them, and when what the judge
    said of the replies that were shown is not at hand.
    """
    from polychrome.bootstrap import estimate
    from polychrome.evaluation.statistics import interval_of, kappa_of_signs, wilcoxon

    first = ratings[0]
    posts = [post for post in first["answers"] if all(post in one["answers"] for one in ratings)]
    if len(posts) < 2:
        raise bad("the ratings", f"{len(posts)} posts that everybody answered", "two or more", "Answer more posts.")
    left = np.array([a_is_left(first["seed"], post) for post in posts])
    said = np.array([[ANSWERS[one["answers"][post]] for post in posts] for one in ratings])
    scores = np.where(left, said, 1 - said)  # (people, posts): 1 where a's set is preferred
    prefers = interval_of(scores, settings)
    judge = _judged(first, "a", posts) - _judged(first, "b", posts)
    p, _ = wilcoxon(scores.mean(axis=0) - 0.5)

    def found(statistic: Any) -> dict[str, float | None] | None:
        generator = numpy_generator(first["seed"], "rate", "bootstrap", *scores.shape)
        arrays = [scores - 0.5, np.broadcast_to(judge, scores.shape)]
        return estimate(statistic, arrays, settings.bootstrap, settings.confidence, generator)

    about = {key: first[key] for key in ("a", "b", "replies")}
    counts = {name: int((scores == score).sum()) for name, score in (("a", 1.0), ("tie", 0.5), ("b", 0.0))}
    about |= {"people": len(ratings), "posts": len(posts), "answers": counts, "confidence": settings.confidence, "p": p}
    share = prefers and {"value": prefers.mean, "low": prefers.low, "high": prefers.high}
    return about | {"prefers_a": share, "judge_agrees": found(_agreement), "judge_kappa": found(kappa_of_signs)}


def _agreement(scores: np.ndarray, judge: np.ndarray) -> float:
    """Share of the answers (n,) that are no tie in which the judge prefers the same set, NaN without any."""
    decided = (scores != 0) & (judge != 0)
    return float(np.mean((scores > 0)[decided] == (judge > 0)[decided])) if decided.any() else float("nan")


def _judged(rating: Mapping[str, Any], side: str, posts: Sequence[str]) -> np.ndarray:
    """Mean predicted engagement (posts,) of the replies that the page showed of one model."""
    arm, _, seed = rating[side].partition("/seed-")
    path = paths.evaluation_dir(arm, int(seed)) / "replies.jsonl"
    rows = {row["id"]: row for row in read_objects(path)}
    if absent := [post for post in posts if post not in rows]:
        raise bad(str(path), f"no post {absent[0]!r}", "the posts that were rated", "Run this where the page was made.")
    means = []
    for post in posts:
        engagement = [reply["engagement"] for reply in rows[post]["replies"]]
        means.append(np.mean([engagement[i] for i in shown(rating["seed"], post, len(engagement), rating["replies"])]))
    return np.array(means)


def in_words(result: Mapping[str, Any]) -> str:
    """The finding in a few sentences."""
    a, b, counts, confidence = (result[key] for key in ("a", "b", "answers", "confidence"))
    share, low, high = result["prefers_a"].values()
    words = f"no preference for {a} or {b} is shown"
    if result["p"] < 1 - confidence and not low <= 0.5 <= high:
        words = f"the sets of {a if share > 0.5 else b} are preferred to those of {b if share > 0.5 else a}"
    interval = f"{100 * confidence:g}% interval"
    people = f"{result['people']} people" if result["people"] > 1 else "one person"
    lines = [
        f"{words}: those of {a} in {share:.0%} of answers, ties half ({interval} {low:.0%} to {high:.0%}, "
        f"p = {result['p']:.3f})",
        f"{people}, {result['posts']} posts, {result['replies']} replies of each set: {counts['a']} for {a}, "
        f"{counts['b']} for {b}, {counts['tie']} ties",
    ]
    agrees, kappa = result["judge_agrees"], result["judge_kappa"]
    if agrees is None:
        return "\n".join([*lines, "agreement with the judge is undefined: people or judge see a tie everywhere"])
    between = "" if agrees["low"] is None else f" ({interval} {agrees['low']:.0%} to {agrees['high']:.0%})"
    beyond = "" if kappa is None else f", kappa {kappa['value']:.2f}"
    return "\n".join([*lines, f"the judge prefers the same set in {agrees['value']:.0%} of them{between}{beyond}"])
