"""ROUGE and the tests against other implementations, or their definitions counted out, on the same inputs."""

import math
import statistics as python_statistics
from itertools import combinations, product

import numpy as np
import pytest

from polychrome.evaluation import statistics
from polychrome.measures import rouge
from polychrome.measures.metrics import ReplySet

EXACT = 1e-9  # what rounding may leave
WORDS = "i we you love like hike hiking mountains the a so much what where not really , . ! ? don't it's"


def texts(generator, replies, words=9):
    """Replies of one to ``words`` words of a small vocabulary, so that they share some."""
    return [" ".join(generator.choice(WORDS.split(), size=generator.integers(1, words + 1))) for _ in range(replies)]


def rouge_score(generator):
    """The rouge-score package, reply by reply."""
    from rouge_score.rouge_scorer import RougeScorer

    for human, replies in _rouge_inputs(generator):
        ours = rouge.metrics(ReplySet("", human, replies, None))
        for name, theirs in rouge.THEIRS.items():
            scorer = RougeScorer([theirs])
            if (value := ours[name]) is not None:
                yield value - float(np.mean([scorer.score(human, reply)[theirs].fmeasure for reply in replies]))


def rouge_l_by_definition(generator):
    """Every subsequence of the reply looked for in the human reply: F of precision and recall of the longest."""
    for human, replies in _rouge_inputs(generator):
        target = _rouge_tokens(human)
        scores = []
        for reply in replies:
            tokens = _rouge_tokens(reply)
            common = (some for n in range(len(tokens), -1, -1) for some in combinations(tokens, n))
            longest = len(next(some for some in common if _is_subsequence(some, target)))
            scores.append(2 * longest / (len(tokens) + len(target)) if tokens and target else 0.0)
        if (ours := rouge.metrics(ReplySet("", human, replies, None))["rouge_l"]) is not None:
            yield ours - sum(scores) / len(scores)


def _rouge_inputs(generator):
    for _ in range(20):
        yield texts(generator, 1)[0], texts(generator, 4)


def _rouge_tokens(text):
    """Runs of letters and digits in lower case."""
    return "".join(c if c.isascii() and c.isalnum() else " " for c in text.lower()).split()


def _is_subsequence(some, of):
    rest = iter(of)
    return all(token in rest for token in some)


def cliffs_delta(generator):
    """Its definition: each value of a against each of b."""
    for _ in range(20):
        a, b = generator.integers(0, 6, size=11), generator.integers(1, 7, size=8)
        theirs = (sum(x > y for x, y in product(a, b)) - sum(x < y for x, y in product(a, b))) / (len(a) * len(b))
        yield statistics.cliffs_delta(a / 10, b / 10) - theirs


def cohens_d(generator):
    """Mean over standard deviation of the differences, by Python's own exact fractions."""
    for _ in range(20):
        differences = generator.normal(0.3, 1.0, size=15).round(6).tolist()
        ours, _note = statistics.cohens_d(np.array(differences))
        theirs = python_statistics.mean(differences) / python_statistics.stdev(differences)
        yield math.nan if ours is None else ours - theirs


def holm(generator):
    """Closed testing: an hypothesis falls when Bonferroni rejects every set of hypotheses that holds it."""
    for m in range(1, 9):
        p = generator.uniform(size=m) ** 3
        ours = statistics.holm(p.tolist())
        everything = [s for size in range(1, m + 1) for s in combinations(range(m), size)]
        for i in range(m):
            yield ours[i] - max(min(1.0, len(s) * min(p[j] for j in s)) for s in everything if i in s)


def wilcoxon_by_flips(generator):
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


def wilcoxon_by_scipy(generator):
    """scipy, exact without ties up to 50 posts, by its normal approximation with ties above 13 or beyond 50 posts."""
    from scipy.stats import wilcoxon

    how = {"zero_method": "pratt", "correction": True}
    for n in (20, 40):
        smooth = generator.normal(0.2, 1.0, size=n)
        yield statistics.wilcoxon(smooth)[0] - wilcoxon(smooth, method="exact").pvalue
    for n in (20, 40, 80):
        coarse = generator.integers(-2, 4, size=n) / 10
        yield statistics.wilcoxon(coarse)[0] - wilcoxon(np.round(coarse, 12), method="asymptotic", **how).pvalue


OF_TESTS = (cliffs_delta, cohens_d, holm, wilcoxon_by_flips, wilcoxon_by_scipy)


@pytest.mark.parametrize("deviations", [rouge_score, rouge_l_by_definition, *OF_TESTS])
def test_it_agrees_with_the_reference(deviations):
    found = [abs(float(each)) for each in deviations(np.random.default_rng(1))]
    assert len(found) >= 3
    assert max(found) <= EXACT  # false for nan
