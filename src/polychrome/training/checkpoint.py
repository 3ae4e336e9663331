"""Checkpoints from which a killed run goes on and ends with the same bytes.

Kept outside the stage's outputs, in a folder keyed by everything the stage reads; tensors as safetensors, the rest as
JSON, never a pickle. Every random draw is a function of (seed, step), so no generator state needs keeping.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from polychrome.errors import bad
from polychrome.files import read_json, recovered, whole_directory, write_json

ROOT = Path(".checkpoints")
TENSORS = "tensors.safetensors"


def digest_of(*, recipe: Mapping[str, Any], files: Iterable[str | Path] = ()) -> str:
    """A key for a run: sha256 of its recipe and of every file it reads (folders: all files in them, by name)."""
    sha = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode())
    for path in map(Path, files):
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts:
                sha.update(file.name.encode())
                with file.open("rb") as handle:
                    sha.update(hashlib.file_digest(handle, "sha256").digest())
    return sha.hexdigest()[:20]


class Checkpoints:
    """The newest checkpoint of one run."""

    def __init__(self, name: str, digest: str, root: Path = ROOT):
        self.folder = root / name
        self.path = self.folder / digest

    def load(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        """Tensors and state of the newest checkpoint, None when there is none for these inputs.

        Raises InputError naming the file that is damaged.
        """
        if not (recovered(self.path) / "state.json").is_file():
            return None
        remedy = f"Delete {self.path} and run the stage again: it starts from its first step."
        state, file = read_json(self.path / "state.json", "the state of a checkpoint", remedy), self.path / TENSORS
        try:
            return load_file(file), state
        except (OSError, SafetensorError) as error:
            raise bad(str(file), str(error), "the tensors of a checkpoint", remedy) from error

    def save(self, tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any]) -> None:
        """Replace the checkpoint; a kill at any moment leaves the old one or the new one whole."""
        with whole_directory(self.path) as folder:
            save_file(
                {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()},
                folder / TENSORS,
            )
            write_json(folder / "state.json", state)

    def clear(self) -> None:
        """Forget this run's checkpoints, also those of older inputs: its output stands."""
        shutil.rmtree(self.folder, ignore_errors=True)
