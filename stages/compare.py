"""Stage `compare`: every model in one table, the questions answered, the success criteria judged."""

import sibling

from polychrome import paths, stage
from polychrome.engagement.ruler import open_ruler
from polychrome.evaluation.compare import compare
from polychrome.params import load_params
from polychrome.reporting.draw import draw


def main() -> None:
    params = load_params()
    about = {"ruler": open_ruler(paths.JUDGE), "untouched": params.untouched}
    criteria = compare(params.models, params.seeds, params.experiment, params.evaluation, **about)
    draw([model for model in params.models if model not in params.untouched], params.seeds)
    met = ", ".join(f"{count['pass']} of {count['of']} {level}" for level, count in criteria["summary"].items())
    print(f"{len(params.models)} models compared over {len(params.seeds)} seeds; success criteria met: {met}")
    print("the table is results/table.md, the answers to the questions are in results/comparison.json")
    print("the figures are in results/figures; `dvc plots show --open` shows interactive ones")


if __name__ == "__main__":
    stage.run(main)
