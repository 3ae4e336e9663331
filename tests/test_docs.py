"""README and docs: every link leads somewhere, every file, setting and test that they name is there."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "data/README.md", ROOT / "benchmarks/README.md", *sorted(ROOT.glob("docs/*.md"))]
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
FILES = {".py", ".md", ".json", ".jsonl", ".csv", ".yaml", ".html"}
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())


def prose(page: Path) -> str:
    """The page without blocks of code."""
    return re.sub(r"```.*?```|(?m:^    .*$)", "", page.read_text(), flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"(?m)^#+ (.*)$", page.read_text())
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@each_page
def test_every_link_leads_somewhere(page):
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        made = target.is_relative_to(ROOT / "results")  # by the stages
        if not (link.startswith("http") or made or target.exists()) or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@each_page
def test_every_file_and_test_that_is_named_is_there(page):
    named = re.findall(r"`([\w./]+\.(?:py|md|c|h|toml))[`:]|`((?:tests|docs|src)/[\w./]*)`", prose(page))
    places = (ROOT, ROOT / "src/polychrome", ROOT / "tests", ROOT / "results", page.parent)
    paths = {one or other for one, other in named}
    assert [path for path in sorted(paths) if not any((place / path).exists() for place in places)] == []
    tests = "".join(file.read_text() for file in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name in re.findall(r"`(test_\w+)(?:\.\.\.)?`", prose(page)) if f"def {name}" not in tests] == []


@each_page
def test_every_setting_that_is_named_is_in_params(page):
    absent = []
    for dotted in re.findall(r"`([a-z_]+(?:\.[a-z0-9_]+)+)(?::[^`]*)?`", prose(page)):
        section, *keys = dotted.split(".")
        node = PARAMS.get(section)
        if node is None or section == "arms" or Path(dotted).suffix in FILES:
            continue
        for key in keys:
            node = node.get(key) if isinstance(node, dict) else None
        if node is None:
            absent.append(dotted)
    assert absent == []


def test_the_first_pages_stay_short():
    readme = (ROOT / "README.md").read_text().splitlines()
    assert len(readme) <= 170
    assert any("make repro" in line for line in readme[:40])
    words = sum(len(page.read_text().split()) for page in ROOT.glob("docs/*.md") if page.name != "results.md")
    assert words <= 6500
