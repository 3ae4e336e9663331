"""Training the learned reward, and saying how far it can be believed.

The head is linear, fitted by rank regression (squared error on rank-normalised engagement, scikit-learn's
SGDRegressor), stopped when conversations it does not learn from are no longer predicted better. Surface features are
standardised, embeddings are not: their hundreds of numbers together would outweigh the few that say most. Everything
that is reported comes from cross-fitting: the conversations are dealt to five folds, and each is predicted by a head
that learnt from three others and was stopped by the fourth.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from polychrome.bootstrap import over_groups, percentiles
from polychrome.engagement.learned import FEATURES, OF_TEXTS, Head, features, save
from polychrome.engagement.ranks import folds_of, rank_normalised, spearman
from polychrome.engagement.settings import FitSettings
from polychrome.errors import bad
from polychrome.files import whole_directory, write_json
from polychrome.measures.encoder import TextEncoder
from polychrome.measures.words import spaced_words
from polychrome.pairs.schema import Pair, read_pairs
from polychrome.randomness import numpy_generator, seed_for

FOLDS = 5
BINS = 10  # of the calibration curve
EMBEDDING_SCALE = 1 / 3  # an embedding has length 1; its numbers count as if it had length 3


def make_reward_model(
    pairs_path: str | Path,
    encoder: TextEncoder,
    directory: str | Path,
    report_path: str | Path,
    settings: FitSettings,
    *,
    resamples: int,
    confidence: float,
    seed: int = 0,
) -> dict[str, Any]:
    """Train and save the learned reward of ``pairs_path``; write and return its report.

    Raises InputError when the pairs cannot carry a fit: engagement that does not vary, too few conversations.
    """
    pairs = read_pairs(pairs_path)
    head, report = fit(
        pairs, encoder, settings, where=str(pairs_path), resamples=resamples, confidence=confidence, seed=seed
    )
    about = {"pairs": len(pairs), "conversations": report["conversations"], "settings": asdict(settings)}
    with whole_directory(directory) as beside:
        save(head, beside, about, _card(report, pairs_path))
    digest = hashlib.sha256(Path(pairs_path).read_bytes()).hexdigest()
    report |= {"trained_on": {"file": Path(pairs_path).name, "sha256": digest}}
    write_json(report_path, report)
    return report


def fit(
    pairs: Sequence[Pair],
    encoder: TextEncoder,
    settings: FitSettings,
    *,
    where: str = "reward.jsonl",
    resamples: int,
    confidence: float,
    seed: int = 0,
) -> tuple[Head, dict[str, Any]]:
    """The head, fitted on all but the stopping fold, and the report of what cross-fitting measured."""
    target = rank_normalised([pair.engagement for pair in pairs], where)
    conversations = np.unique([pair.conversation for pair in pairs], return_inverse=True)[1]
    folds = folds_of(conversations, FOLDS, seed, "reward", where)
    posts, replies = [pair.post for pair in pairs], [pair.reply for pair in pairs]
    x = features(posts, replies, encoder.embed(posts), encoder.embed(replies))
    held_out = np.empty(len(pairs))
    for fold in range(FOLDS):
        stopping, left_out = folds == (fold + 1) % FOLDS, folds == fold
        held_out[left_out] = 0.5 + _head(x, target, ~stopping & ~left_out, stopping, settings, seed).score(x[left_out])
    head = _head(x, target, folds != 0, folds == 0, settings, seed)
    length = np.array([float(len(spaced_words(reply))) for reply in replies])
    measured = Measured(target, held_out, length, conversations, resamples, confidence, seed, where)
    report = {
        "pairs": len(pairs),
        "conversations": len(set(conversations.tolist())),
        "held_out_pairs": len(pairs),
        **measured.report(),
        "ceiling": ceiling(pairs, target, measured),
    }
    return head, report | {"verdict": _verdict(report, confidence)}


def _head(
    x: np.ndarray, target: np.ndarray, learns: np.ndarray, stops: np.ndarray, settings: FitSettings, seed: int
) -> Head:
    """A head fitted on the rows ``learns`` (n,) with early stopping on the rows ``stops``."""
    spread = x[learns].std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    scale[: -len(OF_TEXTS) - 1] = EMBEDDING_SCALE
    draft = Head(x[learns].mean(axis=0), scale, np.zeros(x.shape[1]), np.array([0.0, 1.0]))
    z = draft.scaled(x)
    scores = z @ (weights := _trained(z, target - 0.5, learns, stops, settings, seed))
    normal = np.array([scores[learns].mean(), max(float(scores[learns].std()), 1e-12)])
    return replace(draft, weights=weights, normal=normal)


def _trained(
    z: np.ndarray, target: np.ndarray, learns: np.ndarray, stops: np.ndarray, settings: FitSettings, seed: int
) -> np.ndarray:
    """Weights (m,) of the epoch that predicts the rows ``stops`` best."""
    from sklearn.linear_model import SGDRegressor  # here, since only fitting needs it

    model = SGDRegressor(
        alpha=settings.penalty,
        learning_rate="constant",
        eta0=settings.learning_rate,
        random_state=seed_for(seed, "reward", "head") % 2**32,
    )
    errors: list[float] = []
    kept = np.zeros(z.shape[1])
    for _ in range(settings.epochs):
        try:
            model.partial_fit(z[learns], target[learns])
        except ValueError as error:  # scikit-learn's word for weights that left the range of floats
            where = "params.yaml:reward.learned.learning_rate"
            expected = "a rate at which the fit converges"
            raise bad(where, f"{settings.learning_rate:g}: {error}", expected, "Lower it.") from error
        errors.append(float(((model.predict(z[stops]) - target[stops]) ** 2).mean()))
        if errors[-1] == min(errors):
            kept = model.coef_.copy()
        if len(errors) - 1 - int(np.argmin(errors)) >= settings.patience:
            break
    return kept


# --- what is reported -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """Held-out predictions beside engagement, and how to measure the uncertainty of what is said of them."""

    target: np.ndarray  # (n,) ranks of engagement in (0, 1)
    held_out: np.ndarray  # (n,) ranks as regression predicts them, 0.5 + s
    length: np.ndarray  # (n,) words of the reply
    conversations: np.ndarray  # (n,) numbers
    resamples: int
    confidence: float
    seed: int
    where: str

    def report(self) -> dict[str, Any]:
        """Spearman, that of length alone, their difference, pairwise accuracy, calibration, error by quartile."""
        everything = np.arange(len(self.target))

        def statistics(rows: np.ndarray) -> tuple[float, float, float]:
            target = self.target[rows]
            own, of_length = (spearman(values[rows], target, self.where) for values in (self.held_out, self.length))
            return own, of_length, pairwise_accuracy(self.held_out[rows], target)

        value = statistics(everything)
        resampled = over_groups(
            statistics, self.conversations, self.resamples, numpy_generator(self.seed, "reward", "bootstrap")
        )
        report: dict[str, Any] = {}
        for place, name in enumerate(("spearman", "spearman_of_reply_length_alone", "pairwise_accuracy")):
            report[name] = value[place]
            report[f"{name}_low"], report[f"{name}_high"] = percentiles(resampled[:, place], self.confidence)
        gain = resampled[:, 0] - resampled[:, 1]
        report["gain_over_length"] = value[0] - value[1]
        report["gain_over_length_low"], report["gain_over_length_high"] = percentiles(gain, self.confidence)
        tail = min(np.mean(gain <= 0), np.mean(gain >= 0))
        report["p_against_length"] = min(1.0, 2 * (tail * self.resamples + 1) / (self.resamples + 1))
        report["calibration"] = self._calibration()
        error = np.abs(self.held_out - self.target)
        quartile = np.minimum((self.target * 4).astype(int), 3)
        in_quartile = [error[quartile == q] for q in range(4)]
        report["error_by_quartile"] = [float(errors.mean()) if len(errors) else None for errors in in_quartile]
        return report

    def _calibration(self) -> list[dict[str, float]]:
        """Mean prediction and mean actual rank of each tenth of the predictions."""
        bins = np.array_split(np.argsort(self.held_out, kind="stable"), min(BINS, len(self.held_out)))
        of_row = np.empty(len(self.held_out), dtype=int)
        for place, rows in enumerate(bins):
            of_row[rows] = place

        def means(rows: np.ndarray) -> np.ndarray:
            counts = np.bincount(of_row[rows], minlength=len(bins))
            sums = np.bincount(of_row[rows], weights=self.target[rows], minlength=len(bins))
            return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)

        resampled = over_groups(
            means, self.conversations, self.resamples, numpy_generator(self.seed, "reward calibration", "bootstrap")
        )
        curve = []
        for place, rows in enumerate(bins):
            drawn = resampled[:, place]
            low, high = percentiles(drawn[~np.isnan(drawn)], self.confidence)
            curve.append(
                {
                    "predicted": float(self.held_out[rows].mean()),
                    "actual": float(self.target[rows].mean()),
                    "low": low,
                    "high": high,
                    "pairs": len(rows),
                }
            )
        return curve


def pairwise_accuracy(predicted: np.ndarray, target: np.ndarray) -> float:
    """How often the more engaging of two pairs has the higher prediction, over all two that differ in engagement.

    Half a point where the predictions are tied. (Kendall's tau-b's concordant share; 0.5 is chance.)
    """
    from scipy.stats import kendalltau

    tau = kendalltau(predicted, target, variant="b").statistic
    n = len(target)
    every = n * (n - 1) / 2
    tied_x, tied_y = _tied(predicted), _tied(target)
    difference = tau * np.sqrt((every - tied_x) * (every - tied_y))  # concordant minus discordant
    return float(0.5 + 0.5 * difference / (every - tied_y))


def _tied(values: np.ndarray) -> float:
    counts = np.unique(values, return_counts=True)[1]
    return float((counts * (counts - 1) / 2).sum())


def ceiling(pairs: Sequence[Pair], target: np.ndarray, measured: Measured) -> dict[str, Any]:
    """How well engagement agrees with itself: Spearman between neighbouring turns of one person in one conversation.

    Engagement is one reading of one person at one moment. What does not last until that person's next turn is not all
    noise (the reply may have caused it), but what lasts can be no more than this, and a predictor of what lasts
    reaches at most the square root of the agreement (attenuation, Spearman 1904, doi 10.2307/1412159). ``neighbours``
    0 and no value where the source has no turns in order, that is, ids other than ``<conversation>:<place>``.
    """
    places: Mapping[str, dict[int, int]] = defaultdict(dict)
    for row, pair in enumerate(pairs):
        name, _, place = pair.id.rpartition(":")
        if name == pair.conversation and place.isdecimal():
            places[name][int(place)] = row
    two = np.array(
        [(rows[place], rows[place + 2]) for rows in places.values() for place in sorted(rows) if place + 2 in rows]
    ).reshape(-1, 2)
    if len(two) < 10:
        return {"neighbours": len(two), "note": "too few neighbouring turns of one person to correlate"}
    groups = np.unique(measured.conversations[two[:, 0]], return_inverse=True)[1]

    def agreement(rows: np.ndarray) -> float:
        return spearman(target[two[rows, 0]], target[two[rows, 1]], measured.where)

    value = agreement(np.arange(len(two)))
    resampled = over_groups(
        agreement, groups, measured.resamples, numpy_generator(measured.seed, "reward ceiling", "bootstrap")
    )
    low, high = percentiles(resampled, measured.confidence)
    found = {"neighbours": len(two), "agreement": value, "low": low, "high": high}
    if low <= 0:
        return found | {"note": "no agreement is established, so there is no ceiling to compute from it"}
    reached = spearman(measured.held_out, target, measured.where)
    return found | {
        "ceiling_of_what_lasts": float(np.sqrt(value)),
        "ceiling_low": float(np.sqrt(low)),
        "ceiling_high": float(np.sqrt(high)),
        "share_reached": reached / float(np.sqrt(value)),
    }


def _verdict(report: Mapping[str, Any], confidence: float) -> str:
    value, low, high = (report[name] for name in ("spearman", "spearman_low", "spearman_high"))
    length, p = report["spearman_of_reply_length_alone"], report["p_against_length"]
    better = "better than" if report["gain_over_length_low"] > 0 else "not established to be better than"
    return (
        f"held-out Spearman {value:.3f}, {100 * confidence:g}% interval {low:.3f} to {high:.3f}: {better} the reply's "
        f"length alone ({length:.3f}; p = {p:.2g})"
    )


def _card(report: Mapping[str, Any], pairs_path: str | Path) -> str:
    """The model card: what it was trained on, what it is for, what it cannot do."""
    lasting = report["ceiling"].get("ceiling_of_what_lasts")
    limit = "not measured: the source has no turns in order" if lasting is None else f"{lasting:.3f} (see reward.json)"
    return f"""# The learned reward

Predicts how much a reply engages the person it answers, as a rank among human replies in (0, 1).

* Trained on: {report["pairs"]} pairs of {report["conversations"]} conversations, `{pairs_path}`. No other part of the
  split, in particular neither the judge's pairs nor the test posts, shares a conversation with them.
* Sees: {", ".join(FEATURES[:5])} of the sentence embeddings p (post) and r (reply), and the surface of both texts.
* Held-out: {report["verdict"] if "verdict" in report else _verdict(report, 0.95)}.
* Pairwise accuracy {report["pairwise_accuracy"]:.3f} ({report["pairwise_accuracy_low"]:.3f} to \
{report["pairwise_accuracy_high"]:.3f}); 0.5 is chance.
* What engagement's own persistence would allow a predictor of what lasts: {limit}.
* Made for: the reward that GRPO climbs. It is a weak predictor, and a policy that climbs it leaves the human replies it
  was fitted on; the stage `gaming` says when the gain is no longer believed by the judge.
* Not for: judging people, or text in another language than its training data.
"""
