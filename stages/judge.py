"""Stage `judge`: fit the engagement judge on conversations of its own and calibrate what counts as a pass."""

from polychrome import stage
from polychrome.engagement.judge import make_judge
from polychrome.measures.encoder import Encoder
from polychrome.params import load_params


def main() -> None:
    evaluation = load_params().evaluation
    report = make_judge(
        "data/phases/judge.jsonl",
        "data/phases/full.jsonl",
        Encoder.open("assets/encoder", remember=True),
        "models/judge",
        "results/judge.json",
        resamples=evaluation.bootstrap,
        confidence=evaluation.confidence,
    )
    print(f"judge of engagement in models/judge, fitted on {report['pairs']} pairs that no arm sees")
    print(f"{report['verdict']}; see results/judge.json")


if __name__ == "__main__":
    stage.run(main)
