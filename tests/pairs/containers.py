"""The same rows in every container that source `replies` reads."""

import csv
import gzip
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import ipc, parquet

Rows = Sequence[dict[str, Any]]


def json_lines(rows: Rows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def table(rows: Rows, delimiter: str = ",", newline: str = "\n") -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter, lineterminator=newline)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def columnar(rows: Rows, write: Callable[[pyarrow.Table, Any], None]) -> bytes:
    sink = pyarrow.BufferOutputStream()
    write(pyarrow.Table.from_pylist(list(rows)), sink)
    return sink.getvalue().to_pybytes()


def _arrow(opened: Callable[..., Any]) -> Callable[[pyarrow.Table, Any], None]:
    def write(rows: pyarrow.Table, sink: Any) -> None:
        with opened(sink, rows.schema) as writer:
            writer.write_table(rows)

    return write


PLAIN: dict[str, Callable[[Rows], bytes]] = {
    "lines.jsonl": json_lines,
    "array.json": lambda rows: json.dumps(list(rows), ensure_ascii=False).encode(),
    "pretty.json": lambda rows: json.dumps(list(rows), indent=2).encode(),
    "after_each_other.json": lambda rows: "\n".join(json.dumps(row, indent=1) for row in rows).encode(),
    "table.csv": table,
    "table.tsv": lambda rows: table(rows, "\t"),
    "european.csv": lambda rows: table(rows, ";"),
    "rows.parquet": lambda rows: columnar(rows, parquet.write_table),
    "rows.arrow": lambda rows: columnar(rows, _arrow(ipc.new_file)),
    "stream.arrow": lambda rows: columnar(rows, _arrow(ipc.new_stream)),
}
ENCODED: dict[str, Callable[[Rows], bytes]] = {
    "mark.csv": lambda rows: b"\xef\xbb\xbf" + table(rows),
    "marks_within.jsonl": lambda rows: b"\xef\xbb\xbf".join(json_lines([row]) for row in rows),
    "utf16.csv": lambda rows: table(rows).decode().encode("utf-16"),
    "utf16.jsonl": lambda rows: json_lines(rows).decode().encode("utf-16"),
    "dos.csv": lambda rows: table(rows, newline="\r\n"),
    "old_mac.csv": lambda rows: table(rows, newline="\r"),
    "cr.jsonl": lambda rows: json_lines(rows).replace(b"\n", b"\r"),
}
COMPRESSED: dict[str, Callable[[Rows], bytes]] = {
    f"{name}.{end}": lambda rows, make=make, pack=pack: pack(make(rows))
    for name, make in PLAIN.items()
    for end, pack in (
        ("gz", gzip.compress),
        ("zst", lambda content: pyarrow.compress(content, codec="zstd", asbytes=True)),
    )
}
CONTAINERS = PLAIN | ENCODED | COMPRESSED


def write(folder: Path, name: str, rows: Rows) -> Path:
    path = folder / name
    path.write_bytes(CONTAINERS[name](rows))
    return path
