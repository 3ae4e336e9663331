"""Who is learnt from and who is tested on: six parts, disjoint in every way that matters, each of exactly its size.

* **Groups.** Pairs of one conversation, and conversations joined by near-duplicate replies, form a group. Of a test
  group only one pair is used, so that test posts are independent draws, and no post occurs twice in the test set or
  again in another part. All other groups are dealt to the other parts in proportion to their sizes.
* **Strata.** Pairs are ranked by engagement, ties in a seeded random order, and cut into four equal quarters, each
  halved likewise by reply length. Every part draws equally from the eight; one that runs out is made up for from the
  others, and the validation (``polychrome.pairs.validation``) judges whether the parts are still alike.
* **Many replies a post.** With `split.per_conversation` n, sizes count conversations, of which a part has n pairs each
  and the test set one; engagement is the rank within a conversation.
* **References.** What else people replied to the very post of a test pair, in its group, has no part in anything but
  measuring how near to people the models come (``references.jsonl``).
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from polychrome import paths
from polychrome.errors import InputError, bad
from polychrome.files import Row, write_json, write_jsonl
from polychrome.measures.duplicates import near_duplicate_pairs, same_text_key
from polychrome.measures.words import count_words
from polychrome.pairs.schema import Pair, read_pairs, write_pairs
from polychrome.pairs.settings import SplitSettings
from polychrome.pairs.validation import validate
from polychrome.pairs.within import ranked_within
from polychrome.randomness import numpy_generator

QUARTERS = 4
STRATA = 2 * QUARTERS
PARTS = ("phase1", "phase2", "test", "validation", "judge", "reward")
ALONE = ("full", "test", "validation", "judge", "reward")  # files that are called as their part; full: both phases
FILES = {"phase1": "phase1_sft.jsonl", "phase2": "phase2_grpo.jsonl"} | {part: f"{part}.jsonl" for part in ALONE}


def split_file(
    pairs_path: str | Path, settings: SplitSettings, out_dir: str | Path, authors_may_cross: bool = True
) -> dict[str, Any]:
    """Split prepared pairs into ``out_dir``: :data:`FILES`, :func:`references` and ``phase_split_statistics.json``.

    ``full`` is phase 1 and phase 2 together. Returns the statistics. Raises InputError, with nothing written, when
    the pairs are malformed or too few, or when the validation fails: unless ``authors_may_cross``, for one author's
    replies in two parts, too.
    """
    pool = pool_of(read_pairs(pairs_path), settings)
    group_of = group_of_each(pool, settings.near_duplicate)
    parts, left_out = split_pairs(pool, settings, str(pairs_path), group_of)
    statistics, problems = validate(parts, pool, settings, authors_may_cross)
    if problems:
        raise InputError(problems)
    full = _shuffled([*parts["phase1"], *parts["phase2"]], settings.seed, "full")
    for part, file in FILES.items():
        write_pairs(Path(out_dir) / file, full if part == "full" else parts[part])
    write_jsonl(Path(out_dir) / paths.REFERENCES.name, references(parts["test"], pool, group_of))
    used = {name: value for name, value in asdict(settings).items() if name != "per_conversation" or value}
    statistics |= {"left_out": left_out, "settings": used | {"authors_may_cross": authors_may_cross}}
    write_json(Path(out_dir) / "phase_split_statistics.json", statistics)
    return statistics


def pool_of(pairs: list[Pair], settings: SplitSettings) -> list[Pair]:
    """The prepared pairs as they are split: with engagement as ranks where sizes count conversations."""
    return ranked_within(pairs) if settings.per_conversation else pairs


def split_pairs(
    pool: Sequence[Pair], settings: SplitSettings, where: str = "the pairs", group_of: Sequence[int] = ()
) -> tuple[dict[str, list[Pair]], dict[str, int]]:
    """The parts by the names of :data:`PARTS`, each in random order, and how many pairs were left out, by reason.

    ``group_of`` is :func:`group_of_each` of the pool, for who has it already. Raises InputError when ``pool`` holds
    fewer pairs than the split needs.
    """
    names = ("validation", "judge", "reward", "phase1", "phase2")
    sizes: dict[str, int] = {name: settings.pairs_of(name) for name in names}
    needed = settings.test_pairs + sum(sizes.values())
    if needed > len(pool):
        raise _too_few(where, f"{len(pool)} pairs", f"at least {needed} (all parts together)")
    strata = strata_of(pool, settings.seed)
    groups: dict[int, list[int]] = defaultdict(list)
    for number, group in enumerate(group_of or group_of_each(pool, settings.near_duplicate)):
        groups[group].append(number)
    test, free = _draw_test(pool, groups, strata, settings)
    if len(test) < settings.test_pairs:
        found = f"{len(test)} groups of conversations with posts of their own"
        raise _too_few(where, found, f"{settings.test_pairs} for the test set, which takes one pair of each")
    dealt = _deal(_thinned(free, strata, settings, sizes, where), strata, sizes, settings.seed)
    chosen = {"test": test}
    for name, size in sizes.items():
        if len(dealt[name]) < size:
            found = f"{len(dealt[name])} pairs for {name} in conversations of its own"
            raise _too_few(where, found, f"{size}, as split.{name}_pairs asks")
        chosen[name] = _by_quota(dealt[name], strata, size, settings.seed, name)
    left_out = {
        "conversation or post of a test pair": len(pool) - settings.test_pairs - sum(map(len, free)),
        "not needed": sum(map(len, free)) - sum(sizes.values()),
    }
    parts = {name: _shuffled([pool[number] for number in chosen[name]], settings.seed, name) for name in PARTS}
    return parts, left_out


def references(test: Sequence[Pair], pool: Sequence[Pair], group_of: Sequence[int]) -> list[Row]:
    """For each test pair the other pairs of ``pool`` in its group to exactly its post, in the pool's order.

    Rows of references.jsonl: {"id" of the test pair, "replies": texts, "engagement": numbers}.
    """
    where = {pair.id: (group, pair.post, pair.context) for pair, group in zip(pool, group_of, strict=True)}
    others: dict[Any, list[Pair]] = defaultdict(list)
    for pair in pool:
        others[where[pair.id]].append(pair)
    rows = []
    for one in test:
        found = [pair for pair in others[where[one.id]] if pair.id != one.id]
        replies, engagement = [pair.reply for pair in found], [pair.engagement for pair in found]
        rows.append({"id": one.id, "replies": replies, "engagement": engagement})
    return rows


def _too_few(where: str, found: str, expected: str) -> InputError:
    return bad(where, found, expected, "Lower split.*_pairs in params.yaml, raise data.limit, or bring more data.")


def _shuffled(pairs: list[Pair], seed: int, name: str) -> list[Pair]:
    """A random order that depends on nothing but seed and part, so that any head of the file is a fair sample."""
    order = numpy_generator(seed, "split", "order of file", name).permutation(len(pairs))
    return [pairs[number] for number in order]


def group_of_each(pool: Sequence[Pair], near_duplicate: float) -> list[int]:
    """For each pair the number of its group: conversations joined by near-duplicate replies."""
    first: dict[str, int] = {}
    joined = [(first.setdefault(pair.conversation, number), number) for number, pair in enumerate(pool)]
    joined += near_duplicate_pairs([pair.reply for pair in pool], near_duplicate)
    graph = sparse.coo_array((np.ones(len(joined)), np.transpose(joined)), shape=(len(pool), len(pool)))
    groups: list[int] = csgraph.connected_components(graph, directed=False)[1].tolist()
    return groups


def strata_of(pool: Sequence[Pair], seed: int) -> list[int]:
    """For each pair its stratum in [0, 8): twice the quarter of its engagement, plus the half of its reply length.

    Both by rank, ties in random order, so that the strata of n pairs have n / 8 each, give or take one.
    """
    tie_break = numpy_generator(seed, "split", "ties").permutation(len(pool))
    by_engagement = np.lexsort((tie_break, np.array([pair.engagement for pair in pool])))
    words = np.array([count_words(pair.reply) for pair in pool])
    strata = np.empty(len(pool), dtype=int)
    for quarter, members in enumerate(np.array_split(by_engagement, QUARTERS)):
        by_length = members[np.lexsort((tie_break[members], words[members]))]
        for half, chosen in enumerate(np.array_split(by_length, 2)):
            strata[chosen] = 2 * quarter + half
    return strata.tolist()


def quotas(size: int) -> list[int]:
    """How many pairs of each stratum a part of ``size`` draws: quarters within one of each other, halves too.

    The odd pair of a quarter goes to short and long replies by turns.
    """
    shares: list[int] = []
    odd_to_short = False
    for quarter in range(QUARTERS):
        share = (quarter + 1) * size // QUARTERS - quarter * size // QUARTERS
        if share % 2:
            odd_to_short = not odd_to_short
        short = (share + odd_to_short) // 2
        shares += [short, share - short]
    return shares


def _draw_test(
    pool: Sequence[Pair], groups: Mapping[int, list[int]], strata: Sequence[int], settings: SplitSettings
) -> tuple[list[int], list[list[int]]]:
    """Test pairs, one a group and no post twice (fewer than asked if there are no more), and what is left free.

    Free are the other groups, less the pairs whose post is in the test set.
    """
    group_of = {number: group for group, members in groups.items() for number in members}
    posts = [same_text_key(pair.post) for pair in pool]
    groups_used: set[int] = set()
    posts_used: set[str] = set()

    def take(number: int) -> bool:
        if group_of[number] in groups_used or posts[number] in posts_used:
            return False
        groups_used.add(group_of[number])
        posts_used.add(posts[number])
        return True

    test = _by_quota(range(len(pool)), strata, settings.test_pairs, settings.seed, "test", take)
    free = (
        [number for number in members if posts[number] not in posts_used]
        for group, members in groups.items()
        if group not in groups_used
    )
    return test, [members for members in free if members]


def _thinned(
    groups: list[list[int]], strata: Sequence[int], settings: SplitSettings, sizes: Mapping[str, int], where: str
) -> list[list[int]]:
    """The groups that parts are dealt: all, or where sizes count conversations so many, with so many pairs each.

    Which ones, and which of their pairs, is drawn at random, the pairs as equally from the strata as there are.
    """
    if not (each := settings.per_conversation):
        return groups
    enough, needed = [members for members in groups if len(members) >= each], sum(sizes.values()) // each
    if len(enough) < needed:
        found = f"{len(enough)} conversations of {each} pairs or more beside the test set"
        raise _too_few(where, found, f"{needed} (all other parts together)")
    order = numpy_generator(settings.seed, "split", "conversations").permutation(len(enough))[:needed].tolist()
    return [_by_quota(enough[place], strata, each, settings.seed, f"conversation {place}") for place in order]


def _deal(
    groups: Sequence[Sequence[int]], strata: Sequence[int], sizes: Mapping[str, int], seed: int
) -> dict[str, list[int]]:
    """Every group to one part: the one that so far has least, for its size, of the strata that the group holds.

    Parts that lack pairs come before those that have enough; what they all can spare is dealt alike.

    Large groups first, since small ones can even out what they left uneven; equally large ones in random order.
    """
    shuffled = numpy_generator(seed, "split", "deal").permutation(len(groups)).tolist()
    wanted = {name: np.maximum(quotas(size), 0.5) for name, size in sizes.items()}  # no division by zero
    has = {name: np.zeros(STRATA) for name in sizes}
    dealt: dict[str, list[int]] = {name: [] for name in sizes}
    for place in sorted(shuffled, key=lambda place: -len(groups[place])):
        brings = np.bincount([strata[number] for number in groups[place]], minlength=STRATA)
        short = [name for name in sizes if len(dealt[name]) < sizes[name]] or list(sizes)
        poorest = min(short, key=lambda name: float(brings @ (has[name] / wanted[name])))
        dealt[poorest] += groups[place]
        has[poorest] += brings
    return dealt


def _by_quota(
    numbers: Sequence[int],
    strata: Sequence[int],
    size: int,
    seed: int,
    name: str,
    take: Callable[[int], bool] = lambda number: True,
) -> list[int]:
    """``size`` of ``numbers`` in random order, as equally from the strata as they allow; fewer when there are fewer.

    ``take`` may refuse a number; it is asked only about those that fit.
    """
    order = [numbers[place] for place in numpy_generator(seed, "split", name).permutation(len(numbers))]
    left: list[float] = list(quotas(size))
    chosen: dict[int, None] = {}
    for _ in range(2):  # by quota, then from any stratum what the quotas could not fill
        for number in order:
            if len(chosen) < size and left[strata[number]] > 0 and number not in chosen and take(number):
                chosen[number] = None
                left[strata[number]] -= 1
        left = [np.inf] * STRATA
    return list(chosen)
