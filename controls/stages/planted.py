"""Control stage `planted`: sets of human replies of which it is known beforehand which must win."""

from polychrome import paths, stage
from polychrome.audit.controls.planted import measure
from polychrome.audit.controls.record import ROOT, table, write_part
from polychrome.evaluation.results import Settings
from polychrome.measures.encoder import Encoder
from polychrome.pairs.schema import read_pairs
from polychrome.params import load_params


def main() -> None:
    params = load_params()
    e = params.evaluation
    controls, details = measure(
        read_pairs(paths.PHASES / "test.jsonl"),
        read_pairs(paths.PHASES / "reward.jsonl"),
        Encoder.open("assets/encoder", remember=True),
        "models/judge",
        ROOT / "planted",
        Settings(e.ks, e.bootstrap, e.confidence, e.alpha),
        params.sampling.samples,
    )
    text = "Sets of human replies of which it is known beforehand which must win at what."
    print(table(write_part(ROOT / "planted.json", text, controls, details)["controls"]))


if __name__ == "__main__":
    stage.run(main)
