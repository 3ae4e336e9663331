"""Stage `reward`: train the learned reward on conversations of its own, and say how far it can be believed."""

from polychrome import paths, stage
from polychrome.engagement.fitting import make_reward_model
from polychrome.measures.encoder import Encoder
from polychrome.params import load_params


def main() -> None:
    params = load_params()
    report = make_reward_model(
        paths.PHASES / "reward.jsonl",
        Encoder.open(paths.ENCODER, remember=True),
        paths.REWARD,
        "results/reward.json",
        params.reward.learned,
        resamples=params.evaluation.bootstrap,
        confidence=params.evaluation.confidence,
    )
    print(f"learned reward in {paths.REWARD}, fitted on {report['pairs']} pairs that neither arms nor judge see")
    print(f"{report['verdict']}; see results/reward.json")


if __name__ == "__main__":
    stage.run(main)
