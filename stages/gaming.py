"""Stage `gaming`: was the reward of one GRPO run gamed? Usage: python stages/gaming.py <arm> <seed>."""

import sibling

from polychrome import paths, stage
from polychrome.audit.gaming import judge_gaming, start_of
from polychrome.params import load_params


def main() -> None:
    arm, seed = stage.arm_and_seed()
    params = load_params()
    verdict = judge_gaming(arm, start_of(arm, params.warmstarts), seed, params.gaming, params.evaluation)
    print(f"{arm}, seed {seed}: {verdict['text']}")
    print(verdict["over_optimisation"]["judge"]["text"])
    print(f"checks and evidence are in {paths.gaming_dir(arm, seed)}")


if __name__ == "__main__":
    stage.run(main)
