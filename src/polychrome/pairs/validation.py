"""Whether a split can be trusted: recomputed from the parts alone, by other means than those that made them.

Every check can fail the split: a part that shares pairs, conversations, near-duplicate replies or test posts with
another, or whose engagement or reply length is distributed unlike another's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from scipy import stats
from sklearn.feature_extraction.text import CountVectorizer

from polychrome.errors import Problem, bad
from polychrome.measures.duplicates import same_text_key, shingles
from polychrome.measures.words import count_words
from polychrome.pairs.schema import Pair

SMALLEST_BIN = 0.05  # share of the pool; bins that ties make smaller are merged, a chi-square needs counts
BLOCK = 512  # replies compared at once with all of another part

_OTHER_SPLIT = "Change split.seed or the sizes in params.yaml, or lower split.min_p if you accept the difference."
_DEFECT = "The split leaks: do not train on it. Give the conversations right ids, or make the split again."


def validate(
    parts: Mapping[str, Sequence[Pair]],
    pool: Sequence[Pair],
    *,
    near_duplicate: float,
    min_p: float,
    authors_may_cross: bool = True,
) -> tuple[dict[str, Any], list[Problem]]:
    """Check the ``parts`` drawn from ``pool``, of which one is called ``test``: what was measured, and what is wrong.

    * chi-square test of the part x engagement-quartile table (all parts); the edges are the quartiles of the
      pool's values, and quartiles that ties leave nearly empty are merged (:func:`quartile_edges`);
    * two-sample Kolmogorov-Smirnov tests of engagement and of reply length (words) for every two parts;
    * counts, for every two parts, of shared pairs, conversations, authors and near-duplicate replies (every reply
      against every other, Jaccard similarity of character 5-grams >= ``near_duplicate``); of test posts that
      occur in another part; of posts that the test set repeats; of pairs that are not in the pool.

    A p below ``min_p``, or a count above 0, is a problem; for authors only unless ``authors_may_cross``. p are as
    they come, not corrected for how many they are. Raises InputError when a part is empty or when the pool's
    engagement does not vary, since neither can be tested.
    """
    for name, pairs in parts.items():
        if not pairs:
            raise bad(f"split: {name}", "no pairs", "at least one", "Raise its size in params.yaml.")
    chi_square = _chi_square(parts, pool)
    ks = _kolmogorov_smirnov(parts)
    overlap = _overlap(parts, near_duplicate)
    test, others = parts["test"], [pair for name, pairs in parts.items() if name != "test" for pair in pairs]
    counts = {
        "pairs not in the pool": len({*test, *others} - set(pool)),
        "test posts repeated in test": len(test) - len(_posts(test)),
        "test posts in another part": len(_posts(test) & _posts(others)),
    }
    statistics = {
        "parts": {name: _summary(pairs) for name, pairs in parts.items()},
        "chi_square": chi_square,
        "kolmogorov_smirnov": ks,
        "overlap": overlap,
        "counts": counts,
    }
    tests = {"engagement quartiles of the parts: chi-square": chi_square["p"]}
    for quantity, by_two in ks.items():
        tests |= {f"{quantity} of {two}: Kolmogorov-Smirnov": result["p"] for two, result in by_two.items()}
    shared = {f"{kind} in both of {two}": n for kind, by_two in overlap.items() for two, n in by_two.items()}
    forbidden = {
        name: n for name, n in (shared | counts).items() if not (authors_may_cross and name.startswith("authors in"))
    }
    problems = [
        Problem(f"split: {name}", f"p = {p:.3g}", f"p >= {min_p:g} (split.min_p)", _OTHER_SPLIT)
        for name, p in tests.items()
        if p < min_p
    ] + [Problem(f"split: {name}", str(n), "0", _DEFECT) for name, n in forbidden.items() if n]
    return statistics, problems


def _chi_square(parts: Mapping[str, Sequence[Pair]], pool: Sequence[Pair]) -> dict[str, Any]:
    edges = quartile_edges(_engagement(pool))
    bins = len(edges) + 1
    table = np.array([np.bincount(np.searchsorted(edges, _engagement(p)), minlength=bins) for p in parts.values()])
    table = table[:, table.any(axis=0)]  # small parts may all miss a small bin
    if table.shape[1] < 2:
        found = f"engagement {np.median(_engagement(pool)):g} for nearly every pair"
        raise bad("split: engagement", found, "values that differ", "Use data whose engagement was measured.")
    result = stats.chi2_contingency(table, correction=False)
    return {
        "quartile_edges": edges,
        "table": dict(zip(parts, table.tolist(), strict=True)),
        "statistic": float(result.statistic),
        "degrees_of_freedom": int(result.dof),
        "smallest_expected_count": float(result.expected_freq.min()),
        "p": float(result.pvalue),
    }


def quartile_edges(engagement: np.ndarray) -> list[float]:
    """Quartiles of ``engagement``, less those that ties leave with under ``SMALLEST_BIN`` on one side.

    A bin is (edge below, edge above]; three zeros in four give one edge, and the bins "zero" and "more".
    """
    edges: list[float] = []
    for edge in np.quantile(engagement, [0.25, 0.5, 0.75]).tolist():
        below = edges[-1] if edges else -np.inf
        in_bin, above = np.mean((engagement > below) & (engagement <= edge)), np.mean(engagement > edge)
        if min(in_bin, above) >= SMALLEST_BIN:
            edges.append(edge)
    return edges


def _kolmogorov_smirnov(parts: Mapping[str, Sequence[Pair]]) -> dict[str, dict[str, dict[str, float]]]:
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, measure in (("engagement", _engagement), ("reply_words", _words)):
        values = {part: measure(pairs) for part, pairs in parts.items()}
        found[name] = {}
        for one, other in combinations(parts, 2):
            result = stats.ks_2samp(values[one], values[other])
            found[name][f"{one} / {other}"] = {"statistic": float(result.statistic), "p": float(result.pvalue)}
    return found


def _overlap(parts: Mapping[str, Sequence[Pair]], near_duplicate: float) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for kind, field in {"pairs": "id", "conversations": "conversation", "authors": "author"}.items():
        of = {part: {getattr(pair, field) for pair in pairs} - {""} for part, pairs in parts.items()}
        found[kind] = {f"{one} / {other}": len(of[one] & of[other]) for one, other in combinations(parts, 2)}
    replies = {part: [pair.reply for pair in pairs] for part, pairs in parts.items()}
    found["near_duplicate_replies"] = {
        f"{one} / {other}": count_near_duplicates(replies[one], replies[other], near_duplicate)
        for one, other in combinations(parts, 2)
    }
    return found


def count_near_duplicates(first: Sequence[str], second: Sequence[str], threshold: float) -> int:
    """How many (text of first, text of second) have a Jaccard similarity >= ``threshold``: each with each."""
    incidence = CountVectorizer(analyzer=shingles).fit_transform([*first, *second])  # (texts, shingles) of 0 and 1
    one, other = incidence[: len(first)], incidence[len(first) :]
    sizes, other_sizes = (np.asarray(part.sum(axis=1)).ravel() for part in (one, other))
    found = 0
    for start in range(0, len(first), BLOCK):
        shared = (one[start : start + BLOCK] @ other.T).tocoo()  # texts that share nothing are no near-duplicates
        union = sizes[start + shared.row] + other_sizes[shared.col] - shared.data
        found += int(np.sum(shared.data / union >= threshold))
    return found


def _summary(pairs: Sequence[Pair]) -> dict[str, float | int]:
    engagement, words = _engagement(pairs), _words(pairs)
    return {
        "pairs": len(pairs),
        "conversations": len({pair.conversation for pair in pairs}),
        "engagement_median": float(np.median(engagement)),
        "engagement_mean": float(engagement.mean()),
        "reply_words_median": float(np.median(words)),
        "reply_words_mean": float(words.mean()),
    }


def _posts(pairs: Sequence[Pair]) -> set[str]:
    return {same_text_key(pair.post) for pair in pairs}


def _engagement(pairs: Sequence[Pair]) -> np.ndarray:
    return np.array([pair.engagement for pair in pairs], dtype=float)


def _words(pairs: Sequence[Pair]) -> np.ndarray:
    return np.array([count_words(pair.reply) for pair in pairs])
