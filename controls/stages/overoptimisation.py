"""Control stage `overoptimisation`: the judge against KL at several weights of the KL, side by side."""

from pathlib import Path

from polychrome import stage
from polychrome.audit.controls.overoptimisation import overoptimisation, to_csv
from polychrome.audit.controls.record import ROOT, table, write_part
from polychrome.files import write_text
from polychrome.params import load_params

VARIANTS = ("control_beta_0", "control_beta_0_2")


def main() -> None:
    params = load_params()
    seed, arm = f"seed-{params.controls.seed}", params.controls.variants["beta_0"]
    folders = {arm: Path("results/gaming")} | dict.fromkeys(VARIANTS, ROOT / "gaming")
    runs = [(name, params.arms[name].beta, folder / name / seed) for name, folder in folders.items()]
    controls, details, rows = overoptimisation(runs)
    write_text(ROOT / "overoptimisation.csv", to_csv(rows))
    text = "The judge against KL while GRPO climbs the proxy, at several weights of the KL."
    print(table(write_part(ROOT / "overoptimisation.json", text, controls, details)["controls"]))


if __name__ == "__main__":
    stage.run(main)
