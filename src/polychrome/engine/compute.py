"""What the machine does fast: threads, dtype, kernels and sampler, by params or by what the processor can do."""

import ctypes
import os
import platform
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import torch

from polychrome.engine.backend import Backend
from polychrome.engine.native import library
from polychrome.engine.native.compiled import Compiled
from polychrome.errors import bad

if TYPE_CHECKING:
    from polychrome.engine.served import Served

CHOSEN: dict[str, object] = {}  # threads, dtype, ... of this process, for the untracked record of the run
_chosen = Backend()
_server: "Served | None" = None


def configure(settings: Any) -> torch.dtype:
    """Set threads, kernels and that they repeat themselves, and who samples; return the dtype for base weights.

    ``settings`` is params.yaml: compute.

    ``auto`` is bfloat16 on a CPU that multiplies it (AMX, AVX512-BF16) or a GPU that has it, else float32. It asks the
    hardware, not a stopwatch: the answer is the same for every stage on a machine, however busy it is.
    """
    global _chosen, _server
    _keep_memory()
    torch.set_num_threads(settings.threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if torch.cuda.is_available():  # on a CPU every kernel that is used repeats itself at a fixed number of threads
        torch.use_deterministic_algorithms(True, warn_only=True)
    dtype, _chosen = dtype_named(settings.dtype), backend_named(settings.kernels)
    CHOSEN.update(threads=settings.threads, dtype=str(dtype), kernels=_chosen.name)
    _server = None
    if settings.sampler == "vllm":
        from polychrome.engine.served import Served  # here: it samples as this module chooses

        _server = Served(settings, dtype)
    return dtype


def chosen() -> Backend:
    """What this process computes with: that of :func:`configure`, PyTorch's operators before."""
    return _chosen


def server() -> "Served | None":
    """What draws replies for this process, None where it does so itself."""
    return _server


def backend_named(kernels: str) -> Backend:
    """What ``compute.kernels`` means here: "compiled", "torch", or "auto" for compiled where that can be.

    Raises InputError when "compiled" is asked for and cannot be had.
    """
    if kernels == "torch":
        return Backend()
    try:
        return Compiled(library.opened())
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip()
        if kernels == "compiled":
            raise bad(
                "params.yaml:compute.kernels", f"compiled, but: {said}", "a C compiler with OpenMP",
                "Install gcc, or set it to auto.",
            ) from error  # fmt: skip
        print(f"no compiled kernels, using PyTorch's: {said}", file=sys.stderr)
        return Backend()


def dtype_named(name: str) -> torch.dtype:
    """What ``compute.dtype`` of params.yaml means on this machine."""
    if name != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]
    if torch.cuda.is_available():
        able = torch.cuda.is_bf16_supported()
    else:  # by tiles or vectors: then two to several times as fast as float32, and else far slower
        able = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if able else torch.float32


def _keep_memory() -> None:
    """Let glibc keep freed memory: else every large tensor is mapped and faulted in again: a third of the time."""
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    m_trim_threshold, m_mmap_max, never = -1, -4, -1  # malloc.h
    libc.mallopt(m_mmap_max, 0)
    libc.mallopt(m_trim_threshold, never)
