"""The smallest true difference that a test set and its seeds can see; it stands beside "no difference is established".

Power is the chance that two models which truly differ by delta are called different, in the right direction, by the
rule of :mod:`polychrome.evaluation.contrasts`. It is simulated from the observed paired differences, mirrored so that
they centre on zero, and shifted by exponential tilting: a difference d is drawn with weight exp(theta d), theta chosen
so that the mean is delta (Efron 1981, "Nonparametric standard errors and confidence intervals", section 7). Adding
delta instead would leave a metric's bounds, and would turn the many posts without any difference into as many small
wins, which Wilcoxon's test would find significant. Posts are drawn with replacement and, where there are several, so
are the effects of seeds on the mean difference, shrunk to the variance that is left of them when the noise of posts
and replies is taken out (two-way analysis of variance). Holm's threshold is taken as alpha / m, that of the smallest p
of m tests: the conservative case.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

from polychrome.evaluation.statistics import DECIMALS
from polychrome.randomness import numpy_generator

POWER = 0.8
SIMULATIONS = 600  # the power at the answer is known to 0.016 (one standard error)
GROUPS = 24  # of simulations whose drawn seeds have nearly the same mean effect
HALVINGS = 10  # of the bracket of delta, each with the same draws


def detectable(
    differences: np.ndarray, *, threshold: float, confidence: float, simulations: int = SIMULATIONS
) -> float | None:
    """The smallest true mean difference, in the metric's unit, that is called with probability :data:`POWER`.

    ``differences`` (seeds, posts) are those of two models on one metric, NaN where undefined; such a post is left out.
    ``threshold`` is what p must stay below, ``confidence`` that of the interval which must exclude zero. The answer
    holds for either sign. None when no difference within what was observed would be called: no post differs, or there
    are fewer posts than the threshold needs.
    """
    design = Design.of(differences, threshold, confidence, simulations)
    if design is None or power_at(design, most := float(np.abs(design.values).max())) < POWER:
        return None
    guess = min(most, 2.0 * closed_form(differences, threshold=threshold))
    low, high = 0.0, guess if power_at(design, guess) >= POWER else most
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if power_at(design, middle) >= POWER else (middle, high)
    return high


def closed_form(differences: np.ndarray, *, threshold: float) -> float:
    """The detectable difference of a z-test: z(1 - threshold / 2) e + z(POWER) e', z the normal quantile.

    e is the standard error over posts, which is what p is computed from, and e' that over posts and seeds, which is how
    much the mean difference varies; one seed has e' = e. A check on the simulation, and where its search begins.
    Wilcoxon's test of normal differences needs sqrt(pi / 3) times as much, about 2% more.
    """
    parts = components(differences)
    of_posts = parts.by_post.var(ddof=1) / parts.posts
    of_both = of_posts + parts.seed_variance / parts.seeds
    return float(ndtri(1 - threshold / 2) * np.sqrt(of_posts) + ndtri(POWER) * np.sqrt(of_both))


@dataclass(frozen=True, slots=True)
class Components:
    """Where the differences of two models come from: posts, seeds, and what is neither."""

    seeds: int
    posts: int
    by_post: np.ndarray  # (posts,) means over seeds
    seed_effects: np.ndarray  # (seeds,) deviations of the seeds' means, shrunk to variance ``seed_variance``
    seed_variance: float  # of the effect of a seed on the mean difference, >= 0; 0 with one seed
    residual: float  # mean square of what neither seed nor post explains, over all seeds and posts


def components(differences: np.ndarray) -> Components:
    """Split ``differences`` (seeds, posts) by two-way analysis of variance without replication.

    Raises ValueError with fewer than two posts that are defined for every seed.
    """
    defined = np.round(differences[:, ~np.isnan(differences).any(axis=0)], DECIMALS)
    seeds, posts = defined.shape
    if posts < 2:
        raise ValueError("components of fewer than two posts")
    by_post, by_seed, mean = defined.mean(axis=0), defined.mean(axis=1), defined.mean()
    effects = by_seed - mean
    if seeds == 1:
        return Components(1, posts, np.round(by_post, DECIMALS), np.zeros(1), 0.0, 0.0)
    rest = defined - by_post - effects[:, None]
    noise = (rest**2).sum() / ((seeds - 1) * (posts - 1))  # mean square of the interaction
    variance = max(float(effects.var(ddof=1) - noise / posts), 0.0)
    spread = effects.std()
    shrunk = effects * (np.sqrt(variance) / spread) if spread > 0 else effects
    return Components(seeds, posts, np.round(by_post, DECIMALS), shrunk, variance, float((rest**2).mean()))


@dataclass(frozen=True, slots=True)
class Design:
    """The mirrored population and the random numbers that every delta is tried with."""

    values: np.ndarray  # (2 posts,) differences and their mirror images, ascending
    levels: np.ndarray  # (2 posts,) which of the distinct magnitudes each has, 0 the smallest
    uniforms: np.ndarray  # (simulations, posts)
    seed_means: np.ndarray  # (simulations,) mean of the drawn seed effects
    seed_spreads: np.ndarray  # (simulations,) mean square of the drawn seeds about their mean
    parts: Components
    threshold: float
    half_width: float  # of the interval, in standard errors of the bootstrap

    @classmethod
    def of(cls, differences: np.ndarray, threshold: float, confidence: float, simulations: int) -> "Design | None":
        """None where nothing can ever be called."""
        if (~np.isnan(differences).any(axis=0)).sum() < 2:
            return None
        parts = components(differences)
        posts, seeds = parts.posts, parts.seeds
        if not parts.by_post.any() or 2.0 ** (1 - posts) >= threshold:
            return None
        values = np.sort(np.concatenate([parts.by_post, -parts.by_post]))
        generator = numpy_generator(0, "power", posts, seeds)
        drawn = parts.seed_effects[generator.integers(seeds, size=(simulations, seeds))]
        return cls(
            values=values,
            levels=np.unique(np.abs(values), return_inverse=True)[1],
            uniforms=generator.random((simulations, posts)),
            seed_means=_grouped(drawn.mean(axis=1)),
            seed_spreads=drawn.var(axis=1),
            parts=parts,
            threshold=threshold,
            half_width=float(-np.sqrt(posts / (posts - 1)) * stdtrit(posts - 1, (1 - confidence) / 2)),
        )


def _grouped(values: np.ndarray) -> np.ndarray:
    """Each value, or where there are many different ones the mean of those nearest to it: a tilt is made for each."""
    values = np.round(values, DECIMALS)
    if len(np.unique(values)) <= GROUPS:
        return values
    grouped = np.empty_like(values)
    for members in np.array_split(np.argsort(values, kind="stable"), GROUPS):
        grouped[members] = values[members].mean()
    return grouped


def power_at(design: Design, delta: float) -> float:
    """Share of simulated comparisons with true difference ``delta`` >= 0 that are called, in its direction."""
    drawn = np.empty(design.uniforms.shape, dtype=int)
    for effect in np.unique(design.seed_means):
        rows = design.seed_means == effect
        upto = np.cumsum(tilted(design.values, delta + float(effect)))
        drawn[rows] = np.minimum(np.searchsorted(upto, design.uniforms[rows] * upto[-1]), len(upto) - 1)
    by_post = design.values[drawn]
    mean = by_post.mean(axis=1)
    error = bootstrap_error(by_post.var(axis=1), design.seed_spreads, design.parts)
    above = mean - design.half_width * error > 0
    p = wilcoxon_of_levels(design.levels[drawn], by_post, len(design.levels), has_zeros=not design.values.all())
    return float((above & (p < design.threshold)).mean())


def tilted(values: np.ndarray, mean: float) -> np.ndarray:
    """Weights of ``values``, exponentially tilted to have that mean, or the extreme one where it is beyond."""
    largest = np.abs(values).max()
    scaled, target = values / largest, mean / largest

    def weights(theta: float) -> np.ndarray:
        raw = np.exp(theta * scaled - abs(theta))
        return raw / raw.sum()

    low, high = -200.0, 200.0  # at 200 all weight is on the extreme values
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if weights(middle) @ scaled < target else (low, middle)
    return weights(high)


def bootstrap_error(post_variance: np.ndarray, seed_variance: np.ndarray, parts: Components) -> np.ndarray:
    """Standard deviation of the crossed bootstrap's means (Owen 2007) in closed form, for each simulation.

    ``post_variance`` is that of the posts' means, ``seed_variance`` that of the seeds' effects, both over n.
    With shares w of S seeds and v of n posts from multinomials, Var(sum w_s v_j x_sj) of x with mean zero is
    (1 - 1/S) V_posts / n + (1 - 1/n) V_seeds / S + V_all / (S n), V the mean squares of the post means, the seed means
    and all values.
    """
    seeds, posts = parts.seeds, parts.posts
    of_seeds = seed_variance + parts.residual / posts  # the seeds' means also hold what posts and replies leave in them
    of_all = post_variance + of_seeds + parts.residual
    variance = (1 - 1 / seeds) * post_variance / posts + of_all / (seeds * posts)
    return np.sqrt(variance + ((1 - 1 / posts) * of_seeds / seeds if seeds > 1 else 0.0))


def wilcoxon_of_levels(levels: np.ndarray, values: np.ndarray, distinct: int, has_zeros: bool) -> np.ndarray:
    """Two-sided p (simulations,) of Wilcoxon's test with Pratt's zeros, all simulations at once.

    ``levels`` (simulations, posts) number the magnitudes of ``values`` in ascending order; that they are few is what
    makes ranks cheap. The normal approximation of :func:`polychrome.evaluation.statistics.wilcoxon`, corrected for
    ties and continuity, to the last bit or so; draws with replacement have ties, so it is what is used there too above
    13 posts.
    """
    simulations, posts = levels.shape
    cell = np.arange(simulations)[:, None] * distinct + levels
    shape = (simulations, distinct)
    of_level = np.bincount(cell.ravel(), minlength=simulations * distinct).reshape(shape).astype(float)
    won = np.bincount(cell[values > 0], minlength=simulations * distinct).reshape(shape)
    zeros = of_level[:, 0].copy() if has_zeros else np.zeros(simulations)
    ranks = np.cumsum(of_level, axis=1) - (of_level - 1) / 2
    if has_zeros:
        of_level[:, 0] = 0.0
    r_plus = (won * ranks).sum(axis=1)
    mean = (posts * (posts + 1) - zeros * (zeros + 1)) / 4
    squares = posts * (posts + 1) * (2 * posts + 1) - zeros * (zeros + 1) * (2 * zeros + 1)
    error = np.sqrt((squares - (of_level**3 - of_level).sum(axis=1) / 2) / 24)
    distance = np.maximum(np.abs(r_plus - mean) - 0.5, 0.0)
    return np.where(error > 0, 2 * ndtr(-distance / np.where(error > 0, error, 1.0)), 1.0)
