"""Randomness is an argument: every draw comes from a generator seeded by (seed, what it is for)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def seed_for(seed: int, *purpose: object) -> int:
    """A 63-bit seed that depends on ``seed`` and on every word of ``purpose``, the same on every machine."""
    text = "\x1f".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def torch_generator(seed: int, *purpose: object) -> torch.Generator:
    """A CPU torch generator for one purpose."""
    import torch  # here, since stages that draw nothing from it should not wait seconds for its import

    return torch.Generator().manual_seed(seed_for(seed, *purpose))


def numpy_generator(seed: int, *purpose: object) -> np.random.Generator:
    """A numpy generator for one purpose."""
    return np.random.default_rng(seed_for(seed, *purpose))
