"""`polychrome COMMAND`: every command is a file of this room with `arguments(parser)` and `run(asked)`."""

import os
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from functools import partial
from importlib import import_module

from polychrome.errors import bad

COMMANDS = ("check", "suggest", "export", "compare", "rate")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command. Bad input ends it with a message and exit status 1; Ctrl-C and a closed pipe end it quietly."""
    parser = ArgumentParser("polychrome", description="Check data; use, export, compare and rate trained models.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = import_module(f"polychrome.commands.{name}")
        about, _, more = (module.__doc__ or "").partition("\n\n")
        own = commands.add_parser(
            name, help=about, description=f"{about}\n\n{more}", formatter_class=RawDescriptionHelpFormatter
        )
        module.arguments(own)
        own.set_defaults(run=module.run)
    asked = parser.parse_args(arguments)
    from polychrome import stage  # here: it quiets the libraries of the process that imports it

    try:
        stage.guarded(f"polychrome {asked.command}", partial(_whole, asked))
    except KeyboardInterrupt:
        sys.exit(130)


def _whole(asked: object) -> None:
    """Run a command and see its output through, to a full disk's complaint."""
    try:
        asked.run(asked)  # type: ignore[attr-defined]
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if error.filename is None and error.errno:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise bad(
            str(error.filename or "standard output"),
            error.strerror or error,
            "room and permission to write",
            "Free space or fix permissions.",
        ) from error
