"""The engagement judge: what a reply would have earned from the person it was for, and what counts as a pass.

Ridge regression (Hoerl and Kennard 1970) from the sentence embeddings of post and reply and a few features of their
relation and surface to rank-normalised engagement. It is fitted on conversations of its own (``judge.jsonl``); no
reward and no arm ever sees them or it. Its unit is a rank: 0.6 means "engages more than 60% of the human replies that
the judge learnt from". The thresholds of a pass are calibrated on the human replies of the training phases
(``full.jsonl``), never on the test set.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from tqdm import tqdm

from polychrome.errors import bad
from polychrome.files import read_json, whole_directory, write_json
from polychrome.pairs.schema import Pair, read_pairs
from polychrome.randomness import numpy_generator

PENALTIES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)  # ridge penalties to choose from
FOLDS = 5  # of whole conversations
ON_TOPIC_QUANTILE = 0.10  # of cosine(post, human reply)
ENGAGEMENT_QUANTILE = 0.50  # of the judge's prediction for human replies
SURFACE = ("cosine", "log_reply_words", "reply_asks", "log_post_words", "post_asks")
_TENSORS = ("weights", "intercept", "centre", "scale", "low", "high")


class TextEncoder(Protocol):
    """Embeds texts; asked again for a text it has seen, it does not compute anew."""

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """(n, d), rows of unit length."""
        ...


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a well-formed reply must reach to pass."""

    on_topic: float  # cosine of post and reply
    engagement: float  # the judge's prediction


@dataclass(frozen=True, slots=True)
class Judge:
    """A fitted judge. Surface features are standardised, and held inside the range that the judge has seen."""

    weights: np.ndarray  # (2 d + len(SURFACE),)
    intercept: np.ndarray  # (1,)
    centre: np.ndarray  # (len(SURFACE),); likewise scale, low and high
    scale: np.ndarray
    low: np.ndarray
    high: np.ndarray
    thresholds: Thresholds

    def predict(self, posts: Sequence[str], replies: Sequence[str], encoder: TextEncoder) -> np.ndarray:
        """Predicted engagement (n,) of ``replies[i]`` to ``posts[i]``. Raises InputError for another encoder's size."""
        post_vectors, reply_vectors = encoder.embed(posts), encoder.embed(replies)
        features = self._features(posts, replies, post_vectors, reply_vectors)
        if features.shape[1] != len(self.weights):
            raise bad(
                "models/judge",
                f"embeddings of {post_vectors.shape[1]} numbers",
                f"{(len(self.weights) - len(SURFACE)) // 2}, as of the encoder that the judge was fitted with",
                "Run `dvc repro judge`.",
            )
        return features @ self.weights + self.intercept

    def _features(self, posts: Sequence[str], replies: Sequence[str], p: np.ndarray, r: np.ndarray) -> np.ndarray:
        held = np.clip(surface(posts, replies, p, r), self.low, self.high)
        return np.hstack([p, r, (held - self.centre) / self.scale]).astype(np.float64)

    def save(self, directory: str | Path) -> None:
        """Write ``judge.safetensors`` and ``judge.json`` (both or neither)."""
        with whole_directory(directory) as beside:
            tensors = {name: np.ascontiguousarray(getattr(self, name)) for name in _TENSORS}
            save_file(tensors, beside / "judge.safetensors")
            write_json(beside / "judge.json", {"surface": SURFACE, "thresholds": asdict(self.thresholds)})

    @classmethod
    def open(cls, directory: str | Path) -> Judge:
        """Open what :meth:`save` wrote. Raises InputError when a file is missing, damaged or of another version."""
        directory = Path(directory)
        about = read_json(directory / "judge.json")
        file = directory / "judge.safetensors"
        if not file.is_file():
            raise bad(str(file), "no such file", "the judge's weights", "Run `dvc repro judge`.")
        try:
            if tuple(about["surface"]) != SURFACE:
                raise ValueError(f"surface features {about['surface']}")
            tensors = load_file(file)
            return cls(**{name: tensors[name] for name in _TENSORS}, thresholds=Thresholds(**about["thresholds"]))
        except (KeyError, TypeError, ValueError, SafetensorError) as error:
            expected = f"a judge with surface features {', '.join(SURFACE)}"
            raise bad(str(directory), f"{error}", expected, "Run `dvc repro --force judge`.") from error


def surface(posts: Sequence[str], replies: Sequence[str], p: np.ndarray, r: np.ndarray) -> np.ndarray:
    """The features named in ``SURFACE``, (n, 5), from texts and their unit vectors ``p`` and ``r`` (n, d)."""
    cosine = np.einsum("nd,nd->n", p.astype(np.float64), r.astype(np.float64))
    columns: list[np.ndarray] = [cosine]
    for texts in (replies, posts):
        columns.append(np.log1p([len(text.split()) for text in texts]))
        columns.append(np.array(["?" in text for text in texts], dtype=np.float64))
    return np.stack(columns, axis=1)


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
    for start in tqdm(range(0, len(own + phases), 256), desc="embedding human pairs", unit="256 pairs"):
        encoder.embed([text for pair in (own + phases)[start : start + 256] for text in (pair.post, pair.reply)])
    judge, report = fit(
        own, phases, encoder, where=str(judge_pairs), resamples=resamples, confidence=confidence, seed=seed
    )
    judge.save(model_directory)
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
    target = _rank_normalised([pair.engagement for pair in own], where)
    conversations = np.unique([pair.conversation for pair in own], return_inverse=True)[1]
    folds = _folds(conversations, seed, where)
    posts, replies = [pair.post for pair in own], [pair.reply for pair in own]
    p, r = encoder.embed(posts), encoder.embed(replies)
    raw = surface(posts, replies, p, r)
    spread = raw.std(axis=0)
    draft = Judge(
        weights=np.zeros(0),
        intercept=np.zeros(1),
        centre=raw.mean(axis=0),
        scale=np.where(spread > 0, spread, 1.0),
        low=raw.min(axis=0),
        high=raw.max(axis=0),
        thresholds=Thresholds(0.0, 0.0),
    )
    features = draft._features(posts, replies, p, r)
    penalty, held_out = cross_validate(features, target, folds)
    weights, intercept = ridge_path(Moments.of(features, target), [penalty])
    judge = _with(draft, weights=weights[:, 0], intercept=intercept)
    judge = _with(judge, thresholds=calibrate(judge, phases, encoder))

    def interval(predicted: np.ndarray) -> tuple[float, float, float]:
        return spearman_interval(predicted, target, conversations, resamples, confidence, seed, where)

    report: dict[str, Any] = {
        "pairs": len(own),
        "conversations": len(set(conversations.tolist())),
        "calibration_pairs": len(phases),
        "penalty": penalty,
        "on_topic_threshold": judge.thresholds.on_topic,
        "engagement_threshold": judge.thresholds.engagement,
    }
    length = raw[:, SURFACE.index("log_reply_words")]
    for name, predicted in (("spearman", held_out), ("spearman_of_reply_length_alone", length)):
        report[name], report[f"{name}_low"], report[f"{name}_high"] = interval(predicted)
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
    cosine = relevance(posts, replies, encoder)
    predicted = judge.predict(posts, replies, encoder)
    return Thresholds(float(np.quantile(cosine, ON_TOPIC_QUANTILE)), float(np.quantile(predicted, ENGAGEMENT_QUANTILE)))


def relevance(posts: Sequence[str], replies: Sequence[str], encoder: TextEncoder) -> np.ndarray:
    """Cosine (n,) of each post and its reply."""
    p, r = encoder.embed(posts).astype(np.float64), encoder.embed(replies).astype(np.float64)
    return np.einsum("nd,nd->n", p, r)


# --- ridge regression -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums over rows that ridge regression needs. Those of disjoint rows add up: a fold is left out by subtraction."""

    rows: int
    x: np.ndarray  # (m,) sum of features
    y: float  # sum of targets
    xx: np.ndarray  # (m, m) sum of outer products
    xy: np.ndarray  # (m,)

    @classmethod
    def of(cls, features: np.ndarray, target: np.ndarray) -> Moments:
        """Moments of ``features`` (n, m) and ``target`` (n,)."""
        return cls(len(features), features.sum(0), float(target.sum()), features.T @ features, features.T @ target)

    def __sub__(self, part: Moments) -> Moments:
        return Moments(self.rows - part.rows, self.x - part.x, self.y - part.y, self.xx - part.xx, self.xy - part.xy)


def ridge_path(moments: Moments, penalties: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Ridge weights (m, L) and intercepts (L,) for L penalties, the intercept not penalised.

    Minimises |y - b - X w|^2 + penalty |w|^2: w = (Xc' Xc + penalty I)^-1 Xc' yc with centred Xc, yc, by one
    eigendecomposition for all penalties.
    """
    mean_x, mean_y = moments.x / moments.rows, moments.y / moments.rows
    values, vectors = np.linalg.eigh(moments.xx - moments.rows * np.outer(mean_x, mean_x))
    projected = vectors.T @ (moments.xy - moments.x * mean_y)
    weights = vectors @ (projected[:, None] / (np.maximum(values, 0)[:, None] + np.asarray(penalties)))
    return weights, mean_y - mean_x @ weights


def cross_validate(features: np.ndarray, target: np.ndarray, folds: np.ndarray) -> tuple[float, np.ndarray]:
    """Choose a penalty by squared error over ``folds`` (n,), and predict every row from outside its fold.

    Returns the penalty for a fit on all rows and the held-out predictions (n,). A fold's predictions use the penalty
    that did best among the other folds, so that not even the choice has seen it.
    """
    rows = [np.flatnonzero(folds == fold) for fold in range(int(folds.max()) + 1)]
    parts = [Moments.of(features[index], target[index]) for index in rows]
    everything = Moments.of(features, target)

    def predictions(left_out: tuple[int, ...]) -> Iterator[np.ndarray]:
        """For each fold left out: (rows of that fold, L), from a fit on the folds that stay."""
        moments = everything
        for fold in left_out:
            moments = moments - parts[fold]
        weights, intercepts = ridge_path(moments, PENALTIES)
        return (features[rows[fold]] @ weights + intercepts for fold in left_out)

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


def spearman_interval(
    predicted: np.ndarray,
    target: np.ndarray,
    conversations: np.ndarray,
    resamples: int,
    confidence: float,
    seed: int,
    where: str = "judge.jsonl",
) -> tuple[float, float, float]:
    """Spearman's correlation with a percentile bootstrap interval over conversations: (value, low, high).

    Raises InputError when a correlation is undefined because one side does not vary.
    """
    members = [np.flatnonzero(conversations == name) for name in np.unique(conversations)]
    generator = numpy_generator(seed, "judge", "bootstrap")

    def correlation(rows: np.ndarray) -> float:
        x, y = _mid_ranks(predicted[rows]), _mid_ranks(target[rows])
        if np.ptp(x) == 0 or np.ptp(y) == 0:
            expected = "both to vary in every resample, for a rank correlation to exist"
            raise bad(where, "engagement or predictions that hardly vary", expected, "Give the judge more pairs.")
        return float(np.corrcoef(x, y)[0, 1])

    value = correlation(np.arange(len(target)))
    resampled = [
        correlation(np.concatenate([members[i] for i in generator.integers(len(members), size=len(members))]))
        for _ in range(resamples)
    ]
    low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return value, float(low), float(high)


def _mid_ranks(values: Sequence[float] | np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata  # here, since whoever only asks a judge ranks nothing

    return rankdata(values)


def _rank_normalised(engagement: Sequence[float], where: str) -> np.ndarray:
    """Mid-ranks as shares of the pool, in (0, 1): ties share a rank, and the unit of the source drops out."""
    if len(set(engagement)) < 2:
        raise bad(f"{where}:engagement", f"{engagement[0]} throughout", "engagement that varies", "Check the source.")
    return (_mid_ranks(engagement) - 0.5) / len(engagement)


def _folds(conversations: np.ndarray, seed: int, where: str) -> np.ndarray:
    """A fold (n,) for each pair; a conversation is in one fold only."""
    count = int(conversations.max()) + 1
    if count < FOLDS:
        raise bad(where, f"{count} conversations", f"at least {FOLDS}, one a fold", "Raise split.judge_pairs.")
    return (numpy_generator(seed, "judge", "folds").permutation(count) % FOLDS)[conversations]


def _with(judge: Judge, **changes: Any) -> Judge:
    return Judge(**{**{name: getattr(judge, name) for name in (*_TENSORS, "thresholds")}, **changes})
