"""Whether a split can be trusted: recomputed from the parts alone, by other means than those that made them.

Every check can fail the split: a part that shares pairs, conversations, near-duplicate replies or test posts with
another, or whose engagement or reply length is distributed unlike another's.
"""

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
from polychrome.pairs.settings import SplitSettings

SMALLEST_BIN = 0.05  # share of the pool; bins that ties make smaller are merged, a chi-square needs counts
BLOCK = 512  # replies compared at once with all of another part

_OTHER_SPLIT = "Change split.seed or the sizes in params.yaml, or lower split.min_p if you accept the difference."
_DEFECT = "The split leaks: do not train on it. Give the conversations right ids, or make the split again."


def validate(
    parts: Mapping[str, Sequence[Pair]], pool: Sequence[Pair], settings: SplitSettings, authors_may_cross: bool = True
) -> tuple[dict[str, Any], list[Problem]]:
    """Check the ``parts`` drawn from ``pool``, of which one is called ``test``: what was measured, and what is wrong.

    * chi-square test of the part x engagement-quartile table (all parts); the edges are the quartiles of the
      pool's values, and quartiles that ties leave nearly empty are merged (:func:`quartile_edges`);
    * two-sample Kolmogorov-Smirnov tests of engagement and of reply length (words) for every two parts;
    * counts, for every two parts, of shared pairs, conversations, authors and near-duplicate replies (every reply
      against every other, Jaccard similarity of character 5-grams >= ``settings.near_duplicate``); of test posts that
      occur in another part; of posts that the test set repeats; of pairs that are not in the pool.

    A p below ``settings.min_p``, or a count above 0, is a problem; for authors only unless ``authors_may_cross``. p
    are as they come, not corrected for how many they are. Raises InputError when a part is empty or when the pool's
    engagement does not vary, since neither can be tested.
    """
    for name, pairs in parts.items():
        if not pairs:
            raise bad(f"split: {name}", "no pairs", "at least one", "Raise its size in params.yaml.")
    twos = {f"{one} / {other}": (one, other) for one, other in combinations(parts, 2)}
    engagement = {part: _engagement(pairs) for part, pairs in parts.items()}
    words = {part: np.array([count_words(pair.reply) for pair in pairs]) for part, pairs in parts.items()}
    chi_square = _chi_square(engagement, _engagement(pool))
    tests = {"engagement quartiles of the parts: chi-square": chi_square["p"]}
    ks: dict[str, Any] = {"engagement": {}, "reply_words": {}}
    for quantity, values in (("engagement", engagement), ("reply_words", words)):
        for two, (one, other) in twos.items():
            result = stats.ks_2samp(values[one], values[other])
            ks[quantity][two] = {"statistic": float(result.statistic), "p": float(result.pvalue)}
            tests[f"{quantity} of {two}: Kolmogorov-Smirnov"] = ks[quantity][two]["p"]

    overlap: dict[str, dict[str, int]] = {}
    for kind, field in {"pairs": "id", "conversations": "conversation", "authors": "author"}.items():
        of = {part: {getattr(pair, field) for pair in pairs} - {""} for part, pairs in parts.items()}
        overlap[kind] = {two: len(of[one] & of[other]) for two, (one, other) in twos.items()}
    replies = {part: [pair.reply for pair in pairs] for part, pairs in parts.items()}
    overlap["near_duplicate_replies"] = {
        two: count_near_duplicates(replies[one], replies[other], settings.near_duplicate)
        for two, (one, other) in twos.items()
    }
    test, others = parts["test"], [pair for name, pairs in parts.items() if name != "test" for pair in pairs]
    test_posts, other_posts = ({same_text_key(pair.post) for pair in pairs} for pairs in (test, others))
    counts = {
        "pairs not in the pool": len({*test, *others} - set(pool)),
        "test posts repeated in test": len(test) - len(test_posts),
        "test posts in another part": len(test_posts & other_posts),
    }
    forbidden = {
        f"{kind} in both of {two}": n
        for kind, by_two in overlap.items()
        for two, n in by_two.items()
        if not (authors_may_cross and kind == "authors")
    }
    statistics = {
        "parts": {
            name: {
                "pairs": len(pairs),
                "conversations": len({pair.conversation for pair in pairs}),
                "engagement_median": float(np.median(engagement[name])),
                "engagement_mean": float(engagement[name].mean()),
                "reply_words_median": float(np.median(words[name])),
                "reply_words_mean": float(words[name].mean()),
            }
            for name, pairs in parts.items()
        },
        "chi_square": chi_square,
        "kolmogorov_smirnov": ks,
        "overlap": overlap,
        "counts": counts,
    }
    problems = [
        Problem(f"split: {name}", f"p = {p:.3g}", f"p >= {settings.min_p:g} (split.min_p)", _OTHER_SPLIT)
        for name, p in tests.items()
        if p < settings.min_p
    ] + [Problem(f"split: {name}", str(n), "0", _DEFECT) for name, n in (forbidden | counts).items() if n]
    return statistics, problems


def _engagement(pairs: Sequence[Pair]) -> np.ndarray:
    return np.array([pair.engagement for pair in pairs], dtype=float)


def _chi_square(parts: Mapping[str, np.ndarray], pool: np.ndarray) -> dict[str, Any]:
    edges = quartile_edges(pool)
    bins = len(edges) + 1
    table = np.array([np.bincount(np.searchsorted(edges, values), minlength=bins) for values in parts.values()])
    table = table[:, table.any(axis=0)]  # small parts may all miss a small bin
    if table.shape[1] < 2:
        found = f"engagement {np.median(pool):g} for nearly every pair"
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
