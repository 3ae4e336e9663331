"""Stage `reward`: train the learned reward on conversations of its own, and say how far it can be believed."""

import sibling

from polychrome import paths, stage
from polychrome.audience.world import World
from polychrome.engagement.fitting import make_reward_model
from polychrome.engagement.ranks import ranked
from polychrome.measures.encoder import Encoder
from polychrome.pairs.schema import read_pairs
from polychrome.params import load_params


def main() -> None:
    params = load_params()
    path, evaluation = paths.PHASES / "reward.jsonl", params.evaluation
    own = ranked(read_pairs(path), "reward", evaluation.bootstrap, evaluation.confidence, path)
    encoder = Encoder.open(paths.ENCODER, remember=True)
    world = World.of(params.data.source, params.data.path)
    report = make_reward_model(own, encoder, paths.REWARD, "results/reward.json", params.reward.learned, world)
    print(f"learned reward in {paths.REWARD}, fitted on {report['pairs']} pairs that neither arms nor judge see")
    print(f"{report['verdict']}; see results/reward.json")


if __name__ == "__main__":
    stage.run(main)
