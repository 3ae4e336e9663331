"""What the benchmarks share: timings taken in turn, peak memory of fresh processes, the machine, the report.

Sides run in one process in the order A B A B ..., so that whatever else slows the machine slows both alike. Memory
is measured apart, one fresh process a side: in one process they share a heap, and glibc keeps what it once had.
"""

import argparse
import ctypes
import gc
import json
import os
import platform
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any, TypeVar

import torch

from polychrome.engine.compute import CHOSEN, configure, dtype_named
from polychrome.files import write_json

Loaded = TypeVar("Loaded")
Step = Callable[[], Any]

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "numpy", "transformers", "peft", "accelerate", "trl", "datasets")
ENVIRONMENT = ("GLIBC_TUNABLES", "GOMP_SPINCOUNT", "OMP_WAIT_POLICY")  # what speed depends on beside the machine
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16")
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}
os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})
warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # of one library about another


# --- the command line -----------------------------------------------------------------------------------------------


def parser(description: str | None, runs: int = 5) -> argparse.ArgumentParser:
    """The arguments that every benchmark takes."""
    made = argparse.ArgumentParser(description=(description or "").split("\n")[0])
    made.add_argument("--runs", type=int, default=runs, help=f"timed repetitions of every side (default {runs})")
    made.add_argument("--threads", type=int, default=2, help="CPU threads of every side (default 2)")
    made.add_argument(
        "--dtype", choices=("auto", "float32", "bfloat16"), default="auto", help="of every side's weights"
    )
    made.add_argument("--model", type=Path, default=Path("assets/base"), help="folder of the base model")
    made.add_argument("--results", type=Path, default=RESULTS, help="folder that the JSON is written to")
    made.add_argument("--no-memory", action="store_true", help="leave out the processes that measure memory")
    made.add_argument("--memory", metavar="SIDE", help="print this side's peak memory and do nothing else")
    return made


def dtype_of(args: argparse.Namespace) -> torch.dtype:
    """Of the weights of every side: as the stages choose it, unless ``--dtype`` does."""
    return dtype_named(args.dtype)


def prepare(args: argparse.Namespace) -> None:
    """Threads and heap for all sides of this process: the peers get the allocator settings that ours runs with."""
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
        m_arena_max = -8  # malloc.h
        # One heap for all threads: a peer that steps in a thread of its own then gets the same settings.
        ctypes.CDLL(None).mallopt(m_arena_max, 1)
    configure(SimpleNamespace(threads=args.threads, dtype=args.dtype, kernels="auto", sampler="local"))


# --- time -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spread:
    """Median and range of one quantity over the repetitions."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of the values themselves."""
        return cls(median(values), min(values), max(values))


def ratio(above: Sequence[float], below: Sequence[float]) -> Spread:
    """Ratio of the medians, with the range of the ratios of values that were taken in the same round."""
    pairs = [a / b for a, b in zip(above, below, strict=True)]
    return Spread(median(above) / median(below), min(pairs), max(pairs))


def timed(step: Step, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds that one ``step`` takes; garbage of what ran before is collected first."""
    gc.collect()
    start = clock()
    step()
    return clock() - start


def in_turn(
    sides: Mapping[str, Step], runs: int, warmup: int = 1, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of every side by round, each side once a round in the order given; ``warmup`` rounds are not counted."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(warmup + runs):
        for name, step in sides.items():
            seconds = timed(step, clock)
            if number >= warmup:
                times[name].append(seconds)
    return times


def fastest(
    candidates: Mapping[str, Step], trials: int = 1, clock: Callable[[], float] = time.perf_counter
) -> tuple[str, dict[str, float]]:
    """The name of the fastest candidate and the median seconds of each, after one step of each as a warm-up."""
    seconds = {name: median(times) for name, times in in_turn(candidates, trials, clock=clock).items()}
    return min(seconds, key=lambda name: seconds[name]), seconds


# --- memory ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Memory:
    """What a process held in RAM, in MiB (VmRSS and VmHWM of the kernel)."""

    loaded: float  # just after the model was loaded
    peak: float  # at most, in the whole life of the process

    @property
    def growth(self) -> float:
        """What the work took beyond the loaded model."""
        return self.peak - self.loaded


def resident(field_name: str) -> float:
    """MiB by the kernel's account of this process: ``VmRSS`` now or ``VmHWM`` at most."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field_name}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"the kernel does not tell {field_name}")


def tell_memory(load: Callable[[], Loaded], work: Callable[[Loaded], Any]) -> None:
    """In a process of its own: load, work, and print the memory of both as one line of JSON."""
    loaded = load()
    gc.collect()
    before = resident("VmRSS")
    work(loaded)
    print(json.dumps(asdict(Memory(before, resident("VmHWM")))))


def twice(step: Step) -> None:
    """Two steps: the first makes what the optimiser keeps, the second holds it while it works."""
    step()
    step()


def memory_of(module: str, side: str, argv: Sequence[str]) -> Memory:
    """Memory of ``python -m module --memory side`` with the arguments of this process. Raises RuntimeError."""
    # Pages of a huge page pool are not counted in a process's peak.
    environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    command = [sys.executable, "-m", module, *argv, "--memory", side]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"{module} --memory {side} failed:\n{done.stderr[-2000:]}")
    return Memory(**json.loads(done.stdout.strip().splitlines()[-1]))


# --- the report -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """A figure with what it must reach (floor) and what it should (aim)."""

    name: str
    value: float
    floor: float
    aim: float
    at_least: bool = True  # False: the value is to stay at or below

    def met(self, bound: float) -> bool:
        """Whether the value is on the right side of ``bound``."""
        return self.value >= bound if self.at_least else self.value <= bound


@dataclass
class Report:
    """What one benchmark found; :meth:`finish` prints it and writes it down."""

    name: str
    unit: str  # of every measured value: "s" or "tokens/s"
    threads: int
    setting: dict[str, Any]
    measured: dict[str, list[float]] = field(default_factory=dict)  # side -> values by round
    memory: dict[str, Memory] = field(default_factory=dict)
    ratios: dict[str, Spread] = field(default_factory=dict)
    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # one line each
    details: dict[str, Any] = field(default_factory=dict)  # whatever else was found, for the JSON alone

    def as_json(self) -> dict[str, Any]:
        """Everything, with the machine, ready for JSON."""
        return rounded(
            {
                "benchmark": self.name,
                "machine": machine(self.threads),
                "setting": self.setting,
                "unit": self.unit,
                "measured": {
                    side: {"values": values} | asdict(Spread.of(values)) for side, values in self.measured.items()
                },
                "memory_mib": {side: asdict(m) | {"growth": m.growth} for side, m in self.memory.items()},
                "ratios": {name: asdict(spread) for name, spread in self.ratios.items()},
                "targets": [asdict(t) | {"floor_met": t.met(t.floor), "aim_met": t.met(t.aim)} for t in self.targets],
                "notes": self.notes,
                "details": self.details,
            }
        )

    def as_text(self) -> str:
        """Small tables: the sides, the ratios, the targets; then the notes."""
        parts = [_table(["", f"median {self.unit}", "low", "high", "peak MiB", "growth MiB"], self._side_rows())]
        if self.ratios:
            rows = [[n, short(r.median), short(r.low), short(r.high)] for n, r in self.ratios.items()]
            parts.append(_table(["ratio", "of medians", "low", "high"], rows))
        if self.targets:
            parts.append(_table(["target", "value", "floor", "met", "aim", "met"], [_target(t) for t in self.targets]))
        return "\n\n".join([*parts, *(["\n".join(self.notes)] if self.notes else [])])

    def finish(self, folder: Path) -> Path:
        """Print the tables and write ``<name>.json`` into ``folder``; returns its path."""
        print(f"\n{self.name}\n\n{self.as_text()}")
        path = folder / f"{self.name}.json"
        write_json(path, self.as_json())
        return path

    def _side_rows(self) -> list[list[str]]:
        rows = []
        for side in dict.fromkeys([*self.measured, *self.memory]):
            values, memory = self.measured.get(side), self.memory.get(side)
            spread = Spread.of(values) if values else None
            timing = [short(x) for x in (spread.median, spread.low, spread.high)] if spread else ["-"] * 3
            rows.append([side, *timing, *([f"{memory.peak:.0f}", f"{memory.growth:.0f}"] if memory else ["-"] * 2)])
        return rows


def machine(threads: int) -> dict[str, Any]:
    """What numbers depend on, and nothing that names the machine."""
    cpu = _fields("/proc/cpuinfo")
    memory = _fields("/proc/meminfo").get("MemTotal", "")
    flags = set(cpu.get("flags", "").split())
    return {
        "cpu": cpu.get("model name", platform.machine()),
        "cache": cpu.get("cache size", ""),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "flags": [flag for flag in FLAGS if flag in flags],
        "memory_gib": int(memory.split()[0]) / 2**20 if memory else None,
        "system": f"{platform.system()} {' '.join(platform.libc_ver())}",
        "threads": threads,
        "environment": {name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
        "dtype": str(CHOSEN.get("dtype")).removeprefix("torch."),
        "kernels": CHOSEN.get("kernels"),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def rounded(value: Any) -> Any:
    """``value`` with every float in it at five significant digits."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list | tuple) else value


def _fields(file: str) -> dict[str, str]:
    """The first of every ``name: value`` in a file of /proc; none elsewhere."""
    path = Path(file)
    found: dict[str, str] = {}
    for line in path.read_text().splitlines() if path.is_file() else []:
        name, _, value = line.partition(":")
        found.setdefault(name.strip(), value.strip())
    return found


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _target(target: Target) -> list[str]:
    sign = ">=" if target.at_least else "<="
    bounds = [(f"{sign} {bound:g}", "yes" if target.met(bound) else "no") for bound in (target.floor, target.aim)]
    return [target.name, short(target.value), *(cell for pair in bounds for cell in pair)]


def short(value: float) -> str:
    """Three significant digits, or a whole number."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = ["  ".join([r[0].ljust(widths[0]), *map(str.rjust, r[1:], widths[1:])]) for r in [head, *rows]]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])
