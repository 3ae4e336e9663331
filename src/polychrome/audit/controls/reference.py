"""Every metric and test against another implementation of it, or its definition counted out, on the same inputs."""

from __future__ import annotations

import math
import statistics as python_statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np

from polychrome import bootstrap
from polychrome.audit.controls.record import Control, verdict_of
from polychrome.evaluation import passk, statistics
from polychrome.measures import rouge, sets
from polychrome.randomness import numpy_generator

EXACT = 1e-9  # what rounding may leave
WORDS = (
    "i", "we", "you", "love", "like", "hike", "hiking", "mountains", "the", "a", "so", "much", "what", "where", "not",
    "really", ",", ".", "!", "?", "don't", "it's",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Check:
    """One implementation of ours against one of others, on all inputs."""

    name: str
    reference: str
    deviations: Callable[[np.random.Generator], Iterator[float]]  # one for each value that was compared
    tolerance: float = EXACT


def controls(seed: int = 0) -> list[Control]:
    """Run every check; each control's value is the largest deviation."""
    made = []
    for check in CHECKS:
        found = [abs(float(each)) for each in check.deviations(numpy_generator(seed, "reference", check.name))]
        largest = max(found)
        made.append(
            Control(
                name=f"reference_{check.name}",
                text=f"{check.name.replace('_', ' ')} against {check.reference}: the largest deviation.",
                expected=f"at most {check.tolerance:g}",
                found=f"{largest:.2g} over {len(found)} values",
                value=largest,
                low=None,
                high=None,
                verdict=verdict_of(bool(found) and largest <= check.tolerance),  # false for nan
            )
        )
    return made


def texts(generator: np.random.Generator, replies: int, words: int = 9) -> list[str]:
    """Replies of one to ``words`` words of a small vocabulary, so that they share some."""
    return [" ".join(generator.choice(WORDS, size=generator.integers(1, words + 1))) for _ in range(replies)]


# --- metrics ----------------------------------------------------------------------------------------------------------


def pass_by_enumeration(_: np.random.Generator) -> Iterator[float]:
    """Every n to 8, k and c: the share of the k-subsets that hold one of the c that pass."""
    for n in range(1, 9):
        for k, c in product(range(1, n + 1), range(n + 1)):
            subsets = list(combinations(range(n), k))
            share = sum(any(i < c for i in subset) for subset in subsets) / len(subsets)
            yield passk.pass_at_k(n, [c], k)[0] - share


def pass_by_product(_: np.random.Generator) -> Iterator[float]:
    """The estimator as Chen et al. print it: 1 - prod(1 - k / i for i = n - c + 1 .. n), and 1 where n - c < k."""
    for n, k in product((10, 37, 200), (1, 5, 10)):
        for c in range(n + 1):
            theirs = 1.0 if n - c < k else 1.0 - float(np.prod(1.0 - k / np.arange(n - c + 1, n + 1)))
            yield passk.pass_at_k(n, [c], k)[0] - theirs


def self_bleu(generator: np.random.Generator) -> Iterator[float]:
    """sacrebleu's sentence score of each reply with the others as references, a call of its own each."""
    from sacrebleu import sentence_bleu

    for _ in range(20):
        replies = texts(generator, int(generator.integers(2, 8)))
        theirs = [
            sentence_bleu(reply, replies[:i] + replies[i + 1 :], use_effective_order=True).score / 100
            for i, reply in enumerate(replies)
        ]
        ours = sets.self_bleu(replies)
        yield math.nan if ours is None else ours - sum(theirs) / len(theirs)


def rouge_score(generator: np.random.Generator) -> Iterator[float]:
    """The rouge-score package, reply by reply."""
    from rouge_score.rouge_scorer import RougeScorer

    for human, replies in _rouge_inputs(generator):
        ours = rouge.rouge(replies, human)
        for name, theirs in rouge.THEIRS.items():
            scorer = RougeScorer([theirs])
            if (value := ours[name]) is not None:
                yield value - float(np.mean([scorer.score(human, reply)[theirs].fmeasure for reply in replies]))


def rouge_l_by_definition(generator: np.random.Generator) -> Iterator[float]:
    """Every subsequence of the reply looked for in the human reply: F of precision and recall of the longest."""
    for human, replies in _rouge_inputs(generator):
        target = _rouge_tokens(human)
        scores = []
        for reply in replies:
            tokens = _rouge_tokens(reply)
            longest = max(
                (
                    size
                    for size in range(len(tokens), 0, -1)
                    if any(_is_subsequence(some, target) for some in combinations(tokens, size))
                ),
                default=0,
            )
            scores.append(2 * longest / (len(tokens) + len(target)) if tokens and target else 0.0)
        if (ours := rouge.rouge(replies, human)["rouge_l"]) is not None:
            yield ours - sum(scores) / len(scores)


def _rouge_inputs(generator: np.random.Generator) -> Iterator[tuple[str, list[str]]]:
    for _ in range(20):
        yield texts(generator, 1)[0], texts(generator, 4)


def _rouge_tokens(text: str) -> list[str]:
    """Runs of letters and digits in lower case."""
    return "".join(c if c.isascii() and c.isalnum() else " " for c in text.lower()).split()


def _is_subsequence(some: Sequence[str], of: Sequence[str]) -> bool:
    rest = iter(of)
    return all(token in rest for token in some)


def cosine_distance(generator: np.random.Generator) -> Iterator[float]:
    """The mean over every pair, each computed for itself."""
    for n in (2, 3, 10):
        vectors = generator.normal(size=(n, 12))
        pairs = [
            1 - float(a @ b) / (math.sqrt(float(a @ a)) * math.sqrt(float(b @ b))) for a, b in combinations(vectors, 2)
        ]
        yield sets.mean_pairwise_cosine_distance(vectors) - sum(pairs) / len(pairs)


# --- statistics -------------------------------------------------------------------------------------------------------


def cliffs_delta(generator: np.random.Generator) -> Iterator[float]:
    """Its definition: each value of a against each of b."""
    for _ in range(20):
        a, b = generator.integers(0, 6, size=11), generator.integers(1, 7, size=8)
        theirs = (sum(x > y for x, y in product(a, b)) - sum(x < y for x, y in product(a, b))) / (len(a) * len(b))
        yield statistics.cliffs_delta(a / 10, b / 10) - theirs


def cohens_d(generator: np.random.Generator) -> Iterator[float]:
    """Mean over standard deviation of the differences, by Python's own exact fractions."""
    for _ in range(20):
        differences = generator.normal(0.3, 1.0, size=15).round(6).tolist()
        ours, _note = statistics.cohens_d(np.array(differences))
        theirs = python_statistics.mean(differences) / python_statistics.stdev(differences)
        yield math.nan if ours is None else ours - theirs


def holm(generator: np.random.Generator) -> Iterator[float]:
    """Closed testing: an hypothesis falls when Bonferroni rejects every set of hypotheses that holds it."""
    for m in range(1, 9):
        p = generator.uniform(size=m) ** 3
        ours = statistics.holm(p.tolist())
        everything = [s for size in range(1, m + 1) for s in combinations(range(m), size)]
        for i in range(m):
            yield ours[i] - max(min(1.0, len(s) * min(p[j] for j in s)) for s in everything if i in s)


def wilcoxon_by_flips(generator: np.random.Generator) -> Iterator[float]:
    """Up to ten posts, ties and zeros among them: every way of turning signs, counted."""
    for n in (5, 8, 10):
        for _ in range(3):
            values = generator.integers(-3, 5, size=n) / 10
            if not values.any():
                values[0] = 0.1
            magnitudes = np.abs(values)
            ranks = np.array([(magnitudes < m).sum() + ((magnitudes == m).sum() + 1) / 2 for m in magnitudes])
            flips = [sum(ranks[i] for i in range(n) if f[i] * values[i] > 0) for f in product((1, -1), repeat=n)]
            centre, own = sum(ranks[values != 0]) / 2, sum(ranks[values > 0])
            as_far = sum(abs(w - centre) >= abs(own - centre) - 1e-9 for w in flips)
            yield statistics.wilcoxon(values)[0] - as_far / len(flips)


def wilcoxon_by_scipy(generator: np.random.Generator) -> Iterator[float]:
    """scipy, exact without ties up to 50 posts, by its normal approximation with ties above 13 or beyond 50 posts."""
    from scipy.stats import wilcoxon

    how = {"zero_method": "pratt", "correction": True}
    for n in (20, 40):
        smooth = generator.normal(0.2, 1.0, size=n)
        yield statistics.wilcoxon(smooth)[0] - wilcoxon(smooth, method="exact").pvalue
    for n in (20, 40, 80):
        coarse = generator.integers(-2, 4, size=n) / 10
        yield statistics.wilcoxon(coarse)[0] - wilcoxon(np.round(coarse, 12), method="asymptotic", **how).pvalue


def bootstrap_by_scipy(generator: np.random.Generator) -> Iterator[float]:
    """scipy's percentile bootstrap at the expanded confidence: ends, in widths of the interval."""
    from scipy import stats

    for n in (20, 60):
        values = generator.exponential(size=n)
        ours = bootstrap.mean_interval(values[None, :], resamples=40000, confidence=0.95, seed=0)
        tail = stats.norm.cdf(np.sqrt(n / (n - 1)) * stats.t.ppf(0.025, n - 1))
        theirs = stats.bootstrap(
            (values,), np.mean, n_resamples=40000, confidence_level=1 - 2 * tail, method="percentile", rng=generator
        ).confidence_interval
        for a, b in ((ours.low, theirs.low), (ours.high, theirs.high)):
            yield (a - b) / (theirs.high - theirs.low)


CHECKS = (
    Check("pass_at_k_enumerated", "enumeration of every subset", pass_by_enumeration),
    Check("pass_at_k", "the closed form of Chen et al. 2021 (arXiv 2107.03374)", pass_by_product),
    Check("self_bleu", "sacrebleu's sentence scores", self_bleu),
    Check("rouge", "the rouge-score package", rouge_score),
    Check("rouge_l", "its definition, every subsequence", rouge_l_by_definition),
    Check("semantic_diversity", "cosines pair by pair", cosine_distance),
    Check("cliffs_delta", "its definition, every pair", cliffs_delta),
    Check("cohens_d", "Python's exact fractions", cohens_d),
    Check("holm", "closed testing over every subset", holm),
    Check("wilcoxon_enumerated", "every way of turning signs", wilcoxon_by_flips),
    Check("wilcoxon", "scipy", wilcoxon_by_scipy),
    Check("bootstrap_interval", "scipy's bootstrap, in widths", bootstrap_by_scipy, 0.02),
)
