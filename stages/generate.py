"""Stage `generate`: one model answers the test posts. Usage: python stages/generate.py <model> <seed>."""

import sibling

from polychrome import paths, stage
from polychrome.evaluation.generate import generate
from polychrome.params import load_params


def main() -> None:
    model, seed = stage.arm_and_seed()
    records = generate(load_params(), model, seed)
    example = records[0]
    print(f"{model}, seed {seed}: {sum(len(r['replies']) for r in records)} replies to {len(records)} posts")
    print(
        f"for example, to {example['post']!r}: {example['replies'][0]!r}; all in {paths.generations_file(model, seed)}"
    )


if __name__ == "__main__":
    stage.run(main)
