"""Stage `evaluate`: measure the replies of one model and seed. Usage: python stages/evaluate.py <model> <seed>."""

from polychrome import stage
from polychrome.evaluation.evaluate import evaluate
from polychrome.measures.encoder import Encoder
from polychrome.params import load_params


def main() -> None:
    model, seed = stage.arm_and_seed()
    evaluation = load_params().evaluation
    out = f"results/evaluation/{model}/seed-{seed}"
    measured = evaluate(
        f"results/generations/{model}/seed-{seed}.jsonl",
        "models/judge",
        Encoder.open("assets/encoder", remember=True),
        out,
        evaluation.ks,
        resamples=evaluation.bootstrap,
        confidence=evaluation.confidence,
    )
    primary = f"pass_at_{max(evaluation.ks)}"
    passed, human = measured["metrics"][primary], measured["human"]["pass_at_1"]
    print(f"{model}, seed {seed}: {measured['samples']} replies to each of {measured['posts']} posts; see {out}")
    print(f"{primary} {passed['mean']:.3f} ({passed['low']:.3f} to {passed['high']:.3f}), human {human['mean']:.3f}")


if __name__ == "__main__":
    stage.run(main)
