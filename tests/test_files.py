"""Outputs appear whole or not at all."""

import errno
import json
import os
import resource
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from polychrome.errors import InputError
from polychrome.files import read_json, recovered, to_json, whole_directory, write_json, write_jsonl, write_text


def fill_disk(monkeypatch) -> None:
    """Let every flush to the disk find it full."""

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class Killed(BaseException):
    """Stands for a kill."""


# --- one file ---------------------------------------------------------------------------------------------------


def test_a_file_is_written_with_its_folder_and_nothing_is_left_beside_it(tmp_path):
    write_text(tmp_path / "a/b.txt", "één\n")
    assert (tmp_path / "a/b.txt").read_bytes() == "één\n".encode()
    assert names(tmp_path / "a") == ["b.txt"]


def test_a_full_disk_is_told_and_the_old_file_stands(tmp_path, monkeypatch):
    file = tmp_path / "a.txt"
    write_text(file, "old")
    fill_disk(monkeypatch)
    with pytest.raises(InputError, match=r"a\.txt: found No space left on device while saving; .*earlier output"):
        write_text(file, "new")
    assert file.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_folder_that_may_not_be_made_is_told(tmp_path):
    (tmp_path / "a").write_text("a file where a folder should be")
    with pytest.raises(InputError, match="while saving"):
        write_text(tmp_path / "a/b.txt", "text")


def test_json_is_sorted_and_refuses_what_is_no_number(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": "é"})
    assert (tmp_path / "a.json").read_text() == '{\n  "a": "é",\n  "b": 1\n}\n'
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="Out of range"):
            write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == {"a": "é", "b": 1}
    assert to_json(1.5) == "1.5\n"


def test_json_lines_keep_the_order_of_their_keys(tmp_path):
    rows = [{"b": 1, "a": 2}, {"text": "two\nlines"}]
    write_jsonl(tmp_path / "a.jsonl", iter(rows))
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    assert lines[0] == '{"b": 1, "a": 2}'
    assert [json.loads(line) for line in lines] == rows


def test_json_that_is_missing_or_malformed_is_told_by_file_and_line(tmp_path):
    with pytest.raises(InputError, match=r"none\.json: found no such file"):
        read_json(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text('{\n  "a": 1,\n  "b" 2\n}')
    with pytest.raises(InputError, match=r"bad\.json:3: "):
        read_json(tmp_path / "bad.json")


# --- a whole directory ------------------------------------------------------------------------------------------


def replace_directory(path: Path, content: str) -> None:
    with whole_directory(path) as folder:
        (folder / "sub").mkdir()
        (folder / "sub/file.txt").write_text(content)


def test_a_directory_takes_the_place_of_the_old_one(tmp_path):
    out = tmp_path / "x/out"
    replace_directory(out, "old")
    (out / "stale.txt").write_text("gone afterwards")
    replace_directory(out, "new")
    assert names(out) == ["sub"]
    assert (out / "sub/file.txt").read_text() == "new"
    assert names(tmp_path / "x") == ["out"]


def test_nothing_can_be_seen_until_the_directory_is_whole(tmp_path):
    out = tmp_path / "out"
    with whole_directory(out) as folder:
        (folder / "file.txt").write_text("half")
        assert not out.exists()
    assert out.exists()


def test_a_failure_inside_leaves_the_old_directory_and_nothing_else(tmp_path):
    out = tmp_path / "out"
    replace_directory(out, "old")

    def fail() -> None:
        with whole_directory(out) as folder:
            (folder / "file.txt").write_text("half")
            raise Killed

    with pytest.raises(Killed):
        fail()
    assert (out / "sub/file.txt").read_text() == "old"
    assert names(tmp_path) == ["out"]


def test_a_full_disk_leaves_the_old_directory_and_nothing_else(tmp_path, monkeypatch):
    out = tmp_path / "out"
    replace_directory(out, "old")
    fill_disk(monkeypatch)
    with pytest.raises(InputError, match=r"out: found No space left on device while saving"):
        replace_directory(out, "new")
    assert (out / "sub/file.txt").read_text() == "old"
    assert names(tmp_path) == ["out"]


def test_a_disk_that_safetensors_finds_full_is_told_the_same_way(tmp_path):
    def save() -> None:
        with whole_directory(tmp_path / "out") as folder:
            save_file({"a": torch.zeros(100_000)}, folder / "a.safetensors")

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))  # refuses as a full disk does
    try:
        with pytest.raises(InputError, match=r"out: found File too large while saving; .*earlier output is untouched"):
            save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == []


def test_what_else_safetensors_complains_about_is_not_called_a_full_disk(tmp_path):
    with pytest.raises(SafetensorError), whole_directory(tmp_path / "out"):
        raise SafetensorError("Error while deserializing header: invalid header")


@pytest.mark.parametrize("renamed", [0, 1])
def test_a_kill_at_any_rename_loses_neither_directory_for_good(tmp_path, monkeypatch, renamed):
    out = tmp_path / "out"
    replace_directory(out, "old")
    replace, done = Path.replace, []

    def killed(self, target):
        if len(done) == renamed:
            raise Killed
        done.append(target)
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(Killed):
            replace_directory(out, "new")
    assert (recovered(out) / "sub/file.txt").read_text() == "old"
    replace_directory(out, "newer")
    assert (out / "sub/file.txt").read_text() == "newer"
    assert names(tmp_path) == ["out"]


def test_an_old_directory_is_put_back_at_once_when_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    out = tmp_path / "out"
    replace_directory(out, "old")
    replace = Path.replace

    def refused(self, target):
        if self.name == ".out.writing":
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refused)
    with pytest.raises(InputError, match="Operation not permitted while saving"):
        replace_directory(out, "new")
    assert (out / "sub/file.txt").read_text() == "old"
    assert names(tmp_path) == ["out"]


def test_a_new_directory_is_kept_when_the_kill_came_before_the_old_one_was_thrown_away(tmp_path):
    out = tmp_path / "out"
    replace_directory(out, "new")
    replace_directory(tmp_path / ".out.before", "old")
    assert (recovered(out) / "sub/file.txt").read_text() == "new"
    replace_directory(out, "newer")
    assert names(tmp_path) == ["out"]


def test_what_a_kill_left_half_written_is_thrown_away(tmp_path):
    half = tmp_path / ".out.writing"
    half.mkdir()
    (half / "stale.txt").write_text("half")
    replace_directory(tmp_path / "out", "new")
    assert names(tmp_path / "out") == ["sub"]
    assert names(tmp_path) == ["out"]
