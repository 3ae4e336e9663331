"""The engagement judge: what a reply would have earned from the person it was for, and what counts as a pass.

Ridge regression (Hoerl and Kennard 1970) from the n-grams of post and reply to rank-normalised engagement. A text's
n-grams are its words, punctuation marks, beginning and end, alone and two in a row, in lower case, each present or
not, at unit length. The judge is fitted on conversations of its own (``judge.jsonl``); no reward and no arm ever sees
them or it, and the learned reward sees embeddings where the judge sees words. Its unit is a rank: 0.6 means "engages
more than 60% of the human replies that the judge learnt from". The thresholds of a pass are calibrated on the human
replies of the training phases (``full.jsonl``), never on the test set.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from polychrome.audience.world import World
from polychrome.engagement import ranks
from polychrome.engagement.ranks import Ranked
from polychrome.errors import bad
from polychrome.files import whole_directory
from polychrome.measures.encoder import TextEncoder, calibrating, relevance
from polychrome.measures.partition import same_class_threshold
from polychrome.measures.words import LANGUAGE, words_and_marks
from polychrome.pairs.schema import Pair, read_pairs

PENALTIES = (1.0, 3.0, 10.0, 30.0, 100.0)  # ridge penalties to choose from
MIN_PAIRS = 5  # of the judge's own that hold an n-gram; rarer ones are not looked at
ON_TOPIC_QUANTILE = 0.10  # of cosine(post, human reply)
SAME_CLASS_SHARE = 0.01  # of pairs of human replies to different posts that are as near as two of one class
SAME_CLASS_SHARES = (0.001, SAME_CLASS_SHARE, 0.05)  # whose cosines are reported
FEATURES = ("n-grams of the post", "n-grams of the reply")


def n_grams(text: str) -> set[str]:
    """Words, punctuation marks, ``^`` for the beginning and ``$`` for the end; alone, and two in a row."""
    tokens = ["^", *words_and_marks(text), "$"]
    return {*tokens, *(f"{one} {other}" for one, other in pairwise(tokens))}


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a well-formed reply must reach to pass."""

    on_topic: float | None  # cosine of post and reply; None: the encoder does not know the language
    engagement: float  # the judge's prediction
    same_class: float | None  # cosine of two replies to one post, from which on they are of one class; None: as above


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

    def contributions(self, replies: Sequence[str]) -> dict[str, float]:
        """N-gram of the reply -> what it adds to the mean prediction of ``replies``, n >= 1."""
        shares = np.asarray(_presence(replies, self.reply_grams).mean(axis=0)).ravel()
        return dict(zip(self.reply_grams, (shares * self.weights[len(self.post_grams) :]).tolist(), strict=True))

    def save(self, directory: str | Path) -> None:
        """Write ``judge.safetensors`` and ``judge.json`` (both or neither)."""
        grams = {"post": self.post_grams, "reply": self.reply_grams}
        about = {"features": FEATURES, "thresholds": asdict(self.thresholds), "n_grams": grams}
        with whole_directory(directory) as beside:
            ranks.save(beside, "judge", {"weights": self.weights, "intercept": np.array([self.intercept])}, about)

    @classmethod
    def open(cls, directory: str | Path) -> "Judge":
        """Open what :meth:`save` wrote. Raises InputError when a file is missing, damaged or of another version."""

        def build(about: dict[str, Any], tensors: dict[str, np.ndarray]) -> Judge:
            grams = tuple(about["n_grams"]["post"]), tuple(about["n_grams"]["reply"])
            if tensors["weights"].shape != (sum(map(len, grams)),):
                raise ValueError(f"{len(tensors['weights'])} weights for {sum(map(len, grams))} n-grams")
            thresholds = Thresholds(**about["thresholds"])
            return cls(*grams, tensors["weights"], float(tensors["intercept"][0]), thresholds)

        return ranks.opened(directory, "judge", FEATURES, build)


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
    own: Ranked,
    calibration_pairs: str | Path,
    encoder: TextEncoder,
    directory: str | Path,
    report_path: str | Path,
    pass_quantile: float,
) -> dict[str, Any]:
    """Fit on ``own``, calibrate and save the judge; write and return its report.

    A pass needs the ``pass_quantile`` of predicted engagement of human replies.
    Raises InputError when the two share a conversation.
    """
    phases = read_pairs(calibration_pairs)
    shared = sorted({pair.conversation for pair in own.pairs} & {pair.conversation for pair in phases})
    if shared:
        found = f"{len(shared)} conversations that {calibration_pairs} has too ({', '.join(shared[:3])}, ...)"
        remedy = "Run `dvc repro --force split`."
        raise bad(f"{own.where}:conversation", found, "conversations of the judge's own", remedy)
    judge, report = fit(own, phases, encoder, pass_quantile)
    judge.save(directory)
    return ranks.write_report(report_path, report, own.where)


def make_exact(own: Ranked, world: World, directory: str | Path, report_path: str | Path) -> dict[str, Any]:
    """Keep the ``world`` of which all is known in the judge's place; write and return its report.

    Nothing is fitted. The Spearman is that of the engagement generated for ``own`` with its expectation.
    """
    with whole_directory(directory) as beside:
        world.keep(beside)
    measured, _ = own.measured(world.worth(own.posts, own.replies))
    meaning = "exact, since this world says which readers like what; the rest is chance in who visits"
    report = {
        "pairs": len(own.pairs),
        "conversations": len(np.unique(own.conversations)),
        "on_topic_threshold": 1.0,
        "engagement_threshold": float(world.liked[world.liked > 0].min()),
        **measured,
        "verdict": own.verdict(measured, meaning),
    }
    return ranks.write_report(report_path, report, own.where)


def fit(
    own: Ranked, phases: Sequence[Pair], encoder: TextEncoder, pass_quantile: float
) -> tuple[Judge, dict[str, Any]]:
    """Fit on ``own``, calibrate on the human replies of ``phases``. Returns the judge and its report.

    The reported Spearman correlates engagement with predictions that each conversation got from a judge that saw
    neither the conversation nor, in choosing its penalty, the fold it is in (nested cross-validation).
    """
    judge = Judge(_frequent(own.posts), _frequent(own.replies), np.zeros(0), 0.0, Thresholds(0.0, 0.0, 1.0))
    features = judge.design(own.posts, own.replies)
    penalty, held_out = cross_validate(features, own.target, own.folds)
    ridge = _ridge(penalty).fit(features, own.target)
    judge = replace(judge, weights=ridge.coef_, intercept=float(ridge.intercept_))
    posts, replies = [pair.post for pair in phases], [pair.reply for pair in phases]
    cosine, predicted = relevance(posts, replies, encoder), judge.predict(posts, replies)
    thresholds, calibration = calibrated(phases, encoder, cosine, predicted, pass_quantile)
    judge = replace(judge, thresholds=thresholds)
    measured, _ = own.measured(held_out)
    meaning = (
        "the judge ranks unseen replies better than chance"
        if measured["spearman_low"] > 0
        else "no better than chance is established, so predicted engagement and passes mean little; give it more pairs"
    )
    if unknown := np.mean(np.isnan(cosine)):
        meaning += (
            f"; the encoder does not know the script of {unknown:.0%} of the calibration pairs: whether "
            "replies are on topic is not asked there, and relevance, semantic diversity and classes are "
            f"{LANGUAGE} (a multilingual encoder would know it: assets.encoder)"
        )
    return judge, {
        "pairs": len(own.pairs),
        "conversations": len(np.unique(own.conversations)),
        "calibration_pairs": len(phases),
        "n_grams": len(judge.weights),
        "penalty": penalty,
        **calibration,
        **measured,
        "ceiling": ranks.ceiling(own, held_out),
        "verdict": own.verdict(measured, meaning),
    }


def calibrated(
    phases: Sequence[Pair], encoder: TextEncoder, relevance: np.ndarray, predicted: np.ndarray, pass_quantile: float
) -> tuple[Thresholds, dict[str, Any]]:
    """What human replies to the posts of ``phases`` (n,) reach, given how relevant and engaging they are, each (n,).

    Returns the thresholds of a pass, and what the report says of them. Pairs whose scripts the encoder knows set those
    of cosines, which are None where these are too few.
    """
    posts, replies = [pair.post for pair in phases], [pair.reply for pair in phases]
    vectors, read = encoder.embed(replies), calibrating(encoder, posts, replies)
    on_topic, same, of_read = None, dict.fromkeys(SAME_CLASS_SHARES), [posts[i] for i in read]
    if len(read) == len(posts) or len(set(of_read)) > 1:
        on_topic = float(np.quantile(relevance[read], ON_TOPIC_QUANTILE))
        same = {share: same_class_threshold(vectors[read], of_read, 1 - share) for share in SAME_CLASS_SHARES}
    thresholds = Thresholds(on_topic, float(np.quantile(predicted, pass_quantile)), same[SAME_CLASS_SHARE])
    return thresholds, {
        "on_topic_threshold": thresholds.on_topic,
        "engagement_threshold": thresholds.engagement,
        "pass_quantile": pass_quantile,
        "same_class_thresholds": {f"{share:.1%}": threshold for share, threshold in same.items()},
    }


def _ridge(penalty: float) -> Any:
    from sklearn.linear_model import Ridge  # here, since only fitting needs it

    return Ridge(alpha=penalty, solver="sparse_cg", tol=1e-6)


def cross_validate(features: sparse.csr_matrix, target: np.ndarray, folds: np.ndarray) -> tuple[float, np.ndarray]:
    """Choose a penalty by squared error over ``folds`` (n,), and predict every row from outside its fold.

    Returns the penalty for a fit on all rows and the held-out predictions (n,). A fold's predictions use the penalty
    that did best among the other folds, so that not even the choice has seen it.
    """
    from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict

    def out_of_fold(rows: np.ndarray) -> np.ndarray:
        """Predictions (rows, penalties) of ``rows``, each from the other folds among them."""
        given = {"X": features[rows], "y": target[rows], "groups": folds[rows], "cv": LeaveOneGroupOut()}
        return np.stack([cross_val_predict(_ridge(penalty), **given) for penalty in PENALTIES], axis=1)

    def best(rows: np.ndarray, predicted: np.ndarray) -> int:
        return int(((predicted - target[rows, None]) ** 2).sum(axis=0).argmin())

    everything = np.arange(len(target))
    predicted, held_out = out_of_fold(everything), np.empty(len(target))
    for fold in np.unique(folds):
        others = np.flatnonzero(folds != fold)
        held_out[folds == fold] = predicted[folds == fold, best(others, out_of_fold(others))]
    return PENALTIES[best(everything, predicted)], held_out
