"""Show what a run would make of a file: what is read, what is dropped and why, and whether the split's sizes fit.

Sections `data` and `split` of params.yaml apply. Nothing is written.
"""

from argparse import ArgumentParser, Namespace


def arguments(parser: ArgumentParser) -> None:
    """What the command is given."""
    parser.add_argument("file", metavar="FILE", help="a file or folder of posts and replies")


def run(asked: Namespace) -> None:
    """Print the report."""
    from polychrome.pairs.check import check
    from polychrome.params import load_params

    print(check(asked.file, load_params()))
