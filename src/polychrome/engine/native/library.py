"""The compiled library: built once for this processor by the C compiler that is at hand, and opened.

PyTorch compiles its own fused kernels in the same way. Without a compiler everything runs on PyTorch's operators, only
slower; ``compute.kernels`` says which is wanted, and the record of a run which it was.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from polychrome.errors import bad

FOLDER = Path(__file__).parent
SOURCES = sorted(FOLDER.glob("*.c"))
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fopenmp", "-fPIC", "-shared")

_opened: ctypes.CDLL | None = None


def choose(kernels: str) -> str:
    """Open the library as ``kernels`` asks: "compiled", "torch", or "auto" for compiled where that can be.

    Returns which it is. Raises InputError when "compiled" is asked for and cannot be had.
    """
    global _opened
    _opened = None
    if kernels == "torch":
        return "torch"
    try:
        _opened = ctypes.CDLL(str(_built()))
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:  # RuntimeError: there is no home
        said = getattr(error, "stderr", None) or str(error)
        if kernels == "compiled":
            raise bad(
                "params.yaml:compute.kernels", f"compiled, but: {said.strip()}", "a C compiler with OpenMP",
                "Install gcc, or set it to auto.",
            ) from error  # fmt: skip
        print(f"no compiled kernels, PyTorch's are used: {said.strip()}", file=sys.stderr)
        return "torch"
    return "compiled"


def opened() -> ctypes.CDLL | None:
    """The library, None where PyTorch's operators are to be used."""
    return _opened


def _built() -> Path:
    """The library's file, compiled unless there is one of these sources, this compiler and this processor."""
    compiler = _compiler()
    text = b"".join(source.read_bytes() for source in [*SOURCES, *sorted(FOLDER.glob("*.h"))])
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout
    key = hashlib.sha256(text + "\n".join([*FLAGS, version, _processor(), torch.__version__]).encode()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "polychrome"
    built = folder / f"kernels-{key}.so"
    if not built.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder) as scratch:
            new = Path(scratch) / built.name
            command = [compiler, *FLAGS, *map(str, SOURCES), "-o", str(new), "-lm"]
            subprocess.run(command, capture_output=True, text=True, check=True)
            new.replace(built)  # at once: another process may be looking
    return built


def _compiler() -> str:
    """Raises FileNotFoundError without one."""
    for name in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        found = shutil.which(name) if name else None
        if found:
            return found
    raise FileNotFoundError("no C compiler (CC, cc, gcc or clang)")


def _processor() -> str:
    """What ``-march=native`` depends on, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() + platform.machine()
    return "\n".join(sorted({line for line in lines if line.startswith(("flags", "model name", "Features"))}))
