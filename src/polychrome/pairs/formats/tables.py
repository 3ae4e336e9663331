"""CSV and TSV: every cell is text, an empty one is missing; what it means is decided later, by its column."""

import csv
from collections import Counter
from pathlib import Path

from polychrome.errors import Problem
from polychrome.pairs.formats.rows import Record

DELIMITERS = {"\t": "TSV", ",": "CSV", ";": "CSV with ;", "|": "CSV with |"}
csv.field_size_limit(2**31 - 1)  # a text of any length


def delimiter_of(header: str) -> str:
    """What divides a header into most columns, "" when nothing does."""
    return max(DELIMITERS, key=header.count) if any(mark in header for mark in DELIMITERS) else ""


def records(path: Path, lines: list[str], problems: list[Problem]) -> tuple[str, list[Record]]:
    """The kind in words, and every row with the line that it begins on; what is wrong with a row: ``problems``."""
    start = next(number for number, line in enumerate(lines) if line.strip())
    delimiter = delimiter_of(lines[start]) or ","
    reader = csv.reader((f"{line}\n" for line in lines[start:]), delimiter=delimiter, strict=True)
    names: list[str] = []
    found: list[Record] = []
    line = start + 1
    try:
        for row in reader:
            where, line = f"{path}:{line}", start + reader.line_num + 1
            if not names:
                names = [name.strip() for name in row]
                twice = [name for name, count in Counter(names).items() if name and count > 1]
                problems += [Problem(f"{where}:{name}", "a second such column", "one", "Rename it.") for name in twice]
            elif len(row) == len(names):
                found.append((where, {name: cell or None for name, cell in zip(names, row, strict=True) if name}))
            elif row and not (len(row) == 1 and not row[0].strip()):
                expected = f"{len(names)}, as in the header"
                problems.append(Problem(where, f"{len(row)} cells", expected, "Quote cells with delimiters in them."))
    except csv.Error as error:
        problems.append(Problem(f"{path}:{line}", f"a row that cannot be read ({error})", "CSV", "Fix its quotes."))
    return DELIMITERS[delimiter], found
