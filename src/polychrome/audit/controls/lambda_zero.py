"""Polychromic training with lambda 0 is cross-entropy: the same adapter and the same replies, bit for bit."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from polychrome.audit.controls.record import REMEDY, Control, verdict_of
from polychrome.audit.controls.rows import read_rows
from polychrome.errors import bad


def lambda_zero(
    control: str | Path, baseline: str | Path, control_replies: str | Path, baseline_replies: str | Path
) -> tuple[list[Control], dict[str, Any]]:
    """The polychromic arm with lambda 0 against the baseline: adapters tensor by tensor, replies to the test posts."""
    ours, theirs = (tensor_hashes(Path(folder) / "adapter_model.safetensors") for folder in (control, baseline))
    differing = sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))
    tensors = Control(
        name="lambda_zero_adapter",
        text="Polychromic training with lambda 0 against cross-entropy: tensors of the adapter that differ in any bit.",
        expected="none",
        found=f"{len(differing)} of {len(theirs)}",
        value=float(len(differing)),
        low=None,
        high=None,
        verdict=verdict_of(bool(theirs) and not differing),
        note=f"The first is {differing[0]}." if differing else "",
    )
    fields = ("id", "replies", "human_nll")
    a, b = (read_rows(path, fields) for path in (control_replies, baseline_replies))
    unlike = abs(len(a) - len(b)) + sum(
        any(x[field] != y[field] for field in fields) for x, y in zip(a, b, strict=False)
    )
    replies = Control(
        name="lambda_zero_replies",
        text="The same two models: test posts whose replies, or the human reply's likelihood, differ.",
        expected="none",
        found=f"{unlike} of {len(b)}",
        value=float(unlike),
        low=None,
        high=None,
        verdict=verdict_of(bool(b) and not unlike),
    )
    return [tensors, replies], {"tensors": len(theirs), "differing": differing}


def tensor_hashes(path: str | Path) -> dict[str, str]:
    """Tensor -> SHA-256 of its type, shape and bytes, in whatever order they lie. Raises InputError for no such file.

    A safetensors file is the length of its header (8 bytes, little-endian), the header (JSON), then the bytes.
    """
    path = Path(path)
    if not path.is_file():
        raise bad(str(path), "no such file", "an adapter", REMEDY)
    content = path.read_bytes()
    try:
        start = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:start])
        hashes = {}
        for name, about in header.items():
            if name != "__metadata__":
                first, last = about["data_offsets"]
                described = f"{about['dtype']} {about['shape']} ".encode()
                hashes[name] = hashlib.sha256(described + content[start + first : start + last]).hexdigest()
        return hashes
    except (ValueError, KeyError, TypeError) as error:
        raise bad(str(path), f"{error}", "a safetensors file", REMEDY) from error
