"""The compiled library: built once for this processor by the C compiler that is at hand, and opened.

PyTorch compiles its own fused kernels in the same way.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
from ctypes import c_double, c_int, c_int64, c_void_p
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

FOLDER = Path(__file__).parent
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fopenmp", "-fPIC", "-shared")

TYPES = {"p": c_void_p, "i": c_int, "n": c_int64, "d": c_double}  # a pointer, numbers
ARGUMENTS = {  # of the C functions, by name; of those that are called with threads, their number comes last
    "width": "", "tiles": "", "attention_memory": "p", "scores_memory": "n",
    "rms_norm": "ppdppnni", "rms_norm_backward": "pppppnni", "swiglu": "pppni", "swiglu_backward": "pppppni",
    "rotate": "ppppnnnii", "score": "ppdppnnii",
    "attention": "pppppppi", "attention_backward": "pppppppppppi",
    "draw": "ppppppppnnpi",
    "step": "ipppdppppppnnppppi", "multiply": "ipnnppi", "pack": "pppndnnpi",
    "products": "pipipinnpi", "pack_tiles": "pinndnnpnni", "scores": "pppppdpppnnnpi",
}  # fmt: skip


class Library(ctypes.CDLL):
    """The functions of the C sources, by name."""

    def __getattr__(self, name: str) -> Any:  # once for each
        function = super().__getattr__(name)
        function.argtypes = [TYPES[kind] for kind in ARGUMENTS[name]]
        function.restype = c_int64 if name.endswith("_memory") else c_int if name in ("width", "tiles") else None
        return function

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function that shares its work among threads. Tensors are given by where their numbers are.

        Numbers of a tensor that do not lie in order are copied: only read may be such tensors.
        """
        laid = [x.contiguous() if isinstance(x, Tensor) else x for x in arguments]  # alive during the call
        given = [x.data_ptr() if isinstance(x, Tensor) else x for x in laid]
        getattr(self, name)(*given, torch.get_num_threads())


def opened() -> Library:
    """The library, compiled unless there is one of these sources, this compiler and this processor.

    Raises OSError, RuntimeError (there is no home) or CalledProcessError, which tells what the compiler said.
    """
    sources, headers = sorted(FOLDER.glob("*.c")), sorted(FOLDER.glob("*.h"))
    compiler = _compiler()
    text = b"".join(source.read_bytes() for source in [*sources, *headers])
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout
    key = hashlib.sha256(text + "\n".join([*FLAGS, version, _processor(), torch.__version__]).encode()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "polychrome"
    built = folder / f"kernels-{key}.so"
    if not built.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder) as scratch:
            new = Path(scratch) / built.name
            command = [compiler, *FLAGS, *map(str, sources), "-o", str(new), "-lm"]
            subprocess.run(command, capture_output=True, text=True, check=True)
            new.replace(built)  # at once: another process may be looking
    return Library(str(built))


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
