"""What the judge's tests share: a scripted endpoint, two models' replies on disk, a clock that does not wait."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from polychrome.files import write_json
from polychrome.llm_judge.judgement import judge_models
from polychrome.llm_judge.settings import Settings
from tests.evaluation.fakes import write_rows
from tests.llm_judge.server import serving

KEY = "sk-test-0123456789-never-written"
POSTS, REPLIES, SEEDS = 4, 3, (42, 123)


def by_words(request):
    """An honest judge: the set with more different words is better."""
    a, b = (len({w for r in request.question[f"set_{s}"] for w in r.split()}) for s in "AB")
    return "tie" if a == b else "A" if a > b else "B"


@pytest.fixture
def server(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "ANTHROPIC_BASE_URL", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serving(by_words) as running:
        yield running


@pytest.fixture(params=["anthropic", "openai"])
def backend(request):
    return request.param


@dataclass
class Time:
    """A clock in seconds that only sleeping moves."""

    now: float = 0.0
    slept: list = field(default_factory=list)

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


def make_settings(server, backend, root, **changes):
    usual = {
        "backend": backend,
        "model": "judge-1",
        "base_url": server.base_url(backend),
        "timeout_s": 5.0,
        "requests_per_minute": 6000.0,
        "max_dollars": 10.0,
        "dollars_per_million_input": 3.0,
        "dollars_per_million_output": 15.0,
        "cache": str(root / "cache"),
    }
    return Settings(**usual | changes)


def write_model(root, model, replies, *, seeds=SEEDS, engagement=0.5, posts=POSTS):
    """``replies`` is a function of (seed, post number) that makes a set, or a list that is the set of all."""
    for seed in seeds:
        rows = [
            {
                "id": f"t{i}",
                "post": f"what do you think of topic {i}?",
                "human": "no idea",
                "replies": replies(seed, i) if callable(replies) else list(replies),
                "ended": [True] * REPLIES,
                "human_nll": 8.0,
                "human_tokens": 4,
            }
            for i in range(posts)
        ]
        write_rows(root / f"generations/{model}/seed-{seed}.jsonl", rows)
        measured = {
            "posts": [row["id"] for row in rows],
            "samples": len(rows[0]["replies"]),
            "passing": [1] * posts,
            "metrics": {"engagement": [engagement(i) if callable(engagement) else engagement for i in range(posts)]},
            "human": {"engagement": [0.5] * posts},
        }
        write_json(root / f"evaluation/{model}/seed-{seed}/per_post.json", measured)


def varied(seed, i):
    """A set of many words, another one for each seed and post, so that no two questions are the same."""
    return [f"one {WORDS[seed]} tree", f"two green {WORDS[i]}", "three slow rivers"]


def dull(seed, i):
    """A set of few words."""
    return ["it is nice", "it is nice too", f"nice {WORDS[seed]} {WORDS[i]}"]


WORDS = dict(zip((*SEEDS, *range(POSTS)), ("apple", "pear", "bird", "fish", "stone", "cloud"), strict=True))


@dataclass
class Bench:
    """Two models on disk under ``root``, and a run of the judge on them."""

    server: object
    root: Path
    time: Time = field(default_factory=Time)
    told: list = field(default_factory=list)

    def settings(self, backend, **changes):
        return make_settings(self.server, backend, self.root, **changes)

    def run(self, backend, a="varied", b="dull", seeds=SEEDS, **changes):
        self.server.requests.clear()
        self.told.clear()
        return judge_models(
            a,
            b,
            seeds,
            self.settings(backend, **changes),
            resamples=200,
            confidence=0.95,
            generations=self.root / "generations",
            evaluations=self.root / "evaluation",
            out=self.root / "out",
            tell=self.told.append,
            clock=self.time.clock,
            sleep=self.time.sleep,
        )

    def written(self, a="varied", b="dull"):
        return (self.root / f"out/{a}_vs_{b}.json").read_bytes()

    def cached(self):
        return sorted((self.root / "cache").rglob("*.json"))


@pytest.fixture
def bench(server, tmp_path):
    write_model(tmp_path, "varied", varied, engagement=0.6)
    write_model(tmp_path, "dull", dull, engagement=0.4)
    return Bench(server, tmp_path)
