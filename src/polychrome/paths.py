"""Where stages find and leave things, relative to the repository's root."""

from __future__ import annotations

from pathlib import Path

BASE = Path("assets/base")
ENCODER = Path("assets/encoder")
PHASES = Path("data/phases")
RECIPE = "recipe.json"  # in a model's folder: how it was made


def model_dir(model: str, seed: int) -> Path:
    """The folder of one model: an adapter, or a note that the base model is left as it is."""
    return Path(f"models/{model}/seed-{seed}")


def training_dir(arm: str, seed: int) -> Path:
    """Curves and summary of one training run."""
    return Path(f"results/training/{arm}/seed-{seed}")


def generations_file(model: str, seed: int) -> Path:
    """A model's replies to the test posts."""
    return Path(f"results/generations/{model}/seed-{seed}.jsonl")
