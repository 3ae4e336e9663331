"""A reply a record, each field in a column of its own, by whatever name."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from polychrome.declare import nearest
from polychrome.errors import Problems, bad
from polychrome.pairs.formats.rows import Record, Rows
from polychrome.pairs.formats.values import FIELDS

NEEDED = ("post", "reply")


def fits(record: Mapping[str, Any]) -> bool:
    """Any record does."""
    return True


def rows(files: Sequence[tuple[Path, list[Record]]], columns: Mapping[str, str]) -> list[Rows]:
    """The fields of every record by the ``columns`` (field: column) that were named, others as they are guessed.

    Raises InputError for a file in which one that is named, or post and reply, are not there.
    """
    problems, found = Problems(), []
    for path, records in files:
        with problems.caught():
            named = columns_of(path, records, columns)
            kept = [
                (where, {field: record[name] for field, name in named.items() if name in record})
                for where, record in records
            ]
            guess = ", ".join(f"{field}: {name}" for field, name in named.items())
            found.append(Rows(kept, named, [f"{path}: data.columns: {{{guess}}}"]))
    problems.raise_any()
    return found


def columns_of(path: Path, records: Sequence[Record], columns: Mapping[str, str]) -> dict[str, str]:
    """Which column each field is read from: as ``columns`` says, else the one with the most usual name for it."""
    names = {name: None for _, record in records for name in record}
    if not names:
        raise bad(str(path), "no row below the header", "at least one", "Check the file.")
    for field, name in columns.items():
        if name not in names:
            expected = f"a column of {path}"
            raise bad(f"params.yaml:data.columns.{field}", name, expected, nearest(name, names))
    found, plain = dict(columns), {name.strip().casefold().replace(" ", "_").replace("-", "_"): name for name in names}
    for field, about in FIELDS.items():
        usual = [plain[name] for name in about.usual if name in plain and plain[name] not in found.values()]
        if field not in found and usual:
            found[field] = usual[0]
    if not set(NEEDED) <= set(found):
        first, second = (*_longest(records), "...", "...")[:2]
        remedy = f"Say which in params.yaml, e.g. data.columns: {{post: {first}, reply: {second}}}."
        raise bad(str(path), f"the columns {', '.join(names)}", "one with the post and one with the reply", remedy)
    return {field: found[field] for field in FIELDS if field in found}


def _longest(records: Sequence[Record]) -> list[str]:
    """The columns whose texts are longest, of which two are likely to be post and reply."""
    size: dict[str, int] = {}
    for _, record in records[:100]:
        for name, value in record.items():
            size[name] = size.get(name, 0) + (len(value) if isinstance(value, str) else 0)
    longest = sorted(size, key=size.__getitem__, reverse=True)[:2]
    return [name for name in size if name in longest and size[name]]
