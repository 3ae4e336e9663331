"""Stage `sft`: train one cross-entropy or polychromic arm. Usage: python stages/sft.py <arm> <seed>."""

from polychrome import stage
from polychrome.params import load_params
from polychrome.training.runs import describe, train_sft


def main() -> None:
    arm, seed = stage.arm_and_seed()
    print(describe(train_sft(load_params(), arm, seed)))


if __name__ == "__main__":
    stage.run(main)
