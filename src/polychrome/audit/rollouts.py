"""What one GRPO run drew, put to the judge and measured for the ways in which proxies are known to be pleased.

Scales. Proxy and judge have units of their own, so a gap between them is one of ranks: each reply's mid-rank among all
replies of the run, in (0, 1), by the proxy minus that by the judge. Z-scores would not do: both gates of the proxy put
a mass of replies at exactly 0, which stretches its standard deviation and leaves hardly any room above. The mean gap of
a run is zero by construction; which replies it is large for, and whether it grows, is not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from polychrome.bootstrap import draw_counts, percentiles
from polychrome.engagement.ruler import Ruler
from polychrome.errors import bad
from polychrome.evaluation.evaluate import read_replies
from polychrome.evaluation.settings import EvaluationSettings
from polychrome.evaluation.statistics import interval_of
from polychrome.measures.copying import copied_share, repeated_share
from polychrome.measures.duplicates import NearDuplicates, same_text_key
from polychrome.measures.genericness import genericness
from polychrome.measures.words import words_of
from polychrome.pairs.schema import Pair
from polychrome.randomness import numpy_generator

SHOWN = 10  # replies with the largest gap
DRIFTS = ("length", "genericness", "copy_rate", "repetition", "truncated")  # measured reply by reply
ACROSS = "near_identical_across_posts"
CURVE = ("step", "kl", "proxy", "proxy_low", "proxy_high", "judge", "judge_low", "judge_high", *DRIFTS, ACROSS)


@dataclass(frozen=True, slots=True)
class Rollouts:
    """Every group of G replies that GRPO drew, in order of steps."""

    steps: np.ndarray  # (groups,) int, >= 1
    kl: np.ndarray  # (groups,) nats per reply, the step's mean
    ids: tuple[str, ...]  # (groups,) of the prompt
    posts: tuple[str, ...]
    replies: tuple[tuple[str, ...], ...]  # groups times G
    proxy: np.ndarray  # (groups, G) rewards
    ended: np.ndarray  # (groups, G) bool, whether the reply ended by itself: not cut at max_new_tokens


def read_rollouts(path: str | Path) -> Rollouts:
    """Read ``results/training/<arm>/seed-<n>/rollouts.jsonl``. Raises InputError naming every bad line.

    Every group has the same number G >= 2 of replies; there are four groups or more, for a first against a last.
    """
    rows = read_replies(
        path,
        what="the replies that GRPO drew",
        remedy="Train the arm again: `dvc repro grpo`.",
        texts=("id", "post"),
        numbers={"step": 0, "kl": -np.inf},
        each={"rewards": float, "ended": bool},
    )
    if len(rows) < 4:
        raise bad(str(path), f"{len(rows)} groups", "at least 4", "Train on more prompts.")
    return Rollouts(
        steps=np.array([row["step"] for row in rows]),
        kl=np.array([row["kl"] for row in rows], dtype=float),
        ids=tuple(row["id"] for row in rows),
        posts=tuple(row["post"] for row in rows),
        replies=tuple(tuple(row["replies"]) for row in rows),
        proxy=np.array([row["rewards"] for row in rows], dtype=float),
        ended=np.array([row["ended"] for row in rows], dtype=bool),
    )


# --- what is measured of each reply -----------------------------------------------------------------------------------


def yardstick(pairs: Sequence[Pair], judge: Ruler, near_identical: float) -> dict[str, float | None]:
    """Name -> mean over human replies: the judge, each of ``DRIFTS`` and near-identical replies across posts.

    A drift is measured on the replies that it is defined for, and None where there are none.
    ``judge_spread`` is the standard deviation (n - 1) of the judge's predictions. Raises InputError for fewer than two.
    People have one reply to a post where a policy has G, so fewer chances of a near-identical one: their share is low.
    Human replies are never cut: ``truncated`` is 0.
    """
    if len(pairs) < 2:
        expected = "2 or more, to see how they vary"
        raise bad("human replies of phase 2", f"{len(pairs)}", expected, "Raise split.phase2_pairs.")
    posts, replies = [pair.post for pair in pairs], [pair.reply for pair in pairs]
    values = {"judge": judge.predict(posts, replies)} | _drifts(posts, replies)
    across = near_identical_across(posts, [(reply,) for reply in replies], near_identical)
    means = {name: mean_of_defined(of_reply) for name, of_reply in (values | {ACROSS: across}).items()}
    return means | {"truncated": 0.0, "judge_spread": float(values["judge"].std(ddof=1))}


def _drifts(posts: Sequence[str], replies: Sequence[str]) -> dict[str, np.ndarray]:
    """Those of ``DRIFTS`` that texts show, all but ``truncated``; genericness is NaN where it is no Latin script."""
    return {
        "length": np.array([len(words_of(reply)) for reply in replies], dtype=float),
        "genericness": 1.0 - genericness(replies),
        "copy_rate": copied_share(posts, replies),
        "repetition": repeated_share(replies),
    }


def mean_of_defined(values: np.ndarray) -> float | None:
    """The mean of what is not NaN; None where nothing is left."""
    defined = values[~np.isnan(values)]
    return float((defined if defined.size < values.size else values).mean()) if defined.size else None


def near_identical_across(posts: Sequence[str], groups: Sequence[Sequence[str]], threshold: float) -> np.ndarray:
    """Share of each group's replies that are near-identical to a reply to another post among these: (groups,).

    Near-identical: Jaccard similarity of character 5-grams at or above ``threshold``. The share grows with the number
    of replies that one is held against, so only windows of the same size compare.
    """
    answered: dict[str, set[str]] = {}  # text -> posts it is a reply to; equal texts are compared once
    for post, group in zip(posts, groups, strict=True):
        for reply in group:
            answered.setdefault(same_text_key(reply), set()).add(post)
    texts = sorted(answered)
    index = NearDuplicates(texts, threshold)
    elsewhere = {text: set(answered[text]) for text in texts}  # posts of the text and of its near-duplicates
    for j, text in enumerate(texts):
        for i in index.of(j):
            elsewhere[texts[i]] |= answered[text]
            elsewhere[text] |= answered[texts[i]]
        index.add(j)
    shares = [
        np.mean([bool(elsewhere[same_text_key(reply)] - {post}) for reply in group])
        for post, group in zip(posts, groups, strict=True)
    ]
    return np.array(shares)


def _ranks(values: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    return ((rankdata(values) - 0.5) / values.size).reshape(values.shape)


# --- the evidence beside the verdict ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """A run put to the judge; two replies are near-identical from a Jaccard similarity of ``near_identical`` on."""

    rollouts: Rollouts
    values: Mapping[str, np.ndarray]  # proxy, judge and each of DRIFTS -> (groups, G)
    near_identical: float
    settings: EvaluationSettings

    @classmethod
    def by(cls, judge: Ruler, rollouts: Rollouts, near_identical: float, settings: EvaluationSettings) -> "Measured":
        """Every reply of ``rollouts`` measured."""
        size = rollouts.proxy.shape[1]
        posts = [post for post in rollouts.posts for _ in range(size)]
        replies = [reply for group in rollouts.replies for reply in group]
        found = {"judge": judge.predict(posts, replies)} | _drifts(posts, replies)
        values = {"proxy": rollouts.proxy} | {name: of_reply.reshape(-1, size) for name, of_reply in found.items()}
        return cls(rollouts, values | {"truncated": (~rollouts.ended).astype(float)}, near_identical, settings)

    @cached_property
    def gaps(self) -> np.ndarray:
        """Rank by the proxy minus rank by the judge, of each reply among all of the run: (groups, G) in (-1, 1)."""
        return _ranks(self.values["proxy"]) - _ranks(self.values["judge"])

    def across(self, groups: np.ndarray) -> np.ndarray:
        """:func:`near_identical_across` of some groups by their numbers."""
        posts, replies = ([values[i] for i in groups] for values in (self.rollouts.posts, self.rollouts.replies))
        return near_identical_across(posts, replies, self.near_identical)

    def largest_gaps(self) -> list[dict[str, Any]]:
        """The lines of gaps.jsonl: the ten replies that the proxy ranks highest above the judge.

        One for each post, and none near-identical to one that is there already: {"step", "id", "post", "reply",
        "proxy", "judge", "gap"}, proxy and judge in their own units, gap in ranks. Fewer than ten when no more differ.
        """
        run, gaps = self.rollouts, self.gaps
        texts = [reply for group in run.replies for reply in group]
        index = NearDuplicates(texts, self.near_identical)
        rows: list[dict[str, Any]] = []
        posts: set[str] = set()
        for flat in np.argsort(-gaps, axis=None, kind="stable").tolist():
            group, place = divmod(flat, gaps.shape[1])
            post = run.posts[group]
            if post in posts or index.of(flat):
                continue
            posts.add(post)
            index.add(flat)
            values = {name: float(self.values[name][group, place]) for name in ("proxy", "judge")}
            about = {"step": int(run.steps[group]), "id": run.ids[group], "post": post, "reply": texts[flat]}
            rows.append(about | values | {"gap": float(gaps[group, place])})
            if len(rows) == SHOWN:
                break
        return rows

    def correlations(self, windows: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Spearman's correlation of proxy and judge over the replies of each of ``windows`` (numbers of groups).

        ``within_groups`` correlates ranks inside groups, which is all that GRPO sees of the proxy: advantages compare
        the replies to one prompt. Intervals resample prompts, with ranks held; null where one side does not vary.
        """
        found: dict[str, Any] = {}
        for name, groups in windows.items():
            scores = [self.values[of][groups] for of in ("proxy", "judge")]
            prompts = [self.rollouts.ids[group] for group in groups]
            found[name] = _correlation(*map(_ranks, scores), prompts, self.settings)
            inside = [np.stack([_ranks(row) for row in values]) for values in scores]
            found[f"{name}_within_groups"] = _correlation(*inside, prompts, self.settings)
        return found

    def curve(self) -> list[dict[str, float | None]]:
        """The rows of curve.csv, one per step: means over its replies, intervals over its prompts (none for one).

        A drift is the mean over the replies that it is defined for, None without any.
        Near-identical replies are sought within the step: their share is below that of an epoch, which has more posts.
        """
        rows: list[dict[str, float | None]] = []
        for step in np.unique(self.rollouts.steps):
            groups = np.flatnonzero(self.rollouts.steps == step)
            row: dict[str, float | None] = {"step": int(step), "kl": float(self.rollouts.kl[groups].mean())}
            for name in ("proxy", "judge"):
                by_prompt = self.values[name][groups].mean(axis=1)
                interval = interval_of(by_prompt[None, :], self.settings)  # None for one prompt
                ends = (interval.low, interval.high) if interval else (None, None)
                row |= {name: float(by_prompt.mean()), f"{name}_low": ends[0], f"{name}_high": ends[1]}
            row |= {name: mean_of_defined(self.values[name][groups]) for name in DRIFTS}
            rows.append(row | {ACROSS: float(self.across(groups).mean())})
        return rows


def _correlation(
    x: np.ndarray, y: np.ndarray, prompts: Sequence[str], settings: EvaluationSettings
) -> dict[str, float] | None:
    """Pearson's correlation of ``x`` and ``y`` (groups, G), with an interval over prompts."""
    names, cluster = np.unique(np.asarray(prompts), return_inverse=True)
    sums = np.stack(
        [np.bincount(cluster, weights=part.sum(axis=1)) for part in (np.ones_like(x), x, y, x * x, y * y, x * y)]
    )
    drawn = draw_counts(len(names), settings.bootstrap, numpy_generator(0, "correlation", len(names)))
    with np.errstate(divide="ignore", invalid="ignore"):
        value, resampled = _pearson(sums.sum(axis=1)), _pearson(sums @ drawn.T)
    resampled = resampled[np.isfinite(resampled)]
    if not np.isfinite(value) or not len(resampled):
        return None
    low, high = percentiles(resampled, settings.confidence)
    return {"value": float(value), "low": low, "high": high}


def _pearson(sums: np.ndarray) -> np.ndarray:
    n, x, y, xx, yy, xy = sums
    variances = (xx / n - (x / n) ** 2) * (yy / n - (y / n) ** 2)
    return (xy / n - x * y / n**2) / np.sqrt(np.where(variances > 1e-12, variances, np.nan))
