"""Control stage `shuffled`: GRPO on rewards dealt out at random against its warm-start, and the arm beside it."""

from polychrome import stage
from polychrome.audit.controls.record import ROOT, table, write_part
from polychrome.audit.controls.shuffled import shuffled
from polychrome.evaluation.results import Settings
from polychrome.params import load_params


def main() -> None:
    params = load_params()
    e, seed, arm = params.evaluation, f"seed-{params.controls.seed}", params.controls.variants["shuffled"]
    controls, details = shuffled(
        ROOT / "evaluation" / "control_shuffled" / seed,
        f"results/evaluation/{arm}/{seed}",
        f"results/evaluation/{params.warmstarts[arm]}/{seed}",
        Settings(e.ks, e.bootstrap, e.confidence, e.alpha),
    )
    text = "GRPO on rewards dealt out at random must gain nothing on the judge."
    print(table(write_part(ROOT / "shuffled.json", text, controls, details)["controls"]))


if __name__ == "__main__":
    stage.run(main)
