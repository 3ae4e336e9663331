"""Training the learned reward, and saying how far it can be believed.

The head is linear, fitted by rank regression (squared error on rank-normalised engagement, scikit-learn's
SGDRegressor), stopped when conversations it does not learn from are no longer predicted better. Surface features are
standardised, embeddings are not: their hundreds of numbers together would outweigh the few that say most. Everything
that is reported comes from cross-fitting: the conversations are dealt to five folds, and each is predicted by a head
that learnt from three others and was stopped by the fourth.
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from polychrome.audience.world import World
from polychrome.bootstrap import percentiles
from polychrome.engagement import ranks
from polychrome.engagement.learned import FEATURES, OF_TEXTS, Head, features, save
from polychrome.engagement.ranks import FOLDS, SEED, Ranked
from polychrome.engagement.settings import FitSettings
from polychrome.errors import bad
from polychrome.files import whole_directory
from polychrome.measures.encoder import TextEncoder
from polychrome.randomness import seed_for

BINS = 10  # of the calibration curve
EMBEDDING_SCALE = 1 / 3  # an embedding has length 1; its numbers count as if it had length 3


def make_reward_model(
    own: Ranked,
    encoder: TextEncoder,
    directory: str | Path,
    report_path: str | Path,
    settings: FitSettings,
    world: World | None = None,
) -> dict[str, Any]:
    """Train and save the learned reward; write and return its report.

    Where the pairs are of a ``world`` of which all is known, it is kept beside, for the reward `audience` to read.
    """
    head, report = fit(own, encoder, settings)
    about = {"pairs": report["pairs"], "conversations": report["conversations"], "settings": asdict(settings)}
    lasting = report["ceiling"].get("ceiling_of_what_lasts")
    limit = "not measured: the source has no turns in order" if lasting is None else f"{lasting:.3f} (see reward.json)"
    card = Path(__file__).with_name("card.md").read_text(encoding="utf-8")
    card = card.format(**report, file=own.where, features=", ".join(FEATURES[:5]), limit=limit)
    with whole_directory(directory) as beside:
        save(head, beside, about, card)
        if world:
            world.keep(beside)
    return ranks.write_report(report_path, report, own.where)


def fit(own: Ranked, encoder: TextEncoder, settings: FitSettings) -> tuple[Head, dict[str, Any]]:
    """The head, fitted on all but the stopping fold, and the report of what cross-fitting measured."""
    target, folds = own.target, own.folds
    x = features(own.posts, own.replies, encoder.embed(own.posts), encoder.embed(own.replies))
    held_out = np.empty(len(target))  # ranks as regression predicts them, 0.5 + s
    for fold in range(FOLDS):
        stopping, left_out = folds == (fold + 1) % FOLDS, folds == fold
        held_out[left_out] = 0.5 + _head(x, target, ~stopping & ~left_out, stopping, settings).score(x[left_out])
    head = _head(x, target, folds != 0, folds == 0, settings)
    report = {
        "pairs": len(target),
        "conversations": len(np.unique(own.conversations)),
        "held_out_pairs": len(target),
        **reported(own, held_out),
        "ceiling": ranks.ceiling(own, held_out),
    }
    better = "better than" if report["gain_over_length_low"] > 0 else "not established to be better than"
    length, p = report["spearman_of_reply_length_alone"], report["p_against_length"]
    verdict = own.verdict(report, f"{better} the reply's length alone ({length:.3f}; p = {p:.2g})")
    return head, report | {"verdict": verdict}


def _head(x: np.ndarray, target: np.ndarray, learns: np.ndarray, stops: np.ndarray, settings: FitSettings) -> Head:
    """A head fitted on the rows ``learns`` (n,): its weights are of the epoch that predicts the rows ``stops`` best."""
    from sklearn.linear_model import SGDRegressor  # here, since only fitting needs it

    spread = x[learns].std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    scale[: -len(OF_TEXTS) - 1] = EMBEDDING_SCALE
    head = Head(x[learns].mean(axis=0), scale, np.zeros(x.shape[1]), np.array([0.0, 1.0]))
    z, wanted = head.scaled(x), target - 0.5
    taught, stop = (z[learns], wanted[learns]), (z[stops], wanted[stops])
    rate, state = settings.learning_rate, seed_for(SEED, "reward", "head") % 2**32
    model = SGDRegressor(alpha=settings.penalty, learning_rate="constant", eta0=rate, random_state=state)
    weights, best, since = head.weights, np.inf, 0
    for _ in range(settings.epochs):
        try:
            model.partial_fit(*taught)
        except ValueError as error:  # scikit-learn's word for weights that left the range of floats
            where, expected = "params.yaml:reward.learned.learning_rate", "a rate at which the fit converges"
            raise bad(where, f"{rate:g}: {error}", expected, "Lower it.") from error
        missed = float(((model.predict(stop[0]) - stop[1]) ** 2).mean())
        since = 0 if missed < best else since + 1
        if missed <= best:
            weights, best = model.coef_.copy(), missed
        if since >= settings.patience:
            break
    scores = (z @ weights)[learns]
    return replace(head, weights=weights, normal=np.array([scores.mean(), max(float(scores.std()), 1e-12)]))


# --- what is reported -------------------------------------------------------------------------------------------------


def reported(own: Ranked, held_out: np.ndarray) -> dict[str, Any]:
    """Spearman, that of length alone, their difference, pairwise accuracy, calibration, error by quartile."""
    target = own.target
    report, resampled = own.measured(held_out)
    gain = resampled[:, 0] - resampled[:, 1]
    report["gain_over_length"] = report["spearman"] - report["spearman_of_reply_length_alone"]
    report["gain_over_length_low"], report["gain_over_length_high"] = percentiles(gain, own.confidence)
    tail = min(np.mean(gain <= 0), np.mean(gain >= 0))
    report["p_against_length"] = min(1.0, 2 * (tail * own.resamples + 1) / (own.resamples + 1))
    report["calibration"] = calibration(own, held_out)
    error, quartile = np.abs(held_out - target), np.minimum((target * 4).astype(int), 3)
    in_quartile = [error[quartile == q] for q in range(4)]
    report["error_by_quartile"] = [float(errors.mean()) if len(errors) else None for errors in in_quartile]
    return report


def calibration(own: Ranked, held_out: np.ndarray) -> list[dict[str, float]]:
    """Mean prediction and mean actual rank of each tenth of the predictions."""
    bins = np.array_split(np.argsort(held_out, kind="stable"), min(BINS, len(held_out)))
    of_row = np.empty(len(held_out), dtype=int)
    for place, rows in enumerate(bins):
        of_row[rows] = place

    def means(rows: np.ndarray) -> np.ndarray:
        counts = np.bincount(of_row[rows], minlength=len(bins))
        sums = np.bincount(of_row[rows], weights=own.target[rows], minlength=len(bins))
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)

    curve = []
    for rows, drawn in zip(bins, own.resampled(means, "reward calibration").T, strict=True):
        low, high = percentiles(drawn[~np.isnan(drawn)], own.confidence)
        predicted, actual = float(held_out[rows].mean()), float(own.target[rows].mean())
        curve.append({"predicted": predicted, "actual": actual, "low": low, "high": high, "pairs": len(rows)})
    return curve
