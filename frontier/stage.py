"""A stage of `make frontier`, a module of polychrome.frontier: python frontier/stage.py answering <model> <seed>."""

import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))  # the code of this checkout

from polychrome import stage
from polychrome.params import load_params


def main() -> None:
    name, *of = sys.argv[1:]
    print(import_module(f"polychrome.frontier.{name}").run(load_params(), *of))


if __name__ == "__main__":
    stage.run(main)
