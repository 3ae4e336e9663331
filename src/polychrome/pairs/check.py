"""What a run would make of a file: what is read, what is dropped and for example which, whether a split fits."""

import io
from collections import Counter
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from polychrome.errors import InputError
from polychrome.files import shown
from polychrome.pairs.cleaning import MISSING, judged, pairs_of, read_source
from polychrome.pairs.split import pool_of, split_pairs
from polychrome.pairs.validation import validate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from polychrome.pairs.schema import Pair
    from polychrome.pairs.settings import DataSettings, SplitSettings
    from polychrome.pairs.sources import Candidate
    from polychrome.params import Params

EXAMPLES = 3  # of what is dropped for a reason


def check(path: str | Path, params: "Params") -> str:
    """A report on ``path`` under sections `data` and `split`, in plain text; nothing is written.

    Read by source `replies` unless `data.source` is another one that reads it. Raises InputError when it cannot be
    read at all; that pairs are too few, or parts unlike each other, is part of the report.
    """
    said = io.StringIO()
    with redirect_stdout(said):
        settings, candidates = _read(replace(params.data, path=str(path)), own=str(path) == params.data.path)
    kept, dropped = judged(candidates, settings)
    pairs = pairs_of(kept)
    lines = [*said.getvalue().splitlines(), f"{path}: source {settings.source}, {len(candidates):,} replies"]
    lines += [f"{len(pairs):,} become pairs, in {len({pair.conversation for pair in pairs}):,} conversations"]
    for reason, those in dropped.items():
        if those:
            lines += [f"{len(those):,} dropped: {reason}", *map(_example, those[:EXAMPLES])]
    mended = Counter(what for candidate in candidates for what in candidate.mended)
    lines += [f"{count:,} texts mended: {what}" for what, count in sorted(mended.items())]
    return "\n".join([*lines, *_split(pairs, params.split, str(path))])


def _read(settings: "DataSettings", own: bool) -> tuple["DataSettings", "list[Candidate]"]:
    if settings.source not in ("replies", "tweets"):
        try:
            return settings, read_source(settings)
        except InputError:
            if own:  # the file that the source is configured for: what it says is wrong is what is wrong
                raise
    settings = replace(settings, source="replies")
    return settings, read_source(settings)


def _example(candidate: "Candidate") -> str:
    texts = [("post", candidate.post), ("reply", candidate.reply)]
    return f"    {candidate.where or candidate.id}: " + ", ".join(f"{name} {_short(text)}" for name, text in texts)


def _short(text: str | None) -> str:
    return MISSING.split()[0] if text is None else shown(text)


def _split(pairs: "Sequence[Pair]", settings: "SplitSettings", where: str) -> list[str]:
    pairs = pool_of(list(pairs), settings)
    try:
        parts, _ = split_pairs(pairs, settings, where)
        _, problems = validate(parts, pairs, settings)
    except InputError as error:
        problems = error.problems
    if problems:
        return ["the split does not fit:", *(f"    {problem}" for problem in problems)]
    sizes = ", ".join(f"{part} {len(members):,}" for part, members in parts.items())
    return [f"the split fits: {sizes}; {len(pairs) - sum(map(len, parts.values())):,} pairs are not needed"]
