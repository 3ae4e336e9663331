"""Control stage `rewards`: the gaming verdicts of GRPO climbing different rewards, side by side."""

from pathlib import Path

from polychrome import stage
from polychrome.audit.controls.record import ROOT
from polychrome.audit.controls.rewards import rewards
from polychrome.params import load_params

CONTROL = "control_learned"


def main() -> None:
    params = load_params()
    seed, arm = f"seed-{params.controls.seed}", params.controls.variants["learned"]
    folders = {arm: Path("results/gaming") / arm / seed, CONTROL: ROOT / "gaming" / CONTROL / seed}
    runs = [(name, params.arms[name].reward, folder) for name, folder in folders.items()]
    found = rewards(runs, ROOT / "rewards.json")
    for run in found["runs"]:
        print(f"{run['reward']:<10} {run['arm']}: {run['text']}")


if __name__ == "__main__":
    stage.run(main)
