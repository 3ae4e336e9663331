"""What the machine does fast: threads and dtype, chosen by params or by what the processor can do."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from typing import Any

import torch

from polychrome.engine.native import library

CHOSEN: dict[str, object] = {}  # threads, dtype and kernels of this process, for the untracked record of the run


def configure(settings: Any) -> torch.dtype:
    """Set threads, kernels and that they repeat themselves; return the dtype for base weights (params.yaml: compute).

    ``auto`` is bfloat16 on a CPU that multiplies it (AMX, AVX512-BF16) or a GPU that has it, else float32. It asks the
    hardware, not a stopwatch: the answer is the same for every stage on a machine, however busy it is.
    """
    _keep_memory()
    torch.set_num_threads(settings.threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if torch.cuda.is_available():  # on a CPU every kernel that is used repeats itself at a fixed number of threads
        torch.use_deterministic_algorithms(True, warn_only=True)
    dtype = dtype_named(settings.dtype)
    CHOSEN.update(threads=settings.threads, dtype=str(dtype), kernels=library.choose(settings.kernels))
    return dtype


def dtype_named(name: str) -> torch.dtype:
    """What ``compute.dtype`` of params.yaml means on this machine."""
    if name != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.bfloat16 if _multiplies_bfloat16() else torch.float32


def _keep_memory() -> None:
    """Let glibc keep freed memory: by default every large tensor is mapped and faulted in anew, a third of the time."""
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    m_trim_threshold, m_mmap_max, never = -1, -4, -1  # malloc.h
    libc.mallopt(m_mmap_max, 0)
    libc.mallopt(m_trim_threshold, never)


def _multiplies_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16, by tiles or vectors: then two to several times as fast as float32, and else
    far slower.
    """
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
