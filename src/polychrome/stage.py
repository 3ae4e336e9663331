"""How every stage runs: quiet libraries, no telemetry, errors a user can act on, timings in an untracked file."""

import gc
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

TIMINGS = Path(".timings")
STARTED = time.monotonic()

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
    """Run a stage's ``main`` as :func:`guarded` does, and write down how long it took."""
    from polychrome.files import write_json

    name = " ".join([Path(sys.argv[0]).stem, *sys.argv[1:]])
    guarded(name, main)
    timing = {
        "stage": name,
        "seconds": round(time.monotonic() - STARTED, 2),
        **getattr(sys.modules.get("polychrome.engine.compute"), "CHOSEN", {}),
        "machine": platform.processor() or platform.machine(),
    }
    write_json(TIMINGS / f"{name.replace(' ', '-')}.json", timing)


def guarded(name: str, main: Callable[[], None]) -> None:
    """Run ``main``. Bad input and alarms end it with their message and exit status 1, without a traceback.

    What is imported by now is never searched for garbage again.
    """
    from polychrome.errors import InputError
    from polychrome.training.alarms import TrainingStopped

    gc.freeze()
    gc.enable()
    try:
        main()
    except (InputError, TrainingStopped) as error:
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
