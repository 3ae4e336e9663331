"""Outputs appear whole or not at all."""

import errno
import os
import resource
import shutil
from itertools import count
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from polychrome.errors import InputError, Problem
from polychrome.files import (
    read_csv,
    read_json,
    read_jsonl,
    recovered,
    whole_directory,
    write_csv,
    write_json,
    write_jsonl,
    write_text,
)
from tests.reported import places, reported


class Killed(BaseException):
    """Stands for a kill."""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(params=["file", "directory"])
def kind(request) -> str:
    return request.param


def replace(kind: str, path: Path, content: str) -> None:
    """Write ``content`` as a file, or as a file of a directory."""
    if kind == "file":
        write_text(path, content)
    else:
        with whole_directory(path) as folder:
            (folder / "sub").mkdir()
            (folder / "sub/file.txt").write_text(content)


def content(path: Path) -> str:
    return (path if path.is_file() else path / "sub/file.txt").read_text()


# --- reading ---


def test_a_key_that_stands_twice_in_an_object_is_an_error_not_the_last_value(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"tweet": "one"}\n{"a": {"tweet": "one", "tweet": "two"}}\n')
    with pytest.raises(InputError, match=r"a\.jsonl:2: found malformed JSON \(the key 'tweet' twice in an object\)"):
        read_jsonl(tmp_path / "a.jsonl")
    (tmp_path / "a.json").write_text('{"tweet": "one", "tweet": "two"}')
    with pytest.raises(InputError, match="the key 'tweet' twice"):
        read_json(tmp_path / "a.json")


# --- whole or not at all ----------------------------------------------------------------------------------------------


def test_what_is_written_takes_the_place_of_the_old_and_leaves_nothing_beside_it(tmp_path, kind):
    for text in ("old", "\u00e9\u00e9n\n"):
        replace(kind, tmp_path / "x/out", text)
        assert content(tmp_path / "x/out") == text
        assert names(tmp_path / "x") == ["out"]


def test_a_disk_that_is_full_or_may_not_be_written_is_reported_and_the_old_output_stands(tmp_path, kind, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    replace(kind, tmp_path / "out", "old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"out: found No space left on device while saving; .*nothing is left half"):
        replace(kind, tmp_path / "out", "new")
    assert content(tmp_path / "out") == "old"
    assert names(tmp_path) == ["out"]
    (tmp_path / "a").write_text("a file where a folder should be")
    with pytest.raises(InputError, match="while saving"):
        replace(kind, tmp_path / "a/b", "text")


def test_a_directory_keeps_nothing_of_the_old_one_or_of_what_a_kill_left_half_written(tmp_path):
    replace("directory", out := tmp_path / "out", "old")
    replace("directory", tmp_path / ".out.writing", "half written")
    (out / "stale.txt").write_text("gone afterwards")
    replace("directory", out, "new")
    assert (names(out), names(tmp_path)) == (["sub"], ["out"])


def test_nothing_can_be_seen_until_the_directory_is_whole_and_a_failure_leaves_nothing(tmp_path):
    def fail() -> None:
        with whole_directory(tmp_path / "out") as folder:
            (folder / "file.txt").write_text("half")
            assert not (tmp_path / "out").exists()
            raise Killed

    with pytest.raises(Killed):
        fail()
    assert names(tmp_path) == []


def by_safetensors(folder: Path) -> None:
    save_file({"a": torch.zeros(100_000)}, folder / "a.safetensors")


def by_copying(folder: Path) -> None:
    shutil.copytree(folder.parents[1] / "there", folder, dirs_exist_ok=True)


@pytest.mark.parametrize("write", [by_safetensors, by_copying])
def test_a_disk_that_a_library_finds_full_is_reported_the_same_way_and_nothing_else_is(tmp_path, write):
    def save() -> None:
        with whole_directory(tmp_path / "new" / "out") as folder:
            write(folder)

    (tmp_path / "there").mkdir()
    for name in "ab":
        (tmp_path / "there" / name).write_bytes(bytes(100_000))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))  # refuses as a full disk does
    try:
        with pytest.raises(InputError, match=r"out: found File too large while saving; .*nothing is left half written"):
            save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path / "new") == []
    with pytest.raises(SafetensorError), whole_directory(tmp_path / "out"):
        raise SafetensorError("Error while deserializing header: invalid header")


def break_rename(monkeypatch, number: int, error: BaseException) -> None:
    """Let rename ``number`` of those that follow raise ``error``."""
    rename, numbers = Path.replace, count()

    def broken(self, target):
        if next(numbers) == number:
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", broken)


def test_a_file_is_the_old_one_until_it_is_renamed(tmp_path, monkeypatch):
    write_text(out := tmp_path / "out", "old")
    break_rename(monkeypatch, 0, Killed())
    with pytest.raises(Killed):
        write_text(out, "new")
    assert out.read_text() == "old"


@pytest.mark.parametrize("renamed", [0, 1])
def test_a_kill_at_any_rename_loses_neither_directory_for_good(tmp_path, monkeypatch, renamed):
    replace("directory", out := tmp_path / "out", "old")
    with monkeypatch.context() as patch:
        break_rename(patch, renamed, Killed())
        patch.setattr("polychrome.files.recovered", Path)  # nor is anything put back
        with pytest.raises(Killed):
            replace("directory", out, "new")
    assert content(recovered(out)) == "old"
    replace("directory", out, "newer")
    assert content(out) == "newer"
    assert names(tmp_path) == ["out"]


def test_an_old_directory_is_put_back_at_once_when_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    replace("directory", out := tmp_path / "out", "old")
    break_rename(monkeypatch, 1, PermissionError(errno.EPERM, os.strerror(errno.EPERM)))
    with pytest.raises(InputError, match="Operation not permitted while saving"):
        replace("directory", out, "new")
    assert content(out) == "old"
    assert names(tmp_path) == ["out"]


def test_a_new_directory_is_kept_when_the_kill_came_before_the_old_one_was_thrown_away(tmp_path):
    replace("directory", tmp_path / "out", "new")
    replace("directory", tmp_path / ".out.before", "old")
    assert content(recovered(tmp_path / "out")) == "new"
    replace("directory", tmp_path / "out", "newer")
    assert names(tmp_path) == ["out"]


# --- formats ----------------------------------------------------------------------------------------------------------


def test_json_is_sorted_and_refuses_what_is_no_number(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1.5, "a": "\u00e9"})
    assert (tmp_path / "a.json").read_text() == '{\n  "a": "\u00e9",\n  "b": 1.5\n}\n'
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="Out of range"):
            write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == {"a": "\u00e9", "b": 1.5}


def test_json_lines_keep_the_order_of_their_keys_and_read_back(tmp_path):
    rows = [{"b": 1, "a": 2}, {"text": "two\nlines, \u00e9\u2028"}]
    write_jsonl(tmp_path / "a.jsonl", iter(rows))
    assert (tmp_path / "a.jsonl").read_text().startswith('{"b": 1, "a": 2}\n')
    assert read_jsonl(tmp_path / "a.jsonl") == rows


def test_a_table_has_six_digits_blank_cells_for_what_is_undefined_and_reads_back(tmp_path):
    rows = [
        {"model": "a", "k": 1, "value": 1 / 3, "low": None},
        {"model": "b, c", "k": 2, "value": 1.0, "low": float("nan")},
    ]
    write_csv(tmp_path / "a.csv", rows)
    assert (tmp_path / "a.csv").read_bytes() == b'model,k,value,low\na,1,0.333333,\n"b, c",2,1,\n'
    read = read_csv(tmp_path / "a.csv", ["value"], texts=["model"], blank=["low"])
    assert read == [{"model": "a", "value": 0.333333, "low": None}, {"model": "b, c", "value": 1.0, "low": None}]
    write_csv(tmp_path / "a.csv", rows, columns=["k", "value"], floats=str)
    assert (tmp_path / "a.csv").read_text().splitlines()[2] == "2,1.0"


READERS = {"json": read_json, "jsonl": read_jsonl, "csv": lambda path: read_csv(path, ["n"])}


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize(
    ("content", "where", "found"),
    [
        (None, "", "no such file"),
        (b"", "", "an empty file"),
        (b"\xef\xbb\xbf \n", "", "an empty file"),
        (b'{"n":\n"caf\xe9"}', ":2", "byte 0xe9 at column 5, which is not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_is_reported(tmp_path, kind, content, where, found):
    path = tmp_path / "file"
    path.write_bytes(content) if content is not None else None
    assert (f"{path}{where}", found) in [(problem.where, problem.found) for problem in reported(READERS[kind], path)]


def test_malformed_json_is_reported_by_line_and_of_json_lines_every_one(tmp_path):
    (tmp_path / "bad.json").write_text('{\n  "a": 1,\n  "b" 2\n}')
    with pytest.raises(InputError, match=r"bad\.json:3: found malformed JSON"):
        read_json(tmp_path / "bad.json")
    path = tmp_path / "a.jsonl"
    path.write_text('{"n": 1}\n\n{"n": -1}\n[]\n{"n"\n' + "[" * 100_000 + "\n{}\n")

    def check(where, row):
        if row.get("n", 0) < 0:
            yield Problem(f"{where}:n", str(row["n"]), "a number >= 0", "Mend it.")

    assert [(problem.where, problem.found) for problem in reported(read_jsonl, path, check)] == [
        (f"{path}:3:n", "-1"),
        (f"{path}:4", "[]"),
        (f"{path}:5", "malformed JSON (Expecting ':' delimiter at column 5)"),
        (f"{path}:6", "malformed JSON (nested too deeply)"),
    ]


@pytest.mark.parametrize(
    ("content", "where"),
    [("model,a\nx,1\n", [":1:n", ":1:low"]), ("n,low\n1,\nnan,x\n,1e999\n", [":3:n", ":3:low", ":4:n", ":4:low"]),
     ("n,low\n", [""])],
)  # fmt: skip
def test_missing_columns_and_bad_cells_are_reported_by_line_and_column(tmp_path, content, where):
    (tmp_path / "a.csv").write_text(content)
    assert places(read_csv, tmp_path / "a.csv", ["n"], blank=["low"]) == [f"{tmp_path}/a.csv{place}" for place in where]
