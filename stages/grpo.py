"""Stage `grpo`: train one GRPO arm from its warm-start. Usage: python stages/grpo.py <arm> <seed>."""

from polychrome import stage
from polychrome.params import load_params
from polychrome.training.runs import describe, train_grpo


def main() -> None:
    arm, seed = stage.arm_and_seed()
    print(describe(train_grpo(load_params(), arm, seed)))


if __name__ == "__main__":
    stage.run(main)
