"""Drawing tokens by compiled code: one pass over the logits, and only the most probable of them sorted."""

from __future__ import annotations

from ctypes import c_int64
from typing import Any

import torch

from polychrome.engine.native.library import opened
from polychrome.engine.native.products import address


def draw(
    logits: torch.Tensor, uniforms: torch.Tensor, temperature: torch.Tensor, top_p: torch.Tensor, top_k: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens (B,) and their log-probabilities (B,); see :func:`polychrome.engine.sampling.draw`."""
    rows, n = logits.shape
    given: list[Any] = [
        logits.contiguous(),
        uniforms.double().contiguous(),
        *(x.contiguous() for x in (temperature, top_p, top_k)),
    ]
    tokens, logps = torch.empty(rows, dtype=torch.long), torch.empty(rows)
    threads = torch.get_num_threads()
    scratch = torch.empty(threads * 3 * n)
    opened().draw(*map(address, (*given, tokens, logps)), c_int64(rows), c_int64(n), address(scratch), threads)
    return tokens, logps
