"""Stage `split`: a test set, the judge's pairs and two training phases that share no conversation."""

import sibling

from polychrome import stage
from polychrome.pairs.split import split_file
from polychrome.params import load_params
from polychrome.paths import PHASES
from polychrome.reporting.split_plot import split_figure


def main() -> None:
    statistics = split_file("data/prepared/pairs.jsonl", load_params().split, PHASES)
    split_figure(PHASES, PHASES / "phase_split_distributions.svg")
    sizes = ", ".join(f"{part} {summary['pairs']}" for part, summary in statistics["parts"].items())
    print(f"pairs: {sizes}; no conversation and no near-duplicate reply is in two of them")
    print(f"engagement quartiles differ between parts with p = {statistics['chi_square']['p']:.3f}")
    print(f"look at {PHASES}/phase_split_distributions.svg; the tests are in {PHASES}/phase_split_statistics.json")


if __name__ == "__main__":
    stage.run(main)
