import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from polychrome.errors import InputError
from polychrome.measures.words import count_words
from polychrome.pairs.schema import read_pairs, write_pairs
from polychrome.pairs.settings import SplitSettings
from polychrome.pairs.split import (
    FILES,
    group_of_each,
    pool_of,
    quotas,
    references,
    split_file,
    split_pairs,
    strata_of,
)

SIZES = {"phase1": 60, "phase2": 40, "test": 24, "validation": 12, "judge": 100, "reward": 40}
MIN_P = 0.01  # thirty-one tests a split: at 0.05 a sound one would fail now and then
SETTINGS = SplitSettings(
    **{f"{part}_pairs": size for part, size in SIZES.items()}, seed=7, near_duplicate=0.8, min_p=MIN_P
)


def sizes_of(parts):
    return {name: len(pairs) for name, pairs in parts.items()}


def quarter_counts(pairs, pool, seed=SETTINGS.seed):
    quarter = {pair.id: stratum // 2 for pair, stratum in zip(pool, strata_of(pool, seed), strict=True)}
    counts = Counter(quarter[pair.id] for pair in pairs)
    return [counts[each] for each in range(4)]


@pytest.mark.parametrize("zeros", [0.0, 0.75, 0.95])
@pytest.mark.parametrize("seed", range(3))
def test_sizes_come_out_exactly_and_equally_from_the_quarters_whatever_the_ties(zeros, seed, make_pool):
    pool = make_pool(zeros=zeros, seed=seed)
    parts = split_pairs(pool, replace(SETTINGS, seed=seed))[0]
    assert sizes_of(parts) == SIZES
    for name, pairs in parts.items():
        assert quarter_counts(pairs, pool, seed) == [SIZES[name] // 4] * 4


@pytest.mark.parametrize("own", [False, True])  # conversations of several pairs, or posts that come again elsewhere
def test_no_conversation_and_no_test_post_is_in_two_parts_and_each_gives_one_test_pair(own, make_pool):
    pool = make_pool(count=900, conversations=300)
    if own:
        pool = [replace(pair, conversation=pair.id, post=f"Post {n % 120}?") for n, pair in enumerate(pool)]
    parts = split_pairs(pool, SETTINGS)[0]
    test, others = parts.pop("test"), list(parts.values())
    conversations = [{pair.conversation for pair in pairs} for pairs in (test, *others)]
    assert len(set.union(*conversations)) == sum(map(len, conversations))
    posts = {pair.post for pair in test}
    assert len(conversations[0]) == len(posts) == 24
    assert not posts & {pair.post for pairs in others for pair in pairs}


def test_conversations_with_nearly_the_same_reply_stay_together(make_pool):
    pool = make_pool(count=300, conversations=300)
    copies = [
        replace(pair, id=f"copy {n}", conversation=f"other {n}", reply=pair.reply + "!") for n, pair in enumerate(pool)
    ]
    part = {pair.id: name for name, pairs in split_pairs(pool + copies, SETTINGS)[0].items() for pair in pairs}
    both = [(part.get(pair.id), part.get(f"copy {n}")) for n, pair in enumerate(pool)]
    assert any(one and one == other for one, other in both)
    assert all(one == other for one, other in both if one and other)
    assert ("test", "test") not in both


def test_groups_are_joined_through_a_chain_of_near_duplicates(make_pool):
    a, b, c, d = make_pool(count=4, conversations=1000)
    chained = [a, replace(b, reply=a.reply + "."), replace(c, conversation=b.conversation), d]
    first, second, third, fourth = group_of_each(chained, 0.8)
    assert first == second == third != fourth


def test_pairs_left_out_are_counted_and_a_pool_that_just_suffices_is_used_up(make_pool):
    parts, left_out = split_pairs(make_pool(), SETTINGS)
    assert sum(SIZES.values()) + sum(left_out.values()) == 400
    pool = [replace(pair, conversation=pair.id) for pair in make_pool(count=276)]
    parts, left_out = split_pairs(pool, SETTINGS)
    assert sum(left_out.values()) == 0
    assert quarter_counts(parts["phase1"], pool) == [15, 15, 15, 15]


def test_sizes_come_out_where_a_stratum_is_locked_in_one_conversation(make_pool):
    ranked = sorted(make_pool(count=600, conversations=400), key=lambda pair: pair.engagement)
    best = [replace(pair, conversation="all the best") for pair in ranked[450:]]
    parts = split_pairs([*ranked[:450], *best], SETTINGS)[0]
    assert sizes_of(parts) == SIZES
    assert sum(pair.conversation == "all the best" for pair in parts["test"]) <= 1


@pytest.mark.parametrize(
    ("count", "conversations", "message"),
    [
        (275, 10_000, "found 275 pairs; expected at least 276"),
        (400, 20, "found 20 groups of conversations with posts of their own; expected 24 for the test set"),
        (292, 26, "pairs for (validation|judge|reward) in conversations of its own; expected"),
    ],
)
def test_fewer_pairs_than_the_split_needs_is_reported_with_what_there_is(count, conversations, message, make_pool):
    with pytest.raises(InputError, match=message):
        split_pairs(make_pool(count=count, conversations=conversations), SETTINGS)


@pytest.mark.parametrize("size", [4, 10, 24, 50, 61])
def test_quotas_sum_to_the_size_and_differ_by_at_most_one(size):
    shares = np.array(quotas(size)).reshape(4, 2)
    assert shares.sum() == size
    assert np.ptp(shares.sum(axis=1)) <= 1
    assert np.ptp(shares.sum(axis=0)) <= 1


def test_strata_are_quarters_of_engagement_halved_by_reply_length(make_pool):
    pool = make_pool(count=800)
    strata = np.array(strata_of(pool, 7))
    engagement = np.array([pair.engagement for pair in pool])
    words = np.array([count_words(pair.reply) for pair in pool])
    assert Counter(strata.tolist()) == dict.fromkeys(range(8), 100)
    for quarter in range(3):
        assert engagement[strata // 2 == quarter].max() <= engagement[strata // 2 == quarter + 1].min()
    for quarter in range(4):
        assert words[strata == 2 * quarter].max() <= words[strata == 2 * quarter + 1].min()


def test_references_are_what_others_of_the_group_replied_to_exactly_the_test_post(make_pool):
    one, *others = [replace(pair, conversation="a", post="same") for pair in make_pool(count=7)]
    pool = [
        others[0],
        replace(others[1], post="same?"),
        one,
        replace(others[2], conversation="b", reply=others[0].reply + "."),  # joined to the group by its reply
        replace(others[3], conversation="c"),
        replace(others[4], context=(("user", "before"),)),
        replace(others[5], conversation="d", post="alone"),
    ]
    found = references([pool[-1], one], pool, group_of_each(pool, 0.8))
    of_one = [pool[0], pool[3]]
    assert found == [
        {"id": pool[-1].id, "replies": [], "engagement": []},
        {"id": one.id, "replies": [p.reply for p in of_one], "engagement": [p.engagement for p in of_one]},
    ]


# --- many replies to a post ---

MANY = replace(SETTINGS, **{f"{part}_pairs": n for part, n in zip(SIZES, (6, 5, 8, 2, 7, 4), strict=True)})
MANY = replace(MANY, per_conversation=8)


def scenes(make_pool, posts=32, replies=20):
    """Posts with many replies each, the later posts the better liked."""
    pool = make_pool(count=posts * replies)
    return [
        replace(
            pair, conversation=f"scene {n % posts}", post=f"Scene {n % posts}.", engagement=pair.engagement + n % posts
        )
        for n, pair in enumerate(pool)
    ]


def test_sizes_count_conversations_each_with_its_pairs_and_all_replies_to_a_test_post_stay(make_pool):
    pool = pool_of(scenes(make_pool), MANY)
    group_of = group_of_each(pool, 0.8)
    parts, left_out = split_pairs(pool, MANY, group_of=group_of)
    test = parts.pop("test")
    for name, pairs in parts.items():
        counts = Counter(pair.conversation for pair in pairs)
        assert list(counts.values()) == [8] * getattr(MANY, f"{name}_pairs")
        for scene in counts:  # two of each quarter of what a scene got: nobody trains on its best replies alone
            quarters = [int(pair.engagement * 4) for pair in pairs if pair.conversation == scene]
            assert max(Counter(quarters).values()) <= 4
    assert len({pair.conversation for pair in test}) == len(test) == 8
    assert sum(left_out.values()) == len(pool) - sum(map(len, parts.values())) - 8
    for row, pair in zip(references(test, pool, group_of), test, strict=True):
        others = [one for one in pool if one.post == pair.post and one.id != pair.id]
        assert (len(others), row["replies"]) == (19, [one.reply for one in others])


def test_engagement_is_ranked_within_conversations_in_every_file_and_only_then(make_pool, tmp_path):
    write_pairs(tmp_path / "pairs.jsonl", scenes(make_pool))
    statistics = split_file(tmp_path / "pairs.jsonl", replace(MANY, min_p=0.0), tmp_path)
    assert statistics["settings"]["per_conversation"] == 8
    for file in FILES.values():
        assert {pair.engagement for pair in read_pairs(tmp_path / file)} <= {(n + 0.5) / 20 for n in range(20)}
    pool = make_pool()
    assert pool_of(pool, SETTINGS) is pool
    write_pairs(tmp_path / "pairs.jsonl", pool)
    assert "per_conversation" not in split_file(tmp_path / "pairs.jsonl", SETTINGS, tmp_path)["settings"]


def test_too_few_conversations_with_enough_pairs_are_reported(make_pool):
    pool = [pair for n, pair in enumerate(scenes(make_pool)) if n % 32 < 28 or n < 7 * 32]  # four scenes have seven
    with pytest.raises(
        InputError, match=r"found (18|19|2[0-2]) conversations of 8 pairs or more beside the test set; expected 24"
    ):
        split_pairs(pool, replace(MANY, test_pairs=10))


# --- files ---


def test_files_hold_the_parts_are_the_same_bytes_twice_and_a_split_that_fails_leaves_them(make_pool, tmp_path):
    pairs, phases = tmp_path / "pairs.jsonl", tmp_path / "phases"
    write_pairs(pairs, make_pool())
    statistics = split_file(pairs, SETTINGS, phases)
    written = {part: read_pairs(phases / file) for part, file in FILES.items()}
    assert sizes_of(written) == SIZES | {"full": SIZES["phase1"] + SIZES["phase2"]}
    assert set(written["full"]) == {*written["phase1"], *written["phase2"]}
    rows = [json.loads(line) for line in (phases / "references.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [pair.id for pair in written["test"]]
    assert json.loads((phases / "phase_split_statistics.json").read_text()) == statistics
    assert split_pairs(make_pool(), replace(SETTINGS, seed=8))[0]["test"] != written["test"]
    split_file(pairs, SETTINGS, tmp_path / "again")
    for settings, cross in ((replace(SETTINGS, judge_pairs=5000), True), (SETTINGS, False)):
        with pytest.raises(InputError):
            split_file(pairs, settings, phases, authors_may_cross=cross)
    one, other = (
        {file.name: file.read_bytes() for file in folder.iterdir()} for folder in (phases, tmp_path / "again")
    )
    assert one == other
