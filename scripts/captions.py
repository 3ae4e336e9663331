"""Rated captions of the New Yorker's caption contest, as source `replies` reads them; docs/captions.md.

    .venv/bin/python scripts/captions.py SUMMARIES CONTESTS data/captions.jsonl

SUMMARIES is the folder contests/summaries of github.com/nextml/caption-contest-data-api, CONTESTS the file
contests.json, its folder data beside it, of github.com/epfl-ada/ada-2025-project-adacore42. The two number contests
differently, by up to two, so a description and its ratings are matched by the captions that both have.
"""

import argparse
import csv
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from polychrome.errors import InputError, bad
from polychrome.files import Row, write_jsonl
from polychrome.measures.duplicates import trimmed
from polychrome.measures.words import count_words
from polychrome.randomness import numpy_generator

LEVELS = ("unfunny", "somewhat_funny", "funny")  # worth 0, 1 and 2
RATINGS = 30  # that a caption needs
WORDS = range(3, 19)
MOST = 120  # captions of a scene, drawn at random
COMPARED, SHARED = 300, 60  # first captions of a scene; of which more than so many are those of its ratings
SEED = 20260101


def rated(folder: Path) -> dict[int, dict[str, tuple[int, int]]]:
    """Contest -> caption -> how often it was rated, and the points it got, over all samplers of its raters.

    Left out are rounds, which asked otherwise, and ratings of how original a caption is.
    """
    found: dict[int, dict[str, tuple[int, int]]] = defaultdict(dict)
    for file in sorted(folder.glob("*_summary_*.csv")):
        number = re.match(r"(\d+)_summary_", file.name)
        if not number or "original" in file.name:
            continue
        of = found[int(number[1])]
        for row in _rows(file, "caption", *LEVELS):
            counts, caption = [int(float(row[level])) for level in LEVELS], trimmed(row["caption"])
            times, points = of.get(caption, (0, 0))
            of[caption] = times + sum(counts), points + counts[1] + 2 * counts[2]
    if not found:
        raise bad(str(folder), "no file <number>_summary_*.csv", "contests/summaries", "Name that folder.")
    return found


def _rows(file: Path, *columns: str) -> Iterator[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        reader = csv.DictReader(lines)
        if not set(columns) <= set(reader.fieldnames or ()):
            raise bad(
                str(file), f"columns {reader.fieldnames}", ", ".join(columns), "Take the commit in docs/captions.md."
            )
        yield from reader


def scenes(contests: Path) -> Iterator[tuple[int, str, set[str]]]:
    """Number, description and first captions of every contest that is described."""
    for one in json.loads(contests.read_text(encoding="utf-8")):
        number, described = one["contest_id"], (one.get("metadata") or {}).get("image_descriptions")
        file = contests.parent / f"data/{number}.csv"
        if described and file.is_file():
            captions = [trimmed(row["caption"]) for row in _rows(file, "caption")]
            yield number, trimmed(described[0]), set(captions[:COMPARED])


def converted(summaries: Path, contests: Path) -> list[Row]:
    """A row for each caption: likes over the post's likes is the mean rating, from 0 to 2."""
    of_contest, rows = rated(summaries), []
    for number, scene, captions in scenes(contests):
        near = [other for other in range(number - 2, number + 3) if other in of_contest]
        best = max(near, key=lambda other: len(captions & of_contest[other].keys()), default=None)
        if best is None or len(captions & of_contest[best].keys()) <= SHARED:
            continue
        ratings = of_contest.pop(best)  # whose scene is found
        fit = [text for text, (times, _) in ratings.items() if times >= RATINGS and count_words(text) in WORDS]
        drawn = numpy_generator(SEED, "captions", best).permutation(len(fit))[:MOST]
        for place, text in enumerate(fit[i] for i in sorted(drawn)):
            about = {"tweet": scene, "reply": text, "tweet_id": f"nycc-{best}", "reply_id": f"nycc-{best}-{place:03d}"}
            rows.append(about | dict(zip(("tweet_likes", "reply_likes"), ratings[text], strict=True)))
    if not rows:
        raise bad(str(contests), "no scene whose captions are rated", "both repositories", "Check the two paths.")
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Convert; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("summaries", "contests", "out"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args(arguments)
    try:
        rows = converted(given.summaries, given.contests)
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    write_jsonl(given.out, rows)
    print(f"{given.out}: {len(rows):,} captions of {len({row['tweet_id'] for row in rows})} scenes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
