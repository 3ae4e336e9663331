"""The text of a file: decompressed, decoded by its mark, in lines however they end."""

import codecs
from pathlib import Path

from polychrome.errors import InputError, Problem, bad
from polychrome.files import decoded_lines

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
MARKS = {  # of encodings that are not UTF-8; the longest first, since one begins like another
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
FOREIGN = {  # how files begin that hold no records for us
    b"PK\x03\x04": "a ZIP archive or an Excel workbook",
    b"SQLite format 3": "an SQLite database",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"%PDF": "a PDF",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
    b"7z\xbc\xaf": "a 7z archive",
    b"\x80\x04": "a Python pickle",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy array",
}


def content_of(path: Path, remedy: str) -> bytes:
    """The bytes of a file, decompressed where they are gzip's or zstd's, whatever the file is called."""
    if not path.is_file():
        raise bad(str(path), "no such file", "the source's data", remedy)
    content = path.read_bytes()
    if content.startswith((GZIP, ZSTD)):
        import pyarrow  # here: few files need it

        codec = "gzip" if content.startswith(GZIP) else "zstd"
        try:
            with pyarrow.input_stream(pyarrow.BufferReader(content), compression=codec) as stream:
                content = stream.read()
        except (OSError, ValueError) as error:
            by_hand = f"Decompress it yourself (`{'gunzip' if codec == 'gzip' else 'unzstd --long=31'} {path}`)."
            raise bad(str(path), f"{codec} data that cannot be opened ({error})", "a whole file", by_hand) from error
    if not content.strip():
        raise bad(str(path), "an empty file", "the source's data", remedy)
    return content


def foreign(content: bytes) -> str:
    """What a file that is nothing for us looks like, in words; "" when it may be text."""
    if content[257:262] == b"ustar":
        return "a tar archive"
    if content[:200].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "a web page"
    return next((kind for begin, kind in FOREIGN.items() if content.startswith(begin)), "")


def looks_binary(content: bytes) -> bool:
    """Whether ``content`` has so many zero bytes that it is no text, in an encoding with a mark or in UTF-8."""
    head = content[:4096]
    return not head.startswith(tuple(MARKS)) and head.count(0) > len(head) // 20


def text_of(path: Path, content: bytes, problems: list[Problem]) -> list[str]:
    """The lines of ``content``, blank where they are not text, which goes to ``problems``.

    Marks of the byte order are taken out wherever they stand, as they do where files were appended to each other.
    """
    encoding = next((name for mark, name in MARKS.items() if content.startswith(mark)), "")
    if encoding:
        try:
            content = content.decode(encoding).encode()
        except UnicodeError as error:
            raise bad(str(path), f"text that is not {encoding} ({error})", "text", "Convert it to UTF-8.") from error
    content = content.replace(codecs.BOM_UTF8, b"").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    lines, wrong = decoded_lines(path, content)
    if not any(line.strip() for line in lines):
        raise InputError(wrong or [Problem(str(path), "an empty file", "the source's data", "Check the file.")])
    problems += wrong
    return lines
