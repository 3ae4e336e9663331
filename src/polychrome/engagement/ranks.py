"""Engagement as ranks, and how well predictions order it: what the learned reward and the judge have in common.

Engagement has the unit of its source; its rank among the pairs of the source has none. Whatever is reported is measured
on conversations held out, with intervals over conversations.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from polychrome.bootstrap import over_groups, percentiles
from polychrome.errors import bad
from polychrome.files import read_json, write_json
from polychrome.measures.words import spaced_words
from polychrome.pairs.schema import Pair
from polychrome.randomness import numpy_generator

FOLDS = 5  # of whole conversations
SEED = 0
GAP = 0.5  # of ranks in (0, 1), from which two replies engaged clearly differently
MOST = 50_000  # pairs compared
T = TypeVar("T")


@dataclass(frozen=True)
class Ranked:
    """The n pairs that the ``judge`` or the ``reward`` is fitted on, and how uncertainty is measured on them."""

    name: str  # of what is fitted; its random draws and its files are named so
    where: str  # the file of the pairs
    pairs: Sequence[Pair]
    posts: Sequence[str]
    replies: Sequence[str]
    target: np.ndarray  # (n,) mid-ranks of engagement as shares of the pool, in (0, 1)
    conversations: np.ndarray  # (n,) numbers
    folds: np.ndarray  # (n,) in [0, FOLDS), one for a conversation
    resamples: int
    confidence: float

    def resampled(self, statistic: Callable[[np.ndarray], Any], purpose: str = "", groups: Any = None) -> np.ndarray:
        """``statistic`` of the row numbers of each resample of whole conversations, or ``groups``: (resamples, ...)."""
        generator = numpy_generator(SEED, purpose or self.name, "bootstrap")
        return over_groups(statistic, self.conversations if groups is None else groups, self.resamples, generator)

    def measured(
        self, held_out: np.ndarray, **others: Callable[[np.ndarray], float]
    ) -> tuple[dict[str, Any], np.ndarray]:
        """Spearman of ``held_out`` predictions (n,) and of length alone, accuracies, and ``others`` of row numbers.

        Returns each as ``name``, ``name_low`` and ``name_high``, and the resampled values (resamples, 2 + others).
        """
        length = np.array([float(len(spaced_words(reply))) for reply in self.replies])
        statistics = {
            "spearman": lambda rows: spearman(held_out[rows], self.target[rows], self.where),
            "spearman_of_reply_length_alone": lambda rows: spearman(length[rows], self.target[rows], self.where),
            **{name: accuracy(two, held_out, self.target) for name, two in compared(self).items()},
            **others,
        }
        resampled = self.resampled(lambda rows: [statistic(rows) for statistic in statistics.values()])
        found: dict[str, Any] = {}
        for (name, statistic), values in zip(statistics.items(), resampled.T, strict=True):
            found[name] = statistic(np.arange(len(self.pairs)))
            found[f"{name}_low"], found[f"{name}_high"] = percentiles(values[~np.isnan(values)], self.confidence)
        return found, resampled

    def verdict(self, report: Mapping[str, float], meaning: str) -> str:
        """One line: the correlation, its interval and what it means."""
        value, low, high = (report[name] for name in ("spearman", "spearman_low", "spearman_high"))
        return f"held-out Spearman {value:.3f}, {100 * self.confidence:g}% interval {low:.3f} to {high:.3f}: {meaning}"


def ranked(pairs: Sequence[Pair], name: str, resamples: int, confidence: float, where: str | Path = "") -> Ranked:
    """The ``pairs``, ranked and dealt to folds. InputError when engagement does not vary, or for few conversations."""
    from scipy.stats import rankdata  # here, since whoever only predicts ranks nothing

    where = str(where) or f"{name}.jsonl"
    engagement = [pair.engagement for pair in pairs]
    if len(set(engagement)) < 2:
        raise bad(f"{where}:engagement", f"{engagement[0]} throughout", "engagement that varies", "Check the source.")
    conversations = np.unique([pair.conversation for pair in pairs], return_inverse=True)[1]
    count = int(conversations.max()) + 1
    if count < FOLDS:
        remedy = f"Raise split.{name}_pairs."
        raise bad(where, f"{count} conversations", f"at least {FOLDS}, one per fold", remedy)
    folds = (numpy_generator(SEED, name, "folds").permutation(count) % FOLDS)[conversations]
    target = (rankdata(engagement) - 0.5) / len(engagement)
    posts, replies = [pair.post for pair in pairs], [pair.reply for pair in pairs]
    return Ranked(name, where, pairs, posts, replies, target, conversations, folds, resamples, confidence)


def spearman(predicted: np.ndarray, target: np.ndarray, where: str) -> float:
    """Spearman's correlation of two arrays (n,). Raises InputError when one of them does not vary."""
    from scipy.stats import rankdata

    x, y = rankdata(predicted), rankdata(target)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        expected = "both to vary in every resample, for a rank correlation to exist"
        raise bad(where, "engagement or predictions that hardly vary", expected, "Give it more pairs.")
    return float(np.corrcoef(x, y)[0, 1])


def compared(own: Ranked) -> dict[str, np.ndarray]:
    """Name of an accuracy -> the rows (m, 2) that it compares, which differ in engagement; none of fewer than ten.

    Any two; those at least :data:`GAP` apart in rank; within a post, and one person's neighbouring turns, where who
    reads and what about is held fast (Gao et al. 2020, DialogRPT, arXiv 2009.06978; Ethayarajh et al. 2022, SHP). Of
    any two, and of a post's, :data:`MOST` are drawn where there are more.
    """
    n, generator = len(own.pairs), numpy_generator(SEED, own.name, "compared")
    every = n * (n - 1) // 2
    any_two = np.stack(np.triu_indices(n, 1), axis=1) if every <= MOST else generator.integers(n, size=(MOST, 2))
    by_post: Mapping[str, list[int]] = defaultdict(list)
    for row, post in enumerate(own.posts):
        by_post[post].append(row)
    within = np.array([two for rows in by_post.values() for two in combinations(rows, 2)], dtype=int).reshape(-1, 2)
    if len(within) > MOST:
        within = within[generator.choice(len(within), size=MOST, replace=False)]
    far = np.abs(np.diff(own.target[any_two], axis=1)[:, 0]) >= GAP
    found = {
        "pairwise_accuracy": any_two,
        "pairwise_accuracy_far": any_two[far],
        "pairwise_accuracy_within_post": within,
        "pairwise_accuracy_within_person": neighbours(own.pairs),
    }
    differ = {name: two[own.target[two[:, 0]] != own.target[two[:, 1]]] for name, two in found.items()}
    return {name: two for name, two in differ.items() if len(two) >= 10}


def accuracy(two: np.ndarray, predicted: np.ndarray, target: np.ndarray) -> Callable[[np.ndarray], float]:
    """Of the row numbers of a resample: how often the more engaging of ``two`` (m, 2) rows has the higher prediction.

    Half a point where predictions are tied, so 0.5 is chance; rows drawn twice count twice. NaN where none is left.
    """
    right = 0.5 + 0.5 * np.sign(np.diff(predicted[two], axis=1) * np.diff(target[two], axis=1))[:, 0]

    def of(rows: np.ndarray) -> float:
        counts = np.bincount(rows, minlength=len(target))
        weights = counts[two[:, 0]] * counts[two[:, 1]]
        return float(weights @ right / total) if (total := weights.sum()) else float("nan")

    return of


def neighbours(pairs: Sequence[Pair]) -> np.ndarray:
    """Rows (m, 2) of neighbouring turns of one person in one conversation: ids ``<conversation>:<place>``, two on."""
    places: Mapping[str, dict[int, int]] = defaultdict(dict)
    for row, pair in enumerate(pairs):
        name, _, place = pair.id.rpartition(":")
        if name == pair.conversation and place.isdecimal():
            places[name][int(place)] = row
    return np.array(
        [(rows[place], rows[place + 2]) for rows in places.values() for place in sorted(rows) if place + 2 in rows],
        dtype=int,
    ).reshape(-1, 2)


def ceiling(own: Ranked, held_out: np.ndarray) -> dict[str, Any]:
    """How well engagement agrees with itself: Spearman between neighbouring turns of one person in one conversation.

    Engagement is one reading of one person at one moment. What does not last until that person's next turn is not all
    noise (the reply may have caused it), but what lasts can be no more than this, and a predictor of what lasts
    reaches at most the square root of the agreement (attenuation, Spearman 1904, doi 10.2307/1412159). ``neighbours``
    0 and no value where the source has no turns in order, that is, ids other than ``<conversation>:<place>``.
    """
    two = neighbours(own.pairs)
    if len(two) < 10:
        return {"neighbours": len(two), "note": "too few neighbouring turns of one person to correlate"}

    def agreement(rows: np.ndarray) -> float:
        return spearman(own.target[two[rows, 0]], own.target[two[rows, 1]], own.where)

    value = agreement(np.arange(len(two)))
    groups = np.unique(own.conversations[two[:, 0]], return_inverse=True)[1]
    low, high = percentiles(own.resampled(agreement, f"{own.name} ceiling", groups), own.confidence)
    found = {"neighbours": len(two), "agreement": value, "low": low, "high": high}
    if low <= 0:
        return found | {"note": "no agreement is established, so there is no ceiling to compute from it"}
    return found | {
        "ceiling_of_what_lasts": float(np.sqrt(value)),
        "ceiling_low": float(np.sqrt(low)),
        "ceiling_high": float(np.sqrt(high)),
        "share_reached": spearman(held_out, own.target, own.where) / float(np.sqrt(value)),
    }


# --- files ------------------------------------------------------------------------------------------------------------


def save(directory: Path, name: str, tensors: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Write ``<name>.safetensors`` and ``<name>.json`` into ``directory``, which must exist."""
    arrays = {key: np.ascontiguousarray(tensor) for key, tensor in tensors.items()}
    save_file(arrays, directory / f"{name}.safetensors")
    write_json(directory / f"{name}.json", about)


def opened(directory: str | Path, name: str, features: Sequence[str], build: Callable[[Any, Any], T]) -> T:
    """What ``build(about, tensors)`` makes of what :func:`save` wrote.

    Raises InputError when a file is missing, or damaged, or of a version with other ``features``.
    """
    about, file = read_json(Path(directory) / f"{name}.json"), Path(directory) / f"{name}.safetensors"
    if not file.is_file():
        raise bad(str(file), "no such file", "the weights of the fit", f"Run `dvc repro {name}`.")
    try:
        if tuple(about["features"]) != tuple(features):
            raise ValueError(f"other features: {about['features']}")
        return build(about, load_file(file))
    except (KeyError, TypeError, ValueError, SafetensorError) as error:
        expected = f"a {name} with the features of this version, {', '.join(features[:5])}"
        raise bad(str(directory), error, expected, f"Run `dvc repro --force {name}`.") from error


def write_report(path: str | Path, report: dict[str, Any], trained_on: str) -> dict[str, Any]:
    """Write and return ``report``, with the file that was trained on and its SHA-256."""
    digest = hashlib.sha256(Path(trained_on).read_bytes()).hexdigest()
    report = report | {"trained_on": {"file": Path(trained_on).name, "sha256": digest}}
    write_json(path, report)
    return report
