"""Parquet and Arrow, by the library that `datasets` reads and writes them with."""

from pathlib import Path

from polychrome.errors import bad
from polychrome.pairs.formats.rows import Record

PARQUET, ARROW, STREAM = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"
MAGIC = (PARQUET, ARROW, STREAM)


def records(path: Path, content: bytes) -> tuple[str, list[Record]]:
    """The kind in words, and every row with its number, counted from 1; NaN is missing. Raises InputError."""
    import pyarrow
    from pyarrow import ipc, parquet

    kind = "Parquet" if content.startswith(PARQUET) else "Arrow"
    buffer = pyarrow.BufferReader(content)
    try:
        if kind == "Parquet":
            table = parquet.read_table(buffer)
        else:
            table = (ipc.open_file if content.startswith(ARROW) else ipc.open_stream)(buffer).read_all()
    except (pyarrow.ArrowException, OSError) as error:
        found = f"{kind} that does not open ({str(error).splitlines()[0]})"
        raise bad(str(path), found, "a whole file", "Fetch or write it again.") from error
    return kind, [
        (f"{path}:row {number}", {name: None if value != value else value for name, value in row.items()})
        for number, row in enumerate(table.to_pylist(), start=1)
    ]
