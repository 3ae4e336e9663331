"""Stage `judge`: fit the engagement judge on conversations of its own and calibrate what counts as a pass."""

from polychrome import stage
from polychrome.engagement.judge import make_judge
from polychrome.engagement.ranks import ranked
from polychrome.measures.encoder import Encoder
from polychrome.pairs.schema import read_pairs
from polychrome.params import load_params


def main() -> None:
    evaluation, path = load_params().evaluation, "data/phases/judge.jsonl"
    own = ranked(read_pairs(path), "judge", evaluation.bootstrap, evaluation.confidence, path)
    encoder = Encoder.open("assets/encoder", remember=True)
    report = make_judge(own, "data/phases/full.jsonl", encoder, "models/judge", "results/judge.json")
    print(f"judge of engagement in models/judge, fitted on {report['pairs']} pairs that no arm sees")
    print(f"{report['verdict']}; see results/judge.json")


if __name__ == "__main__":
    stage.run(main)
