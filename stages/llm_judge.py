"""Stage `llm_judge`: two models' sets compared by an LLM. Usage: python stages/llm_judge.py <model_a> <model_b>."""

import sys
from functools import partial

import sibling

from polychrome import stage
from polychrome.errors import bad
from polychrome.llm_judge.judgement import judge_models
from polychrome.params import load_params


def main() -> None:
    if len(sys.argv) != 3:
        found, usage = f"{len(sys.argv) - 1} arguments", f"Use {sys.argv[0]} <model_a> <model_b>."
        raise bad(" ".join(sys.argv), found, "two models", usage)
    result = judge_models(*sys.argv[1:], load_params(), partial(print, file=sys.stderr))
    print(result["verdict"])
    if result["stopped"]:  # so that DVC runs it again
        sys.exit(1)


if __name__ == "__main__":
    stage.run(main)
