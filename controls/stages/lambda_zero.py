"""Control stage `lambda_zero`: polychromic training with lambda 0 must be cross-entropy, bit for bit."""

from polychrome import paths, stage
from polychrome.audit.controls.lambda_zero import lambda_zero
from polychrome.audit.controls.record import ROOT, table, write_part
from polychrome.params import load_params

CONTROL, BASELINE = "control_lambda_zero", "baseline"


def main() -> None:
    seed = load_params().controls.seed
    controls, details = lambda_zero(
        paths.model_dir(CONTROL, seed),
        paths.model_dir(BASELINE, seed),
        ROOT / "generations" / CONTROL / f"seed-{seed}.jsonl",
        paths.generations_file(BASELINE, seed),
    )
    text = "Polychromic training with lambda 0 must be cross-entropy, bit for bit."
    print(table(write_part(ROOT / "lambda_zero.json", text, controls, details)["controls"]))


if __name__ == "__main__":
    stage.run(main)
