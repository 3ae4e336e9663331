"""From a source's file to prepared pairs: which candidates become pairs, and for what reason the others do not.

A candidate is dropped for the first reason of :data:`REASONS` that holds, so that candidates = kept + dropped. Those
that no reason of their own drops are visited in a seeded random order: a reply that repeats one already kept is a
duplicate, and once ``limit`` pairs are kept, all that follow are beyond it. What is kept is therefore a random sample
of the distinct replies, written in the order of the source.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from polychrome.errors import bad
from polychrome.files import write_json
from polychrome.measures.duplicates import NearDuplicates, same_text_key, trimmed
from polychrome.measures.words import count_words
from polychrome.pairs.schema import Pair, write_pairs
from polychrome.pairs.settings import DataSettings
from polychrome.pairs.sources import Candidate, reader_of
from polychrome.randomness import numpy_generator

MISSING = "missing field"  # post or reply is null or blank
ONESELF = "reply to oneself"
UNMEASURED = "no engagement measured"  # chitchat: nobody answered the reply; tweets: likes are not given
REPOST = "repost"  # "RT @someone: ...": what somebody else wrote
LINKS = "URL only"  # post or reply is links (and handles) alone
NON_TEXT = "non-text"  # letters are too small a share of post or reply
SHORT = "too short"
LONG = "too long"
EXACT = "exact duplicate"  # the reply is one already kept, but for case, white space or Unicode compatibility
NEAR = "near duplicate"
BEYOND = "beyond limit"
REASONS = (MISSING, ONESELF, UNMEASURED, REPOST, LINKS, NON_TEXT, SHORT, LONG, EXACT, NEAR, BEYOND)
MIN_LETTERS = 0.5  # letters among the characters that are no white space, links and handles left out
SEED = 7  # which of several duplicates is kept, and which pairs the limit keeps

_LINK = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
_HANDLE = re.compile(r"(?<!\w)@\w+")


def prepare(settings: DataSettings, out_dir: str | Path) -> dict[str, Any]:
    """Write ``pairs.jsonl`` and ``cleaning_report.json`` to ``out_dir``; returns the report.

    Raises InputError when the source is unknown or malformed, or when no pair is left; nothing is written then.
    """
    pairs, counted = clean(read_source(settings), settings)
    report = {"source": settings.source, **counted}
    if not pairs:
        dropped = {reason: count for reason, count in report["dropped"].items() if count}
        found = f"no pair left of {report['candidates']} (dropped: {dropped})"
        raise bad(settings.path, found, "at least one pair", "Check the source, or loosen data.* in params.yaml.")
    write_json(Path(out_dir) / "cleaning_report.json", report)
    write_pairs(Path(out_dir) / "pairs.jsonl", pairs)
    return report


def read_source(settings: DataSettings) -> list[Candidate]:
    """The candidates of the source that ``settings`` name. Raises InputError when it is unknown or malformed."""
    read = reader_of(settings.source)
    asked = [name for name in signature(read).parameters if name != "path"]
    return read(Path(settings.path), **{name: getattr(settings, name) for name in asked})


def clean(
    candidates: Iterable[Candidate], settings: DataSettings, seed: int = SEED
) -> tuple[list[Pair], dict[str, Any]]:
    """The pairs to keep, and the report of what was counted. Pure: no file, and randomness from ``seed`` alone."""
    candidates = list(candidates)
    kept, dropped = judged(candidates, settings, seed)
    if len(candidates) != len(kept) + sum(map(len, dropped.values())):
        found = f"{len(kept)} kept and {sum(map(len, dropped.values()))} dropped"
        raise AssertionError(f"{len(candidates)} candidates, but {found}")
    read_by = ("source", "path", "columns", "strip", "context_turns")
    thresholds = {name: value for name, value in asdict(settings).items() if name not in read_by}
    report: dict[str, Any] = {
        "candidates": len(candidates),
        "kept": len(kept),
        "dropped": {reason: len(dropped[reason]) for reason in REASONS},
        "thresholds": thresholds | {"min_letters": MIN_LETTERS, "seed": seed},
        "conversations": len({candidate.conversation for candidate in kept}),
        "authors": len({candidate.author for candidate in kept if candidate.author}),
    }
    if mended := Counter(what for candidate in candidates for what in candidate.mended):
        report["mended"] = dict(sorted(mended.items()))
    if kept:
        engagement = np.array([candidate.engagement for candidate in kept], dtype=float)
        names = ("min", "lower quartile", "median", "upper quartile", "max")
        quartiles = zip(names, np.quantile(engagement, [0, 0.25, 0.5, 0.75, 1]).tolist(), strict=True)
        report["engagement"] = dict(quartiles) | {"share of zeros": float(np.mean(engagement == 0))}
        report["engagement spearman with"] = _confounders(kept)
    return pairs_of(kept), report


def pairs_of(kept: Iterable[Candidate]) -> list[Pair]:
    """The pairs of candidates without a fault."""
    return [
        Pair(
            one.id,
            one.conversation,
            trimmed(one.post or ""),
            trimmed(one.reply or ""),
            one.engagement,
            one.author,
            tuple((role, trimmed(text)) for role, text in one.context),
        )
        for one in kept
        if one.engagement is not None  # fault_of dropped the others
    ]


def judged(
    candidates: Sequence[Candidate], settings: DataSettings, seed: int = SEED
) -> tuple[list[Candidate], dict[str, list[Candidate]]]:
    """Who is kept, in the order they came, and who is dropped, by the reason: every reason is there."""
    dropped: dict[str, list[Candidate]] = {reason: [] for reason in REASONS}
    sound: list[Candidate] = []
    for candidate in candidates:
        fault = fault_of(candidate, settings)
        (dropped[fault] if fault else sound).append(candidate)
    return _distinct(sound, settings, seed, dropped), dropped


def fault_of(candidate: Candidate, settings: DataSettings) -> str:
    """The first reason to drop a candidate that can be seen in it alone, "" when there is none."""
    post, reply = trimmed(candidate.post or ""), trimmed(candidate.reply or "")
    if not (post and reply):
        return MISSING
    if candidate.author and candidate.author == candidate.post_author:
        return ONESELF
    if candidate.engagement is None:
        return UNMEASURED
    if post.startswith("RT @") or reply.startswith("RT @"):
        return REPOST
    if is_links_only(post) or is_links_only(reply):
        return LINKS
    if min(letter_share(post), letter_share(reply)) < MIN_LETTERS:
        return NON_TEXT
    post_words, reply_words = count_words(post), count_words(reply)
    if min(post_words, reply_words) < settings.min_words:
        return SHORT
    return LONG if post_words > settings.max_post_words or reply_words > settings.max_reply_words else ""


def _distinct(
    sound: Sequence[Candidate], settings: DataSettings, seed: int, dropped: dict[str, list[Candidate]]
) -> list[Candidate]:
    """Candidates whose replies differ, at most ``limit``, in the order they came; the others go to ``dropped``."""
    order = numpy_generator(seed, "prepare", "order").permutation(len(sound)).tolist()
    replies = [candidate.reply or "" for candidate in sound]
    index = NearDuplicates(replies, settings.near_duplicate)
    seen: set[str] = set()
    kept: list[int] = []
    for place, number in enumerate(order):
        if settings.limit and len(kept) == settings.limit:
            dropped[BEYOND] += [sound[number] for number in order[place:]]
            break
        key = same_text_key(replies[number])
        if key in seen:
            dropped[EXACT].append(sound[number])
        elif index.of(number):
            dropped[NEAR].append(sound[number])
        else:
            seen.add(key)
            index.add(number)
            kept.append(number)
    return [sound[number] for number in sorted(kept)]


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


# --- links and letters ------------------------------------------------------------------------------------------------


def is_links_only(text: str) -> bool:
    """Whether nothing with a letter or digit is left of ``text`` without its links and @handles, of which it has one.

    Handles alone are no link: "@someone" is judged by its length.
    """
    if not _LINK.search(text):
        return False
    return count_words(_without_links(text)) == 0


def _without_links(text: str) -> str:
    text = _LINK.sub(" ", text)
    return _HANDLE.sub(" ", text) if "@" in text else text


def letter_share(text: str) -> float:
    """Letters among the characters of ``text`` that are not white space, in [0, 1]; links and @handles left out.

    A mark that combines with a letter is a part of it and counts as neither. Nothing but links gives 0.
    """
    rest = _without_links(text)
    letters = sum(map(str.isalpha, rest))
    marks = 0 if rest.isascii() else sum(unicodedata.category(mark)[0] == "M" for mark in rest)
    size = len("".join(rest.split())) - marks
    return letters / size if size else 0.0
