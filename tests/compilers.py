"""C compilers for tests: the machine's, with a record of what it is asked, and some that fail."""

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from polychrome.engine.native import library

NEEDED = ("-fopenmp", "-fPIC", "-shared")  # not our flags: one that is wrong must fail the tests, not skip them
TRIVIAL = "#include <math.h>\n#include <omp.h>\nint tiles(void) { return omp_get_max_threads(); }\n"


def what_the_compiler_lacks() -> str | None:
    """What a program of one line with OpenMP does not compile for. None where it does."""
    with TemporaryDirectory() as folder:
        try:
            command = [library._compiler(), *NEEDED, "-x", "c", "-", "-o", f"{folder}/trivial.so", "-lm"]
            subprocess.run(command, input=TRIVIAL, capture_output=True, text=True, check=True)
        except FileNotFoundError as error:
            return str(error)
        except subprocess.CalledProcessError as error:
            return error.stderr
    return None


def make_compiler(folder: Path, compiling: str, version: str = "a compiler 1.0") -> Path:
    """A compiler that tells ``version`` and runs the shell's lines ``compiling`` when it is to compile."""
    file = folder / "cc"
    file.write_text(f'#!/bin/sh\nif [ "$1" = --version ]; then echo "{version}"; exit; fi\n{compiling}\n')
    file.chmod(0o755)
    return file
