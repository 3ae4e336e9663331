"""XML whose elements have attributes and no text of their own: the dumps of Stack Exchange."""

from pathlib import Path
from xml.parsers import expat

from polychrome.errors import bad
from polychrome.pairs.formats.rows import Record


def records(path: Path, content: bytes) -> tuple[str, list[Record]]:
    """The kind in words, and the attributes of every ``row`` with its line. Raises InputError."""
    parser = expat.ParserCreate()
    found: list[Record] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        if name == "row":
            found.append((f"{path}:{parser.CurrentLineNumber}", dict(attributes)))

    def declared(*_: object) -> None:
        raise bad(str(path), "a declaration of entities", "plain XML", "Remove it: it may expand without end.")

    parser.StartElementHandler, parser.EntityDeclHandler = start, declared
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        found_here = f"malformed XML ({expat.ErrorString(error.code)} at column {error.offset + 1})"
        raise bad(f"{path}:{error.lineno}", found_here, "valid XML", "Fix it.") from error
    if not found:
        raise bad(str(path), "XML without a <row .../>", "a dump of Stack Exchange", "Name its file Posts.xml.")
    return "XML", found
