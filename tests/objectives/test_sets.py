"""The advantages of sets: against brute force, against the papers, and unbiased over every outcome there is."""

from functools import cache
from itertools import combinations, product
from math import comb, sqrt

import numpy as np
import pytest
import torch

from polychrome.objectives.grpo import grpo_terms
from polychrome.objectives.sets import components, means_with, set_advantages

from .enumeration import LENGTHS, MASK, SEQUENCES, TinyPolicy

N = 4
REWARDS = np.array([0.2, 1.0, 0.0, 0.9, 0.0, 0.3, 0.7])  # of SEQUENCES
KINDS = np.array([0, 1, 0, 2, -1, 1, 2])
ALIKE = np.eye(7, dtype=bool)  # 1 bridges 0 and 3; 5 and 6 are alike; 4 makes no class
for _one, _other in ((0, 1), (1, 3), (5, 6)):
    ALIKE[_one, _other] = ALIKE[_other, _one] = True
ALIKE[4, 4] = False


def spread(rewards, classes):
    """A score of the user's own: the best reward less the worst, and a tenth for each class of two."""
    return rewards.max() - rewards.min() + 0.1 * sum((classes == one).sum() == 2 for one in set(classes) - {-1})


def joined(alike):
    """Classes of a set by walking from each reply to what it is like, for comparison."""
    classes = np.full(len(alike), -1)
    for start in np.flatnonzero(np.diagonal(alike)):
        waiting = [start] if classes[start] < 0 else []
        while waiting:
            at = waiting.pop()
            if alike[at, at] and classes[at] < 0:
                classes[at] = start
                waiting += np.flatnonzero(alike[at]).tolist()
    return classes


def f(score, members, rewards, classes):
    """The score of the set ``members`` by its definition; it reads nothing else."""
    members = list(members)
    r = rewards[members]
    within = classes[members] if classes.ndim == 1 else joined(classes[np.ix_(members, members)])
    distinct = len(set(within) - {-1})
    known = {"best": r.max(), "distinct": distinct / len(r), "poly": r.mean() * distinct / len(r)}
    return score(r, within) if callable(score) else known[score]


def brute(score, rewards, classes, n):
    """A and q by the definition: means over the sets with and without each reply."""
    sets = {members: f(score, members, rewards, classes) for members in combinations(range(len(rewards)), n)}
    q = [np.mean([value for members, value in sets.items() if i in members]) for i in range(len(rewards))]
    v = [np.mean([value for members, value in sets.items() if i not in members]) for i in range(len(rewards))]
    return n / len(rewards) * (np.array(q) - v), np.array(q)


def drawn(count, seed=0, ties=False):
    """Rewards, fixed classes and which are alike, of so many replies."""
    random = np.random.default_rng(seed)
    rewards = random.integers(0, 3, count) / 2 if ties else random.random(count)
    alike = np.triu(random.random((count, count)) < 1.5 / count)
    alike = alike | alike.T
    np.fill_diagonal(alike, random.random(count) < 0.8)
    return rewards, random.integers(-1, 4, count), alike


# --- the closed forms and the subsets -----------------------------------------------------------------------------


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("score", ["best", "poly", "distinct", spread])
@pytest.mark.parametrize(("count", "n"), [(2, 1), (5, 1), (5, 4), (8, 4), (9, 2)])
def test_advantages_are_those_of_the_definition_and_sum_to_zero(score, count, n, ties):
    rewards, fixed, alike = drawn(count, seed=count + n, ties=ties)
    for classes in (fixed, alike):
        advantages, q = brute(score, rewards, classes, n)
        found = set_advantages(rewards, classes, score, n)
        assert found == pytest.approx(advantages, abs=1e-12)
        assert found.sum() == pytest.approx(0, abs=1e-12)
        assert means_with(rewards, classes, score, n) == pytest.approx(q, abs=1e-12)


def test_a_group_large_enough_for_no_list_of_its_sets_has_its_closed_forms():
    """C(100, 50) is 1e29. Of 100 replies of one class the mean set has one class in 50, whoever is in it."""
    rewards = np.arange(100.0)
    assert set_advantages(rewards, np.zeros(100, dtype=int), "distinct", 50) == pytest.approx(np.zeros(100))
    poly = set_advantages(rewards, np.zeros(100, dtype=int), "poly", 50)
    assert poly == pytest.approx((rewards - rewards.mean()) / 50 / 99)  # mean reward / 50
    best = set_advantages(rewards, None, "best", 50)
    assert (np.diff(best) >= -1e-12).all()
    assert best[-1] > 0 > best[0]


@pytest.mark.parametrize("score", ["best", "poly", "distinct"])
def test_equal_replies_have_advantages_of_exactly_zero(score):
    for reward in (0.1, 0.7, 1 / 3):
        assert (set_advantages([reward] * 6, np.zeros(6, dtype=int), score, 4) == 0).all()


def test_a_single_reply_is_a_set_of_rloo():
    """RLOO (Kool et al. 2019): r_i less the mean of the others; (N - 1) A_i = r_i - mean r."""
    rewards, _, alike = drawn(6)
    others = (rewards.sum() - rewards) / 5
    for score, classes in (("best", None), (lambda r, _: r[0], alike)):
        advantages = set_advantages(rewards, classes, score, 1)
        assert advantages == pytest.approx((rewards - others) / 6, abs=1e-15)
        assert 5 * advantages == pytest.approx(rewards - rewards.mean(), abs=1e-15)


def test_a_chain_of_likenesses_is_one_class_and_what_is_unlike_itself_joins_nothing():
    line = np.eye(9, dtype=bool) | np.eye(9, k=1, dtype=bool) | np.eye(9, k=-1, dtype=bool)
    assert components(line).tolist() == [0] * 9
    line[4, 4] = False
    assert components(line).tolist() == [0, 0, 0, 0, -1, 5, 5, 5, 5]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n": 4}, "n = 4 of N = 4"),
        ({"n": 0}, "n = 0 of N = 4"),
        ({"score": "worst"}, "'worst'"),
        ({"classes": None}, "got None"),
        ({"classes": [0.0, 1.0, 2.0, 3.0]}, "got float64"),
        ({"classes": np.triu(np.ones((4, 4), dtype=bool))}, "symmetric"),
        ({"rewards": [0.0, 1.0, np.nan, 0.0]}, "finite"),
        ({"score": spread, "most": 1}, "2 or more subsets"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        set_advantages(**{"rewards": [0.0, 1.0, 0.5, 0.0], "classes": [0, 0, 1, 2], "score": "poly", "n": 2} | wrong)


# --- a sample of the subsets --------------------------------------------------------------------------------------


def test_the_advantages_of_sampled_sets_have_the_exact_ones_as_their_mean():
    """Over every outcome of two draws from the C(4, 2) sets, each drawn as it would be."""
    rewards, _, alike = drawn(4, seed=3)
    sets, exact = np.array(list(combinations(range(4), 2))), set_advantages(rewards, alike, "poly", 2)
    found = []
    for pick in product(range(6), repeat=2):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("polychrome.objectives.sets._subsets", lambda *_, pick=pick: (sets[list(pick)], True))
            found.append(set_advantages(rewards, alike, "poly", 2))
    assert np.mean(found, axis=0) == pytest.approx(exact, abs=1e-12)
    assert np.ptp(found, axis=0).min() > 0.01


def test_a_sample_is_of_sets_of_n_and_depends_on_its_seed_alone():
    rewards, _, alike = drawn(9)
    exact = set_advantages(rewards, alike, "poly", 4)
    some, again, other = (set_advantages(rewards, alike, "poly", 4, most=60, seed=seed) for seed in (0, 0, 1))
    assert some.tolist() == again.tolist() != other.tolist()
    samples = [set_advantages(rewards, alike, "poly", 4, most=60, seed=seed) for seed in range(400)]
    error = np.std(samples, axis=0) / 20
    assert (np.abs(np.mean(samples, axis=0) - exact) < 4 * error).all()
    assert np.sum(samples, axis=1) == pytest.approx(np.zeros(400), abs=1e-12)


# --- every outcome of a tiny policy -------------------------------------------------------------------------------

POLICY = TinyPolicy(0)
CHANCES = POLICY.probabilities().detach().numpy()
SCORES = np.stack([POLICY.gradient(logp.sum()).numpy() for logp in POLICY.logps()])  # (7, 12) grad log p
GROUPS = list(product(range(len(SEQUENCES)), repeat=N))  # 2401 outcomes
CASES = [("best", KINDS), ("poly", KINDS), ("poly", ALIKE), ("distinct", ALIKE), (spread, ALIKE)]


def of_group(classes, group):
    """Rewards and classes of the replies drawn; equal replies are alike."""
    group = list(group)
    return REWARDS[group], classes[group] if classes.ndim == 1 else classes[np.ix_(group, group)]


def gradient_of_expected_score(score, classes, n):
    """grad E f(S) over every S of n draws, (12,)."""
    sets = list(product(range(len(SEQUENCES)), repeat=n))
    values = torch.tensor([f(score, range(n), *of_group(classes, one)) for one in sets], dtype=torch.float64)
    return POLICY.gradient((POLICY.probabilities()[torch.tensor(sets)].prod(-1) * values).sum()).numpy()


def expected(advantages_of):
    """E[ sum_i A_i grad log p(y_i) ] over every group of N, (12,)."""
    total = np.zeros(12)
    for group in GROUPS:
        total += CHANCES[list(group)].prod() * advantages_of(group) @ SCORES[list(group)]
    return total


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize(("score", "classes"), CASES)
def test_the_expected_gradient_is_the_exact_one_of_the_expected_score(score, classes, n):
    found = expected(lambda group: set_advantages(*of_group(classes, group), score, n))
    exact = gradient_of_expected_score(score, classes, n)
    assert found == pytest.approx(exact, abs=1e-12)
    assert np.linalg.norm(exact) > 1e-2


def test_classes_found_among_all_replies_bias_the_gradient():
    """Reply 1 joins 0 and 3 where it is drawn: then a set of 0 and 3 without it would count one class, not two."""

    def among_all(group):
        rewards, alike = of_group(ALIKE, group)
        return set_advantages(rewards, joined(alike), "poly", 2)

    exact = gradient_of_expected_score("poly", ALIKE, 2)
    assert np.linalg.norm(expected(among_all) - exact) > 0.01 * np.linalg.norm(exact)


def loss_gradient(loss_type, advantages_of):
    """Expected gradient (12,) of GRPO's policy term, on policy, over every group."""
    logps = POLICY.logps()
    weights = torch.zeros(len(SEQUENCES), dtype=torch.float64)  # of each reply, over all groups
    for group in GROUPS:
        weights.index_add_(0, torch.tensor(group), torch.from_numpy(CHANCES[list(group)].prod() * advantages_of(group)))
    terms = grpo_terms(
        logps, logps.detach(), logps.detach(), weights, MASK, loss_type=loss_type, epsilon=0.2, epsilon_high=0.2,
        max_completion_length=2, sequences=N, tokens=1.0,
    )  # fmt: skip
    return POLICY.gradient(terms.policy).numpy()


def test_dr_grpo_descends_the_score_up_to_a_constant_and_grpo_another_thing():
    """dr_grpo divides by N L = 8; grpo by N and each length, which is the gradient that A_i / |y_i| would have."""

    @cache
    def poly(group):
        return set_advantages(*of_group(ALIKE, group), "poly", 2)

    exact = gradient_of_expected_score("poly", ALIKE, 2)
    assert loss_gradient("dr_grpo", poly) == pytest.approx(-exact / 8, abs=1e-12)
    by_length = expected(lambda group: poly(group) / LENGTHS.numpy()[list(group)])
    assert loss_gradient("grpo", poly) == pytest.approx(-by_length / 4, abs=1e-12)
    cosine = by_length @ exact / np.linalg.norm(by_length) / np.linalg.norm(exact)
    assert cosine < 0.999


# --- what the papers have -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 3, 5])
@pytest.mark.parametrize("passes", [1, 2, 4, 7])
def test_of_passes_they_are_pass_at_k_trainings_advantages_times_n_sigma_over_n_less(passes, n):
    """arXiv 2508.10751, analytical derivation: mean and std of a set's reward, advantages of a pass and a failure."""
    count, failures = 8, 8 - passes
    mean = 1 - comb(failures, n) / comb(count, n)
    sigma = sqrt(mean * (1 - mean))
    if sigma == 0:  # every set passes
        nothing = set_advantages([1.0] * passes + [0.0] * failures, None, "best", n)
        assert nothing == pytest.approx(np.zeros(count), abs=1e-12)
        return
    of_pass = (1 - mean) / sigma
    of_failure = (1 - mean - comb(failures - 1, n - 1) / comb(count - 1, n - 1)) / sigma
    advantages = set_advantages([1.0] * passes + [0.0] * failures, None, "best", n)
    wanted = np.array([of_pass] * passes + [of_failure] * failures)
    assert advantages == pytest.approx(n * sigma / (count - n) * wanted, abs=1e-12)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_pkpos_weights_are_n_over_n_q_and_its_leave_one_out_baseline_that_of_the_definition(k):
    """arXiv 2505.15201: s_i = sum_j m_ij g_j / C(n, k) in ascending order; baseline: max g @ k of the others."""
    count, g = 6, np.sort(drawn(6)[0])

    def max_at_k(values):
        values = np.sort(values)
        return sum(comb(j, k - 1) * value for j, value in enumerate(values)) / comb(len(values), k)

    m = np.zeros((count, count))
    for i in range(count):
        m[i, i] = comb(i, k - 1)
        for j in range(i + 1, count):
            m[i, j] = comb(j - 1, k - 2) if k > 1 else 0
    s = m @ g / comb(count, k)
    assert k / count * means_with(g, None, "best", k) == pytest.approx(s, abs=1e-12)
    without = np.array([max_at_k(np.delete(g, i)) for i in range(count)])
    assert set_advantages(g, None, "best", k) == pytest.approx(s - k / count * without, abs=1e-12)


@pytest.mark.parametrize("classes", [KINDS, ALIKE])
def test_they_are_poly_epos_all_subsets_form_over_one_less_n_over_n(classes):
    """arXiv 2604.17654: each set's score less the mean score of all, given to its members, over all C(N, n) sets."""
    n = 4
    sets = list(combinations(range(7), n))
    scores = np.array([f("poly", one, REWARDS, classes) for one in sets])
    given = np.zeros(7)
    for one, score in zip(sets, scores - scores.mean(), strict=True):
        given[list(one)] += score / len(sets)
    assert set_advantages(REWARDS, classes, "poly", n) == pytest.approx(given / (1 - n / 7), abs=1e-12)
