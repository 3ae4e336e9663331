"""Which candidates become pairs, and for what reason the others do not.

A candidate is dropped for the first reason of :data:`REASONS` that holds, and every dropped one is counted, so that
candidates = kept + dropped. The reasons that look at one candidate alone come first. The rest are then visited in a
seeded random order: a reply that repeats one already kept is a duplicate (duplicates are judged by the reply, since
it is what a model learns to write), and once ``limit`` pairs are kept, all that follow are beyond it, unlooked at.
What is kept is therefore a random sample of the distinct replies, written in the order of the source.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from polychrome.measures.duplicates import NearDuplicates, same_text_key, trimmed
from polychrome.measures.words import count_words
from polychrome.pairs.schema import Pair
from polychrome.pairs.settings import DataSettings
from polychrome.pairs.sources import Candidate
from polychrome.pairs.text import is_links_only, letter_share
from polychrome.randomness import numpy_generator

MISSING = "missing field"  # post or reply is null or blank
ONESELF = "reply to oneself"
UNMEASURED = "no engagement measured"  # chitchat: nobody answered the reply; tweets: likes are not given
LINKS = "URL only"  # post or reply is links (and handles) alone
NON_TEXT = "non-text"  # letters are too small a share of post or reply
SHORT = "too short"
LONG = "too long"
EXACT = "exact duplicate"  # the reply is one already kept, but for case, white space or Unicode compatibility
NEAR = "near duplicate"
BEYOND = "beyond limit"
REASONS = (MISSING, ONESELF, UNMEASURED, LINKS, NON_TEXT, SHORT, LONG, EXACT, NEAR, BEYOND)
MIN_LETTERS = 0.5  # letters among the characters that are no white space, links and handles left out
SEED = 7  # which of several duplicates is kept, and which pairs the limit keeps


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What cleaning kept and what it counted."""

    pairs: list[Pair]
    report: dict[str, Any]


def clean(candidates: Iterable[Candidate], settings: DataSettings, seed: int = SEED) -> Cleaned:
    """Sort candidates into pairs and counted drops. Pure: no file, and randomness from ``seed`` alone."""
    judged = [(candidate, fault_of(candidate, settings)) for candidate in candidates]
    total, dropped = len(judged), Counter(fault for _, fault in judged if fault)
    sound = [candidate for candidate, fault in judged if not fault]
    kept = _distinct(sound, settings, seed, dropped)
    if total != len(kept) + dropped.total():
        raise AssertionError(f"{total} candidates, but {len(kept)} kept and {dropped.total()} dropped")
    pairs = [_pair(candidate) for candidate in kept]
    return Cleaned(pairs, _report(total, pairs, kept, dropped, settings, seed))


def fault_of(candidate: Candidate, settings: DataSettings) -> str:
    """The first reason to drop a candidate that can be seen in it alone, "" when there is none."""
    post, reply = trimmed(candidate.post or ""), trimmed(candidate.reply or "")
    if not (post and reply):
        return MISSING
    if candidate.author and candidate.author == candidate.post_author:
        return ONESELF
    if candidate.engagement is None:
        return UNMEASURED
    if is_links_only(post) or is_links_only(reply):
        return LINKS
    if min(letter_share(post), letter_share(reply)) < MIN_LETTERS:
        return NON_TEXT
    post_words, reply_words = count_words(post), count_words(reply)
    if min(post_words, reply_words) < settings.min_words:
        return SHORT
    return LONG if post_words > settings.max_post_words or reply_words > settings.max_reply_words else ""


def _distinct(sound: Sequence[Candidate], settings: DataSettings, seed: int, dropped: Counter[str]) -> list[Candidate]:
    """Candidates whose replies differ, at most ``limit``, in the order they came; counts the others in ``dropped``."""
    order = numpy_generator(seed, "prepare", "order").permutation(len(sound)).tolist()
    replies = [candidate.reply or "" for candidate in sound]
    index = NearDuplicates(replies, settings.near_duplicate)
    seen: set[str] = set()
    kept: list[int] = []
    for place, number in enumerate(order):
        if settings.limit and len(kept) == settings.limit:
            dropped[BEYOND] += len(order) - place
            break
        key = same_text_key(replies[number])
        if key in seen:
            dropped[EXACT] += 1
        elif index.of(number):
            dropped[NEAR] += 1
        else:
            seen.add(key)
            index.add(number)
            kept.append(number)
    return [sound[number] for number in sorted(kept)]


def _pair(candidate: Candidate) -> Pair:
    assert candidate.post is not None  # fault_of dropped the others
    assert candidate.reply is not None
    assert candidate.engagement is not None
    return Pair(
        id=candidate.id,
        conversation=candidate.conversation,
        post=trimmed(candidate.post),
        reply=trimmed(candidate.reply),
        engagement=candidate.engagement,
        author=candidate.author,
    )


def _report(
    total: int,
    pairs: Sequence[Pair],
    kept: Sequence[Candidate],
    dropped: Counter[str],
    settings: DataSettings,
    seed: int,
) -> dict[str, Any]:
    thresholds = {name: value for name, value in asdict(settings).items() if name not in ("source", "path")}
    report: dict[str, Any] = {
        "candidates": total,
        "kept": len(pairs),
        "dropped": {reason: dropped[reason] for reason in REASONS},
        "thresholds": thresholds | {"min_letters": MIN_LETTERS, "seed": seed},
        "conversations": len({pair.conversation for pair in pairs}),
        "authors": len({pair.author for pair in pairs if pair.author}),
    }
    if pairs:
        engagement = np.array([pair.engagement for pair in pairs])
        edges = np.quantile(engagement, [0, 0.25, 0.5, 0.75, 1])
        names = ("min", "lower quartile", "median", "upper quartile", "max")
        report["engagement"] = dict(zip(names, edges.tolist(), strict=True)) | {
            "share of zeros": float(np.mean(engagement == 0))
        }
        report["engagement spearman with"] = _confounders(kept)
    return report


def _confounders(kept: Sequence[Candidate]) -> dict[str, float]:
    """Spearman correlation of engagement with each circumstance: what moves engagement besides the words.

    Only over the pairs that have the circumstance; left out where fewer than three have it or it does not vary.
    """
    found: dict[str, float] = {}
    for name in sorted({name for candidate in kept for name in candidate.circumstances}):
        having = [candidate for candidate in kept if name in candidate.circumstances]
        values = [candidate.circumstances[name] for candidate in having]
        engagement = [candidate.engagement for candidate in having]
        if len(having) >= 3 and len(set(values)) > 1 and len(set(engagement)) > 1:
            found[name] = float(stats.spearmanr(values, engagement).statistic)
    return found
