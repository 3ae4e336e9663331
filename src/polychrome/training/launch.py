"""More processes for one training stage: it starts itself again under `accelerate launch`, in its own place.

The process that DVC started becomes the launcher: a signal to it ends all, and its exit status is theirs.
"""

import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from polychrome.engine.settings import ComputeSettings
from polychrome.errors import bad


def together(compute: ComputeSettings) -> None:
    """Go on as one of ``compute.processes`` processes: return in each, and at once where one is enough.

    Raises InputError where there are GPUs, but fewer of them.
    """
    if compute.processes == 1 or "RANK" in os.environ:
        return
    import torch

    if 0 < (gpus := torch.cuda.device_count()) < compute.processes:
        raise bad("params.yaml:compute.processes", str(compute.processes), f"at most the {gpus} GPUs here", "Lower it.")
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    if not gpus and sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # else it asks the network for this machine's name
    # --multi_gpu is how the launcher calls several processes on one machine; without a GPU they talk by gloo.
    asked = ["--multi_gpu", "--num_processes", str(compute.processes), "--num_machines", "1"]
    asked += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]  # 0: a free one
    asked += ["--num_cpu_threads_per_process", str(compute.threads)]
    sys.stdout.flush()
    # The stage's lock ends here; the first process takes it again.
    os.execv(sys.executable, [sys.executable, "-m", "polychrome.training.launch", *asked, *sys.argv])


def main(arguments: Sequence[str] = sys.argv[1:]) -> int:
    """`accelerate launch` with ``arguments``; returns the exit status of the first process that failed.

    A process says itself what went wrong; here stands only what it cannot say.
    """
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.disable(logging.ERROR)  # of the launcher, about processes it ends after one has failed
    try:
        launch_command(launch_command_parser().parse_args(list(arguments)))
    except SignalException as error:
        return 128 + error.sigval
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode >= 0:
            return failure.exitcode
        name = signal.Signals(-failure.exitcode).name
        print(f"process {rank} was ended by {name}; training goes on from its last checkpoint", file=sys.stderr)
        return 128 - failure.exitcode
    return 0


if __name__ == "__main__":
    sys.exit(main())
