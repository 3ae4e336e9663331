"""What the judge's tests share: a scripted endpoint, two models' replies on disk, and waits that take no time."""

import importlib
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from polychrome.files import write_json, write_jsonl
from polychrome.llm_judge.asking import Judge
from polychrome.llm_judge.judgement import judge_models
from polychrome.llm_judge.question import Question
from polychrome.llm_judge.settings import LlmJudgeSettings
from tests.llm_judge.server import Endpoint

KEY = "sk-test-0123456789-never-written"
POSTS, SEEDS = 4, (42, 123)
UNITS = POSTS * len(SEEDS)
QUESTION = Question("hello?", ("one two three", "four"), ("one", "one"))
SWAPPED = Question("hello?", ("one", "one"), ("one two three", "four"))
WORDS = dict(zip((*SEEDS, *range(POSTS)), ("apple", "pear", "bird", "fish", "stone", "cloud"), strict=True))


def by_words(request):
    """An honest judge: the set with more different words is better."""
    a, b = (len({w for r in request.question[f"set_{s}"] for w in r.split()}) for s in "AB")
    return "tie" if a == b else "A" if a > b else "B"


def varied(seed, i):
    """A set of many words, another one for each seed and post, so that no two questions are the same."""
    return [f"one {WORDS[seed]} tree", f"two green {WORDS[i]}", "three slow rivers"]


def dull(seed, i):
    """A set of few words."""
    return ["it is nice", "it is nice too", f"nice {WORDS[seed]} {WORDS[i]}"]


def write_model(model, replies, *, seeds=SEEDS, engagement=lambda i: 0.5, posts=POSTS, post="topic {}?"):
    """``replies`` is a function of (seed, post number) that makes a set, or a list that is the set of all."""
    for seed in seeds:
        usual = {"human": "no idea", "ended": [True] * 3, "human_nll": 8.0, "human_tokens": 4}
        sets = [replies(seed, i) if callable(replies) else replies for i in range(posts)]
        rows = [{"id": f"t{i}", "post": post.format(i), "replies": sets[i]} | usual for i in range(posts)]
        write_jsonl(f"results/generations/{model}/seed-{seed}.jsonl", rows)
        measured = {"posts": [row["id"] for row in rows], "samples": 3, "pass_curve": [[1, 1, 1]] * posts}
        measured |= {"metrics": {"engagement": [engagement(i) for i in range(posts)]}, "human": {}}
        write_json(f"results/evaluation/{model}/seed-{seed}/per_post.json", measured)


@dataclass
class Bench:
    """The folder that the test works in, an endpoint, what was told, and how long was waited."""

    server: Endpoint
    backend: str
    told: list = field(default_factory=list)
    slept: list = field(default_factory=list)

    def settings(self, **changes):
        usual = {"contrasts": (), "backend": self.backend, "model": "judge-1", "seed": 0, "posts": 0, "replies": 0}
        usual |= {"base_url": "http://127.0.0.1:1" + "/v1" * (self.backend == "openai"), "max_tokens": 512}
        usual |= {"requests_per_minute": 6000.0, "max_dollars": 10.0, "max_calls": 1000}
        return LlmJudgeSettings(**usual | {"dollars_per_million": (3.0, 15.0)} | changes)

    def judge(self, *script, **changes):
        """A judge of single questions whose endpoint acts by ``script`` first."""
        self.server.script[:] = script
        return Judge(self.settings(**changes), self.told.append)

    def run(self, a="varied", b="dull", seeds=SEEDS, **changes):
        """Judge two models; what was requested and told is that of this run alone."""
        self.server.requests.clear()
        self.told.clear()
        evaluation = SimpleNamespace(bootstrap=50, confidence=0.95)
        params = SimpleNamespace(seeds=seeds, llm_judge=self.settings(**changes), evaluation=evaluation)
        return judge_models(a, b, params, self.told.append)

    def written(self):
        return Path("results/llm_judge/varied_vs_dull.json").read_bytes()


@pytest.fixture(params=["anthropic", "openai"])
def bench(request, monkeypatch, tmp_path):
    bench = Bench(Endpoint(by_words), request.param)
    for name in ("anthropic", "openai"):
        monkeypatch.delenv(f"{name.upper()}_BASE_URL", raising=False)
        monkeypatch.setenv(f"{name.upper()}_API_KEY", KEY)
        sdk = importlib.import_module(name)
        monkeypatch.setattr(sdk, "DefaultHttpxClient", partial(sdk.DefaultHttpxClient, transport=bench.server))
    monkeypatch.setattr(time, "sleep", bench.slept.append)
    monkeypatch.chdir(tmp_path)
    write_model("varied", varied, engagement=lambda i: 0.6)
    write_model("dull", dull, engagement=lambda i: 0.4)
    return bench
