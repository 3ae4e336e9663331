"""The engagement judge: what a reply would have earned from the person it was for, and what counts as a pass.

Ridge regression (Hoerl and Kennard 1970) from the n-grams of post and reply to rank-normalised engagement. A text's
n-grams are its words, punctuation marks, beginning and end, alone and two in a row, in lower case, each present or
not, at unit length. The judge is fitted on conversations of its own (``judge.jsonl``); no reward and no arm ever sees
them or it, and the learned reward sees embeddings where the judge sees words. Its unit is a rank: 0.6 means "engages
more than 60% of the human replies that the judge learnt from". The thresholds of a pass are calibrated on the human
replies of the training phases (``full.jsonl``), never on the test set.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy import sparse

from polychrome.bootstrap import over_groups, percentiles
from polychrome.engagement.ranks import folds_of, rank_normalised, spearman
from polychrome.errors import bad
from polychrome.files import read_json, whole_directory, write_json
from polychrome.measures.encoder import TextEncoder, relevance
from polychrome.measures.words import spaced_words, words_and_marks
from polychrome.pairs.schema import Pair, read_pairs
from polychrome.randomness import numpy_generator

PENALTIES = (1.0, 3.0, 10.0, 30.0, 100.0)  # ridge penalties to choose from
FOLDS = 5  # of whole conversations
MIN_PAIRS = 5  # of the judge's own that hold an n-gram; rarer ones are not looked at
ON_TOPIC_QUANTILE = 0.10  # of cosine(post, human reply)
ENGAGEMENT_QUANTILE = 0.50  # of the judge's prediction for human replies
FEATURES = ("n-grams of the post", "n-grams of the reply")


def n_grams(text: str) -> set[str]:
    """Words, punctuation marks, ``^`` for the beginning and ``$`` for the end; alone, and two in a row."""
    tokens = ["^", *words_and_marks(text), "$"]
    return {*tokens, *(f"{one} {other}" for one, other in pairwise(tokens))}


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a well-formed reply must reach to pass."""

    on_topic: float  # cosine of post and reply
    engagement: float  # the judge's prediction


@dataclass(frozen=True, slots=True)
class Judge:
    """A fitted judge: a weight for every n-gram of the post and for every n-gram of the reply."""

    post_grams: tuple[str, ...]
    reply_grams: tuple[str, ...]
    weights: np.ndarray  # (len(post_grams) + len(reply_grams),)
    intercept: float
    thresholds: Thresholds

    def predict(self, posts: Sequence[str], replies: Sequence[str]) -> np.ndarray:
        """Predicted engagement (n,) of ``replies[i]`` to ``posts[i]``."""
        return self.design(posts, replies) @ self.weights + self.intercept

    def design(self, posts: Sequence[str], replies: Sequence[str]) -> sparse.csr_matrix:
        """Features (n, len(weights)): the n-grams present in post and in reply, each text's at unit length."""
        return sparse.hstack([_presence(posts, self.post_grams), _presence(replies, self.reply_grams)]).tocsr()

    def save(self, directory: str | Path) -> None:
        """Write ``judge.safetensors`` and ``judge.json`` (both or neither)."""
        with whole_directory(directory) as beside:
            tensors = {"weights": np.ascontiguousarray(self.weights), "intercept": np.array([self.intercept])}
            save_file(tensors, beside / "judge.safetensors")
            grams = {"post": self.post_grams, "reply": self.reply_grams}
            write_json(
                beside / "judge.json", {"features": FEATURES, "thresholds": asdict(self.thresholds), "n_grams": grams}
            )

    @classmethod
    def open(cls, directory: str | Path) -> Judge:
        """Open what :meth:`save` wrote. Raises InputError when a file is missing, damaged or of another version."""
        directory = Path(directory)
        about = read_json(directory / "judge.json")
        file = directory / "judge.safetensors"
        if not file.is_file():
            raise bad(str(file), "no such file", "the judge's weights", "Run `dvc repro judge`.")
        try:
            if tuple(about["features"]) != FEATURES:
                raise ValueError(f"features {about['features']}")
            tensors = load_file(file)
            grams = tuple(about["n_grams"]["post"]), tuple(about["n_grams"]["reply"])
            if tensors["weights"].shape != (sum(map(len, grams)),):
                raise ValueError(f"{len(tensors['weights'])} weights for {sum(map(len, grams))} n-grams")
            thresholds = Thresholds(**about["thresholds"])
            return cls(*grams, tensors["weights"], float(tensors["intercept"][0]), thresholds)
        except (KeyError, TypeError, ValueError, SafetensorError) as error:
            expected = f"a judge with features {', '.join(FEATURES)}"
            raise bad(str(directory), f"{error}", expected, "Run `dvc repro --force judge`.") from error


def _presence(texts: Sequence[str], grams: Sequence[str]) -> sparse.csr_matrix:
    """(n, len(grams)): 1 / sqrt(k) at the k of ``grams`` that a text has."""
    column = {gram: place for place, gram in enumerate(grams)}
    rows = [sorted(column[gram] for gram in n_grams(text) if gram in column) for text in texts]
    ends = np.cumsum([0, *map(len, rows)])
    values = np.repeat([len(row) ** -0.5 if row else 0.0 for row in rows], [len(row) for row in rows])
    columns = np.array([place for row in rows for place in row], dtype=np.int64)
    return sparse.csr_matrix((values, columns, ends), shape=(len(texts), len(grams)))


def _frequent(texts: Iterable[str]) -> tuple[str, ...]:
    counts = Counter(gram for text in texts for gram in n_grams(text))
    return tuple(sorted(gram for gram, count in counts.items() if count >= MIN_PAIRS))


def make_judge(
    judge_pairs: str | Path,
    calibration_pairs: str | Path,
    encoder: TextEncoder,
    model_directory: str | Path,
    report_path: str | Path,
    *,
    resamples: int,
    confidence: float,
    seed: int = 0,
) -> dict[str, Any]:
    """Fit, calibrate and save the judge; write and return its report.

    Raises InputError when the files share a conversation, or the judge's pairs cannot carry a fit.
    """
    own, phases = read_pairs(judge_pairs), read_pairs(calibration_pairs)
    shared = sorted({pair.conversation for pair in own} & {pair.conversation for pair in phases})
    if shared:
        raise bad(
            f"{judge_pairs}:conversation",
            f"{len(shared)} conversations that {calibration_pairs} has too ({', '.join(shared[:3])}, ...)",
            "conversations of the judge's own",
            "Run `dvc repro --force split`.",
        )
    judge, report = fit(
        own, phases, encoder, where=str(judge_pairs), resamples=resamples, confidence=confidence, seed=seed
    )
    judge.save(model_directory)
    digest = hashlib.sha256(Path(judge_pairs).read_bytes()).hexdigest()
    report |= {"trained_on": {"file": Path(judge_pairs).name, "sha256": digest}}
    write_json(report_path, report)
    return report


def fit(
    own: Sequence[Pair],
    phases: Sequence[Pair],
    encoder: TextEncoder,
    *,
    where: str = "judge.jsonl",
    resamples: int,
    confidence: float,
    seed: int = 0,
) -> tuple[Judge, dict[str, Any]]:
    """Fit on ``own``, calibrate on ``phases``. Returns the judge and its report.

    The reported Spearman correlates engagement with predictions that each conversation got from a judge that saw
    neither the conversation nor, in choosing its penalty, the fold it is in (nested cross-validation). Its interval
    resamples conversations.
    """
    target = rank_normalised([pair.engagement for pair in own], where)
    conversations = np.unique([pair.conversation for pair in own], return_inverse=True)[1]
    folds = folds_of(conversations, FOLDS, seed, "judge", where)
    posts, replies = [pair.post for pair in own], [pair.reply for pair in own]
    draft = Judge(_frequent(posts), _frequent(replies), np.zeros(0), 0.0, Thresholds(0.0, 0.0))
    features = draft.design(posts, replies)
    penalty, held_out = cross_validate(features, target, folds)
    weights, intercept = _ridge(features, target, penalty)
    judge = Judge(draft.post_grams, draft.reply_grams, weights, intercept, draft.thresholds)
    thresholds = calibrate(judge, phases, encoder)
    judge = Judge(draft.post_grams, draft.reply_grams, weights, intercept, thresholds)
    report: dict[str, Any] = {
        "pairs": len(own),
        "conversations": len(set(conversations.tolist())),
        "calibration_pairs": len(phases),
        "n_grams": len(weights),
        "penalty": penalty,
        "on_topic_threshold": thresholds.on_topic,
        "engagement_threshold": thresholds.engagement,
    }
    length = np.array([float(len(spaced_words(reply))) for reply in replies])
    for name, predicted in (("spearman", held_out), ("spearman_of_reply_length_alone", length)):

        def correlation(rows: np.ndarray, predicted: np.ndarray = predicted) -> float:
            return spearman(predicted[rows], target[rows], where)

        report[name] = correlation(np.arange(len(target)))
        resampled = over_groups(correlation, conversations, resamples, numpy_generator(seed, "judge", "bootstrap"))
        report[f"{name}_low"], report[f"{name}_high"] = percentiles(resampled, confidence)
    report["verdict"] = _verdict(report, confidence)
    return judge, report


def _verdict(report: dict[str, Any], confidence: float) -> str:
    value, low, high = (report[name] for name in ("spearman", "spearman_low", "spearman_high"))
    meaning = (
        "the judge ranks unseen replies better than chance"
        if low > 0
        else "no better than chance is established, so predicted engagement and passes mean little; give it more pairs"
    )
    return f"held-out Spearman {value:.3f}, {100 * confidence:g}% interval {low:.3f} to {high:.3f}: {meaning}"


def calibrate(judge: Judge, phases: Sequence[Pair], encoder: TextEncoder) -> Thresholds:
    """Thresholds from human replies: 10th percentile of cosine(post, reply), median of the judge's prediction."""
    posts, replies = [pair.post for pair in phases], [pair.reply for pair in phases]
    cosine, predicted = relevance(posts, replies, encoder), judge.predict(posts, replies)
    return Thresholds(float(np.quantile(cosine, ON_TOPIC_QUANTILE)), float(np.quantile(predicted, ENGAGEMENT_QUANTILE)))


def _ridge(features: sparse.csr_matrix, target: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    from sklearn.linear_model import Ridge  # here, since only fitting needs it

    model = Ridge(alpha=penalty, solver="sparse_cg", tol=1e-6).fit(features, target)
    return model.coef_, float(model.intercept_)


def cross_validate(features: sparse.csr_matrix, target: np.ndarray, folds: np.ndarray) -> tuple[float, np.ndarray]:
    """Choose a penalty by squared error over ``folds`` (n,), and predict every row from outside its fold.

    Returns the penalty for a fit on all rows and the held-out predictions (n,). A fold's predictions use the penalty
    that did best among the other folds, so that not even the choice has seen it.
    """
    rows = [np.flatnonzero(folds == fold) for fold in range(int(folds.max()) + 1)]

    def predictions(left_out: tuple[int, ...]) -> list[np.ndarray]:
        """For each fold left out: (rows of that fold, penalties), from fits on the folds that stay."""
        stay = ~np.isin(folds, left_out)
        fits = [_ridge(features[stay], target[stay], penalty) for penalty in PENALTIES]
        return [
            np.stack([features[rows[fold]] @ weights + intercept for weights, intercept in fits], axis=1)
            for fold in left_out
        ]

    def errors(predicted: np.ndarray, fold: int) -> np.ndarray:
        return ((predicted - target[rows[fold], None]) ** 2).sum(axis=0)

    inner = np.zeros((len(rows), len(PENALTIES)))  # [f]: error on the folds other than f, from fits that left out f too
    for one, other in combinations(range(len(rows)), 2):
        of_one, of_other = predictions((one, other))
        inner[other] += errors(of_one, one)
        inner[one] += errors(of_other, other)
    outer, held_out = np.zeros(len(PENALTIES)), np.empty(len(target))
    for fold, index in enumerate(rows):
        (predicted,) = predictions((fold,))
        outer += errors(predicted, fold)
        held_out[index] = predicted[:, inner[fold].argmin()]
    return PENALTIES[int(outer.argmin())], held_out
