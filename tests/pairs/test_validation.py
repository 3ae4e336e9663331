"""The validation is fed splits that are wrong, one way each, and must notice."""

from dataclasses import replace

import numpy as np
import pytest

from polychrome.errors import InputError
from polychrome.measures.duplicates import jaccard, shingles
from polychrome.pairs.settings import SplitSettings
from polychrome.pairs.split import PARTS
from polychrome.pairs.validation import count_near_duplicates, quartile_edges, validate

SETTINGS = SplitSettings(
    **dict.fromkeys((f"{part}_pairs" for part in PARTS), 60), seed=0, near_duplicate=0.8, min_p=0.05
)


@pytest.fixture
def sound(make_pool):
    """A split by hand: pairs of conversations of their own, dealt in turn by engagement."""
    pool = [replace(pair, conversation=pair.id, author=pair.id) for pair in make_pool(count=360)]
    ranked = sorted(pool, key=lambda pair: pair.engagement)
    parts = {name: ranked[start::6] for start, name in enumerate(PARTS)}
    return parts | {"pool": pool}


def check(split, min_p=0.05, authors_may_cross=True, **changes):
    parts = split | changes
    pool = parts.pop("pool")
    return validate(parts, pool, replace(SETTINGS, min_p=min_p), authors_may_cross)


def wheres(result):
    return [problem.where for problem in result[1]]


def with_first(split, part, **changes):
    """The split with the first pair of a part changed, there and in the pool."""
    old = split[part][0]
    new = replace(old, **changes)
    pool = [new if pair == old else pair for pair in split["pool"]]
    return split | {part: [new, *split[part][1:]], "pool": pool}


def test_a_sound_split_passes(sound):
    statistics, problems = check(sound)
    assert problems == []
    assert statistics["chi_square"]["table"] == {name: [15, 15, 15, 15] for name in PARTS}


@pytest.mark.parametrize(("one", "other"), [("phase1", "phase2"), ("phase2", "test"), ("test", "judge")])
def test_what_leaks_between_two_parts_fails(one, other, sound):
    theirs = sound[other][5]
    for kind, changes in (
        ("conversations", {"conversation": theirs.conversation}),
        ("near_duplicate_replies", {"reply": theirs.reply + "!"}),
    ):
        assert wheres(check(with_first(sound, one, **changes))) == [f"split: {kind} in both of {one} / {other}"]
    both = with_first(sound, one, conversation=theirs.conversation, reply=theirs.reply)
    assert len(check(both)[1]) == 2
    assert f"split: pairs in both of {one} / {other}" in wheres(check(sound | {one: [*sound[one], theirs]}))


def test_a_pair_from_elsewhere_and_a_test_post_that_is_repeated_or_seen_elsewhere_fail(sound):
    foreign = replace(sound["test"][0], id="foreign")
    assert wheres(check(sound, test=[foreign, *sound["test"][1:]])) == ["split: pairs not in the pool"]
    repeated = with_first(sound, "test", post=sound["test"][1].post.upper())
    seen = with_first(sound, "test", post=sound["judge"][1].post)
    assert wheres(check(repeated)) == ["split: test posts repeated in test"]
    assert wheres(check(seen)) == ["split: test posts in another part"]


@pytest.mark.parametrize(
    ("measure", "found"),
    [
        (
            lambda pair: pair.engagement,
            ["engagement quartiles of the parts: chi-square", "engagement of phase1 / phase2: Kolmogorov-Smirnov"],
        ),
        (lambda pair: len(pair.reply), ["reply_words of phase1 / phase2: Kolmogorov-Smirnov"]),
    ],
)
def test_phases_that_differ_in_engagement_or_reply_length_fail_unless_min_p_allows_it(measure, found, sound):
    both = sorted([*sound["phase1"], *sound["phase2"]], key=measure)
    changes = {"phase1": both[:60], "phase2": both[60:]}
    assert {f"split: {what}" for what in found} <= set(wheres(check(sound, **changes)))
    assert check(sound, min_p=0.0, **changes)[1] == []


def test_engagement_that_differs_within_the_quartiles_alone_is_seen_by_kolmogorov_smirnov(sound):
    """Half of the upper quartile of one phase is zero in the other: a table of quartiles is not all there is."""
    ranked = sorted(sound["pool"], key=lambda pair: pair.engagement)
    low, high = [], []
    for start in range(0, 240, 60):
        low += ranked[start : start + 30]
        high += ranked[start + 30 : start + 60]
    found = wheres(check(sound, phase1=low, phase2=high[:60], test=high[60:], judge=high[:60]))
    assert "split: engagement of phase1 / test: Kolmogorov-Smirnov" in found


def test_shared_authors_are_counted_and_fail_only_where_they_may_not_cross(sound):
    leaky = with_first(sound, "phase1", author=sound["test"][0].author)
    assert check(leaky)[1] == []
    assert check(leaky)[0]["overlap"]["authors"]["phase1 / test"] == 1
    strict = check(leaky, authors_may_cross=False)
    assert wheres(strict) == ["split: authors in both of phase1 / test"]
    nameless = {name: [replace(pair, author="") for pair in pairs] for name, pairs in sound.items()}
    assert check(nameless, authors_may_cross=False)[1] == []  # unknown authors are nobody


def test_engagement_that_does_not_vary_and_an_empty_part_cannot_be_tested(sound):
    constant = {name: [replace(pair, engagement=2.0) for pair in pairs] for name, pairs in sound.items()}
    with pytest.raises(InputError, match="engagement 2 for nearly every pair"):
        check(constant)
    with pytest.raises(InputError, match="split: judge: found no pairs"):
        check(sound, judge=[])


@pytest.mark.parametrize(
    ("engagement", "edges"),
    [
        ([1, 2, 3, 4, 5], [2, 3, 4]),
        ([0] * 75 + list(range(1, 26)), [0]),  # the upper quartile is 0.25: nothing lies between
        ([0] * 60 + list(range(1, 41)), [0, 15.25]),
        ([0] * 90 + [1] * 10, [0]),
        ([0] * 99 + [1], []),
        ([0, 1, 1, 1, 1], []),  # nobody is above the edges, which all are 1
        ([3] * 10, []),
    ],
)
def test_quartiles_that_ties_leave_nearly_empty_are_merged(engagement, edges):
    assert quartile_edges(np.array(engagement, dtype=float)) == edges


def test_near_duplicates_are_counted_as_by_comparing_each_with_each(make_pool):
    first = [pair.reply for pair in make_pool(count=40, seed=1)] + ["so it goes", "short"]
    second = [text[:-3] for text in first] + ["SO it  goes", "shorts"]
    for threshold in (0.3, 0.8, 0.95):
        brute = sum(jaccard(shingles(one), shingles(other)) >= threshold for one in first for other in second)
        assert brute > 0
        assert count_near_duplicates(first, second, threshold) == brute
    assert count_near_duplicates(["abcdefgh"], ["abcdefghi"], 0.8) == 1  # 4 of 5 shingles
    assert count_near_duplicates(["abcdefgh"], ["abcdefghi"], 0.81) == 0
