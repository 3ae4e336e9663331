"""Metrics and tests against other implementations, or their definitions counted out, on the same inputs."""

import numpy as np
import pytest

from polychrome.audit.controls.record import AS_EXPECTED, NOT_AS_EXPECTED
from polychrome.audit.controls.reference import CHECKS, controls
from polychrome.evaluation import passk, statistics
from polychrome.measures import sets
from polychrome.randomness import numpy_generator


def largest(check, seed=1):
    deviations = [abs(d) for d in check.deviations(numpy_generator(seed, "test", check.name))]
    return max(deviations), len(deviations)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_it_agrees_with_the_reference(check):
    deviation, values = largest(check)
    assert values >= 3
    assert deviation <= check.tolerance


def test_every_metric_and_test_that_the_issue_names_is_checked():
    assert {check.name for check in CHECKS} >= {
        "pass_at_k", "pass_at_k_enumerated", "self_bleu", "rouge", "cliffs_delta", "cohens_d", "holm", "wilcoxon",
        "bootstrap_interval",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("module", "name", "broken", "caught"),
    [
        (passk, "pass_at_k", lambda n, c, k: 1 - (1 - np.asarray(c) / n) ** k, "reference_pass_at_k"),  # plug-in
        (sets, "self_bleu", lambda replies: 0.5, "reference_self_bleu"),
        (statistics, "holm", lambda p: [min(1.0, len(p) * each) for each in p], "reference_holm"),  # Bonferroni
        (statistics, "cohens_d", lambda d: (float(d.mean() / d.std()), ""), "reference_cohens_d"),  # n, not n - 1
        (statistics, "cliffs_delta", lambda a, b: float((a[:, None] > b).mean()), "reference_cliffs_delta"),  # no ties
        (statistics, "wilcoxon", lambda d: (0.5, ""), "reference_wilcoxon"),
    ],
)
def test_a_broken_metric_is_caught(monkeypatch, module, name, broken, caught):
    monkeypatch.setattr(module, name, broken)
    assert {c.name: c.verdict for c in controls()}[caught] == NOT_AS_EXPECTED


def test_controls_say_the_largest_deviation_and_repeat():
    found = controls()
    assert [c.name for c in found] == [f"reference_{check.name}" for check in CHECKS]
    assert {c.verdict for c in found} == {AS_EXPECTED}
    assert all(c.value is not None and c.value < 0.02 for c in found)
    assert found == controls()
