"""What stands in a page, by Python's own parser: elements in order, their attributes, their text."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "img", "input", "hr"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    children: list = field(default_factory=list)  # of Element and str

    def __iter__(self):
        yield self
        for child in self.children:
            if isinstance(child, Element):
                yield from child

    @property
    def text(self) -> str:
        """All text in it, white space joined."""
        return " ".join("".join(self._texts()).split())

    def _texts(self):
        for child in self.children:
            yield from [child] if isinstance(child, str) else child._texts()

    def all(self, tag: str, **attributes: str):
        """Every element in it with this tag and these attributes."""
        return [e for e in self if e.tag == tag and attributes.items() <= e.attributes.items()]

    def one(self, identity: str):
        """The element with this id, of which there is one."""
        (found,) = [e for e in self if e.attributes.get("id") == identity]
        return found

    def rows(self) -> dict[str, list[str]]:
        """The rows of a table below its head: what stands first -> the cells."""
        return {row.all("th")[0].text: [cell.text for cell in row.all("td")] for row in self.all("tr")[1:]}


class _Parser(HTMLParser):
    def __init__(self):
        super().__init__()
        self.stack = [Element("", {})]

    def handle_starttag(self, tag, attrs):
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.stack[-1].children.append(element)
        if tag not in VOID:
            self.stack.append(element)

    def handle_startendtag(self, tag, attrs):
        self.stack[-1].children.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.stack.pop().tag == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        self.stack[-1].children.append(data)


def parse(text: str) -> Element:
    """The document; an element that is not closed where it should be is an error."""
    parser = _Parser()
    parser.feed(text)
    parser.close()
    (document,) = parser.stack
    return document
