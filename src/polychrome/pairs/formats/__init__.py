"""How other people's files are read: a container gives records, a shape says which replies they hold.

A record is an object or a row with its place (``file:line``). A container is recognised by its content, whatever the
file is called, compressed or not; a shape by the records. A new shape is a file in ``shapes`` and its name in
:data:`SHAPES`.
"""

import re
from pathlib import Path

from polychrome.errors import Problem, bad
from polychrome.pairs.formats import columnar, markup, objects, tables
from polychrome.pairs.formats.content import content_of, foreign, looks_binary, text_of
from polychrome.pairs.formats.rows import Record

MEND = "Fix it, or set data.path in params.yaml to another file or folder."
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".xml")  # of the files of a folder
NOT_DATA = ("dataset_info.json", "state.json")  # what `datasets` writes beside an Arrow file
ARCHIVE = r"tweets?(-part\d+)?\.js"  # of all that is in an archive of X
SHAPES = ("messages", "x", "reddit", "stackexchange", "columns")  # asked in this order; the last takes any record


def files_of(path: Path) -> list[Path]:
    """``path``, or the files of a folder that may hold data, by name. Hidden files are none of them."""
    if not path.is_dir():
        return [path]
    found = [file for file in sorted(path.iterdir()) if not file.name.startswith(".") and file.is_file()]
    stems = {file: re.sub(r"\.(gz|zst)$", "", file.name.lower()) for file in found}
    data = [
        file
        for file, stem in stems.items()
        if (stem.endswith(SUFFIXES) and stem not in NOT_DATA) or re.fullmatch(ARCHIVE, stem)
    ]
    if not data:
        found = f"no .jsonl file, nor one that ends in {', '.join(SUFFIXES[1:])} or is called tweets.js"
        raise bad(str(path), found, "at least one", MEND)
    return data


def records_of(path: Path, problems: list[Problem]) -> tuple[str, list[Record]]:
    """The kind of a file, in words, and its records; what is wrong with single lines goes to ``problems``.

    Raises InputError when it is no file that can be read.
    """
    content = content_of(path, MEND)
    if content.startswith(columnar.MAGIC):
        return columnar.records(path, content)
    if kind := foreign(content):
        raise bad(str(path), f"what looks like {kind}", "JSON, CSV, Parquet, Arrow or XML", f"Convert it. {MEND}")
    if looks_binary(content):
        raise bad(str(path), "a binary file of an unknown kind", "JSON, CSV, Parquet, Arrow or XML", MEND)
    if content.lstrip().startswith((b"<?xml", b"<posts", b"\xef\xbb\xbf<")):
        return markup.records(path, content)
    lines = text_of(path, content, problems)
    if objects.holds(path, lines):
        return objects.records(path, lines, problems)
    if not tables.delimiter_of(next(line for line in lines if line.strip())):
        raise bad(str(path), "what looks like plain text", "JSON, CSV, Parquet, Arrow or XML", MEND)
    return tables.records(path, lines, problems)
