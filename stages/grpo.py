"""Stage `grpo`: train one GRPO arm from its warm-start. Usage: python stages/grpo.py <arm> <seed>."""

import sibling

from polychrome import stage
from polychrome.params import load_params
from polychrome.training.launch import together
from polychrome.training.runs import describe, train


def main() -> None:
    (arm, seed), params = stage.arm_and_seed(), load_params()
    together(params.compute)
    print(describe(train(params, arm, seed, params.warmstarts)))


if __name__ == "__main__":
    stage.run(main)
