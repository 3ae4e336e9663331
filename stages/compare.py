"""Stage `compare`: every model in one table, Q1 to Q4 answered, the success criteria judged."""

from polychrome import stage
from polychrome.evaluation.compare import compare
from polychrome.evaluation.results import Settings
from polychrome.params import load_params
from polychrome.reporting.draw import draw


def main() -> None:
    params = load_params()
    evaluation = params.evaluation
    settings = Settings(evaluation.ks, evaluation.bootstrap, evaluation.confidence, evaluation.alpha)
    criteria = compare(params.models, params.seeds, settings=settings)
    draw([model for model in params.models if model not in params.untouched], params.seeds)
    met = ", ".join(f"{count['pass']} of {count['of']} {level}" for level, count in criteria["summary"].items())
    print(f"{len(params.models)} models compared over {len(params.seeds)} seeds; success criteria met: {met}")
    print("the table is results/table.md, the answers to Q1 to Q4 are in results/comparison.json")
    print("the pictures are in results/figures; `dvc plots show` draws them to explore")


if __name__ == "__main__":
    stage.run(main)
