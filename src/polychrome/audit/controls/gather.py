"""All controls in one file, results/controls/controls.json, and one short table."""

from polychrome.audit.controls.record import gather, table
from polychrome.params import Params


def run(params: Params) -> str:
    """Write results/controls/controls.json; returns a table of it."""
    found = gather()
    return (
        f"{table(found['controls'])}\n{found['text']} They are in results/controls/controls.json; "
        "docs/controls.md explains them."
    )
