"""How every stage runs: one process for one output, quiet libraries, errors a user can act on, timings in a file."""

import gc
import io
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

TIMINGS = Path(".timings")
RUNNING = Path(".running")
STARTED = time.monotonic()
ALIKE = 5.0  # seconds

# Until the stage has imported its libraries: they make a million objects that stay, and looking through all of them for
# garbage, again and again while they are made and once more at exit, would take two seconds.
gc.disable()

QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "ITERATIVE_DO_NOT_TRACK": "1",
    "DVCLIVE_LOGLEVEL": "WARNING",
    "DVC_STUDIO_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}
os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})
# Raised inside libraries, about their own insides; nothing a user could act on.
warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
warnings.filterwarnings("ignore", message=".*pin_memory.*")


def run(main: Callable[[], None]) -> None:
    """Run a stage's ``main`` as :func:`guarded` does, alone, and write down how long it took.

    When it fails and DVC started it, the last words say how to get back the outputs that DVC removed before.
    """
    from polychrome.files import write_json

    name = " ".join([Path(sys.argv[0]).stem, *sys.argv[1:]])
    with alone(name) as waited:
        try:
            guarded(name, main)
        except BaseException:
            if stage := os.environ.get("DVC_STAGE"):
                print(
                    f"DVC removed the earlier outputs of {stage}. To get them back: `dvc checkout {stage}`, "
                    "and for those kept in git `git checkout -- $(git ls-files --deleted)`.",
                    file=sys.stderr,
                )
            raise
        if not _first():
            return
        chosen = getattr(sys.modules.get("polychrome.engine.compute"), "CHOSEN", {})
        if sampler := chosen.get("sampler"):
            print(f"replies were drawn by {sampler}: the same inputs may give other bytes next time (docs/scale.md)")
        timing = {
            "stage": name,
            "seconds": round(time.monotonic() - STARTED - waited, 2),
            **chosen,
            "machine": platform.processor() or platform.machine(),
        }
        write_json(TIMINGS / f"{name.replace(' ', '-')}.json", timing)


@contextmanager
def alone(name: str) -> Iterator[float]:
    """Be the only process that runs the stage ``name`` here; yields the seconds waited for another one, which is named.

    The lock ends with its process, however that ends. Without it, kill -9 of `dvc repro` would leave a stage running,
    and the next `dvc repro` start a second one on the same checkpoint and the same outputs.
    """
    from filelock import FileLock, Timeout

    if not _first():  # it has the lock
        yield 0.0
        return
    RUNNING.mkdir(exist_ok=True)
    file, start = RUNNING / f"{name.replace(' ', '-')}.lock", time.monotonic()
    lock = FileLock(file)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        other = f"process {file.read_text()}, which is making the same outputs"
        print(f"{name} waits for {other} (`kill {file.read_text()}` ends it)", file=sys.stderr, flush=True)
        lock.acquire(poll_interval=0.2)
    try:
        file.write_text(str(os.getpid()))
        yield time.monotonic() - start
    finally:
        lock.release()


def _first() -> bool:
    """Whether this is the only process of its stage, or the first of several that train together."""
    return os.environ.get("RANK", "0") == "0"


def guarded(name: str, main: Callable[[], None]) -> None:
    """Run ``main``. Bad input and alarms end it with their message and exit status 1, without a traceback.

    What is imported by now is never searched for garbage again. What standard output's encoding lacks is escaped.
    """
    from polychrome.errors import InputError
    from polychrome.training.alarms import TrainingStopped

    gc.freeze()
    gc.enable()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        main()
    except (InputError, TrainingStopped) as error:
        if not _first():  # where the first fails alike, it alone says so: the launcher ends the others meanwhile
            time.sleep(ALIKE)
        print(f"{name} stopped:\n{error}", file=sys.stderr)
        sys.exit(1)
    finally:
        gc.freeze()  # all of it ends with the process


def arm_and_seed() -> tuple[str, int]:
    """The two arguments of a stage that is run for an arm or model and a seed. Raises InputError when they are not."""
    from polychrome.errors import bad

    arguments = sys.argv[1:]
    if len(arguments) != 2 or not arguments[1].isdecimal():
        found, remedy = f"{len(arguments)} arguments", f"Use {sys.argv[0]} <arm> <seed>."
        raise bad(" ".join(sys.argv), found, "a name and a seed", remedy)
    return arguments[0], int(arguments[1])
