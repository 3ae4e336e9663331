"""Control stage `aa`: every trained arm against itself, many times over."""

from polychrome import stage
from polychrome.audit.controls.aa import measure
from polychrome.audit.controls.record import ROOT, table, write_part
from polychrome.evaluation.results import Settings
from polychrome.measures.encoder import Encoder
from polychrome.params import load_params


def main() -> None:
    params = load_params()
    e = params.evaluation
    arms = [model for model in params.models if model not in params.untouched]
    encoder = Encoder.open("assets/encoder", remember=True)
    controls, details = measure(arms, params.seeds, encoder, Settings(e.ks, e.bootstrap, e.confidence, e.alpha))
    text = "How often the comparison claims a difference between an arm and itself."
    print(table(write_part(ROOT / "aa.json", text, controls, details)["controls"]))


if __name__ == "__main__":
    stage.run(main)
