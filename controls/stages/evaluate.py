"""Control stage `evaluate`: measure a control's replies. Usage: python controls/stages/evaluate.py <model> <seed>."""

from polychrome import stage
from polychrome.audit.controls.record import ROOT
from polychrome.evaluation.evaluate import evaluate
from polychrome.measures.encoder import Encoder
from polychrome.params import load_params


def main() -> None:
    model, seed = stage.arm_and_seed()
    evaluation = load_params().evaluation
    measured = evaluate(
        ROOT / "generations" / model / f"seed-{seed}.jsonl",
        "models/judge",
        Encoder.open("assets/encoder", remember=True),
        ROOT / "evaluation" / model / f"seed-{seed}",
        evaluation.ks,
        resamples=evaluation.bootstrap,
        confidence=evaluation.confidence,
    )
    found = measured["metrics"]["engagement"]
    print(f"{model}, seed {seed}: engagement {found['mean']:.3f} ({found['low']:.3f} to {found['high']:.3f})")


if __name__ == "__main__":
    stage.run(main)
