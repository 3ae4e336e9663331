"""One control, each a module of polychrome.audit.controls, or all of them gathered: python controls/stage.py <name>."""

import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))  # the code of this checkout

from polychrome import stage
from polychrome.params import load_params


def main() -> None:
    (name,) = sys.argv[1:]
    print(import_module(f"polychrome.audit.controls.{name}").run(load_params()))


if __name__ == "__main__":
    stage.run(main)
