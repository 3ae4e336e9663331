"""Stage `gaming`: was the reward of one GRPO run gamed? Usage: python stages/gaming.py <arm> <seed>."""

from dataclasses import asdict

from polychrome import paths, stage
from polychrome.audit.gaming import GamingThresholds, judge_gaming, start_of
from polychrome.params import load_params


def main() -> None:
    arm, seed = stage.arm_and_seed()
    params = load_params()
    start = start_of(arm, params.warmstarts)
    out = f"results/gaming/{arm}/seed-{seed}"
    verdict = judge_gaming(
        arm,
        start,
        seed,
        rollouts_path=paths.training_dir(arm, seed) / "rollouts.jsonl",
        judge_directory="models/judge",
        evaluation_of_arm=f"results/evaluation/{arm}/seed-{seed}/per_post.json",
        evaluation_of_start=f"results/evaluation/{start}/seed-{seed}/per_post.json",
        human_pairs=paths.PHASES / "phase2_grpo.jsonl",
        out_directory=out,
        thresholds=GamingThresholds(**asdict(params.gaming)),
        resamples=params.evaluation.bootstrap,
        confidence=params.evaluation.confidence,
    )
    print(f"{arm}, seed {seed}: {verdict['text']}")
    print(verdict["over_optimisation"]["judge"]["text"])
    print(f"checks and evidence are in {out}")


if __name__ == "__main__":
    stage.run(main)
