"""A tiny but whole repository, and dvc run in it for real."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from pathlib import Path

import pytest
from filelock import FileLock
from ruamel.yaml import YAML

from tests.tiny import WORDS, make_tiny_base, make_tiny_encoder

ROOT = Path(__file__).parents[2]
TAKEN = (
    *("dvc.yaml", "params.yaml", ".dvcignore", ".gitignore", ".dvc/config", ".dvc/plots"),
    *("stages", "src", "custom_rewards"),
)
TINY = {
    "seeds": [42],
    "assets.base_model": "tiny/base",
    "assets.encoder": "tiny/encoder",
    "assets.watched": "tiny",
    "assets.conversations": "none",
    "compute.dtype": "float32",
    "compute.threads": 1,
    "data.source": "tweets",
    "data.path": "tiny/tweets.jsonl",
    "split.phase1_pairs": 8,
    "split.phase2_pairs": 8,
    "split.test_pairs": 4,
    "split.validation_pairs": 4,
    "split.judge_pairs": 60,
    "split.reward_pairs": 60,
    "split.min_p": 0.0,
    "prompt.plain": "Reply.",
    "arms.zero_shot.prompt": "Reply.",
    "arms.prompted.prompt": "Reply well.",
    "prompt.max_prompt_tokens": 300,
    "prompt.max_reply_tokens": 100,
    "lora.rank": 2,
    "lora.layers": 0,
    "train.checkpoint_every": 2,
    "sampling.samples": 3,
    "sampling.max_new_tokens": 12,
    "evaluation.ks": [1, 2, 3],
    "evaluation.bootstrap": 200,
}
LONG = 12  # epochs of the arm that a test kills: it must not end before
TINY_ARMS = {"batch_size": 4, "max_new_tokens": 10, "epochs": 2, "posts_per_step": 1, "samples": 3}


@dataclass(frozen=True)
class Repository:
    """A checkout in which commands run as a user would run them, with the environment's bin first on PATH."""

    path: Path

    def run(self, *command: str, ok: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command, cwd=self.path, env=self.environment | environment, capture_output=True, text=True, check=False
        )
        if ok:
            assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done

    @property
    def environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return os.environ | {"PATH": path, "PYTHONPATH": str(self.path / "src"), "OMP_NUM_THREADS": "1"}

    def dvc(self, *arguments: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run("dvc", *arguments, ok=ok)

    def commit(self, message: str) -> None:
        self.run("git", "add", "-A")
        self.run("git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qm", message)

    def set(self, **values: object) -> None:
        """Set dotted keys of params.yaml (dots as double underscores), keeping the rest."""
        set_params(self.path / "params.yaml", {key.replace("__", "."): value for key, value in values.items()})

    def outputs(self) -> dict[str, str]:
        """Output path -> md5 of every stage, from dvc.lock."""
        lock = YAML(typ="safe").load((self.path / "dvc.lock").read_text())
        return {out["path"]: out["md5"] for stage in lock["stages"].values() for out in stage["outs"]}

    def changed(self) -> "set[str]":
        """The stages that `dvc status` names."""
        return set(json.loads(self.dvc("status", "--json").stdout))

    def copy(self, to: Path) -> "Repository":
        shutil.copytree(self.path, to, symlinks=True)
        return Repository(to)


def set_params(path: Path, values: dict[str, object]) -> None:
    yaml = YAML()
    params = yaml.load(path.read_text())
    for dotted, value in values.items():
        *parents, last = dotted.split(".")
        reduce(getitem, parents, params)[last] = value
    with path.open("w") as handle:
        yaml.dump(params, handle)


def make_repository(path: Path) -> Repository:
    """A fresh checkout with tiny models and tweets of its own; nothing has been run in it."""
    for name in TAKEN:
        source, target = ROOT / name, path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    make_tiny_base(path / "tiny/base")
    make_tiny_encoder(path / "tiny/encoder")
    (path / "tiny/tweets.jsonl").write_text("".join(json.dumps(tweet(i)) + "\n" for i in range(210)))
    arms = YAML(typ="safe").load((path / "params.yaml").read_text())["arms"]
    small = {f"arms.{arm}.{key}": TINY_ARMS[key] for arm, keys in arms.items() for key in keys if key in TINY_ARMS}
    set_params(path / "params.yaml", TINY | small | {"arms.grpo_from_baseline.epochs": LONG})
    repository = Repository(path)
    repository.run("git", "init", "-q")
    repository.commit("tiny")
    return repository


def tweet(i: int) -> dict[str, object]:
    word = [WORDS[(i * step + shift) % len(WORDS)] for step, shift in ((1, 0), (3, 5), (7, 2), (5, 9))]
    return {
        "tweet_id": f"t{i}",
        "reply_id": f"r{i}",
        "tweet": f"number {i} says {word[0]} and {word[1]} today",
        "reply": " ".join([f"{word[2]} {i * 7919 % 1000} for me", *word[: i % 4]]),
        "tweet_likes": 1 + i % 3,
        "reply_likes": 2 * (i % 4) + i % 7,  # longer replies are liked more, so that the judge finds something
    }


@pytest.fixture(scope="session")
def finished(tmp_path_factory, request) -> Repository:
    """A repository whose whole pipeline has run; tests that change it take a copy.

    It is made once: test processes that run side by side (pytest-xdist) share the folder above their own.
    """
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if hasattr(request.config, "workerinput") else own
    repository, done = Repository(shared / "finished"), shared / "finished.done"
    with FileLock(shared / "finished.lock"):
        if not done.exists():
            shutil.rmtree(repository.path, ignore_errors=True)
            make_repository(repository.path)
            repository.dvc("repro")
            repository.commit("run")
            done.touch()
    return repository


@pytest.fixture
def repository(finished, tmp_path) -> Repository:
    """A copy of the finished repository to change."""
    return finished.copy(tmp_path / "repository")
