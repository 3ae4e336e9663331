"""Stage `judge`: fit the engagement judge on conversations of its own and calibrate what counts as a pass."""

import sibling

from polychrome import stage
from polychrome.audience.world import World
from polychrome.engagement.judge import make_exact, make_judge
from polychrome.engagement.people import make_people
from polychrome.engagement.ranks import ranked
from polychrome.measures.encoder import Encoder
from polychrome.pairs.schema import read_pairs
from polychrome.pairs.within import ranked_within
from polychrome.params import load_params


def main() -> None:
    params, path = load_params(), "data/phases/judge.jsonl"
    evaluation = params.evaluation
    own = ranked(read_pairs(path), "judge", evaluation.bootstrap, evaluation.confidence, path)
    if world := World.of(params.data.source, params.data.path):
        report = make_exact(own, world, "models/judge", "results/judge.json")
        print(f"the world's own truth in models/judge, compared with {report['pairs']} pairs that no arm sees")
    else:
        encoder, full = Encoder.open("assets/encoder", remember=True), "data/phases/full.jsonl"
        where = ("models/judge", "results/judge.json", evaluation.pass_quantile)
        if params.split.per_conversation:
            path = "data/prepared/pairs.jsonl"
            own = ranked(ranked_within(read_pairs(path)), "judge", evaluation.bootstrap, evaluation.confidence, path)
            report = make_people(own, read_pairs(full), encoder, *where)
            print(f"people's {report['pairs']} rated replies in models/judge, each held against the others to its post")
        else:
            report = make_judge(own, full, encoder, *where)
            print(f"judge of engagement in models/judge, fitted on {report['pairs']} pairs that no arm sees")
    print(f"{report['verdict']}; see results/judge.json")


if __name__ == "__main__":
    stage.run(main)
