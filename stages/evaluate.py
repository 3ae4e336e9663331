"""Stage `evaluate`: measure the replies of one model and seed. Usage: python stages/evaluate.py <model> <seed>."""

import sibling

from polychrome import paths, stage
from polychrome.evaluation.evaluate import evaluate
from polychrome.measures.encoder import Encoder
from polychrome.measures.words import LANGUAGE
from polychrome.params import load_params


def main() -> None:
    model, seed = stage.arm_and_seed()
    settings, out = load_params().evaluation, paths.evaluation_dir(model, seed)
    encoder = Encoder.open(paths.ENCODER, remember=True)
    path = paths.generations_file(model, seed)
    measured = evaluate(path, paths.JUDGE, encoder, out, settings, references=paths.REFERENCES)
    passed, human = measured["metrics"][settings.primary], measured["human"]["pass_at_1"]
    print(f"{model}, seed {seed}: {measured['samples']} replies to each of {measured['posts']} posts; see {out}")
    if unread := measured["metrics"]["relevance"]["undefined_posts"]:
        print(f"for {unread} posts a pass does not ask whether replies are on topic: {LANGUAGE} (assets.encoder)")
    print(
        f"{settings.primary} {passed['mean']:.3f} ({passed['low']:.3f} to {passed['high']:.3f}), "
        f"human {human['mean']:.3f}"
    )


if __name__ == "__main__":
    stage.run(main)
