"""Stage `sft`: train one cross-entropy or polychromic arm. Usage: python stages/sft.py <arm> <seed>."""

import sibling

from polychrome import stage
from polychrome.params import load_params
from polychrome.training.launch import together
from polychrome.training.runs import describe, train


def main() -> None:
    (arm, seed), params = stage.arm_and_seed(), load_params()
    together(params.compute)
    print(describe(train(params, arm, seed, params.trained_by_sft)))


if __name__ == "__main__":
    stage.run(main)
