"""Stand-ins for what is slow: an encoder of hashed words, and files as other stages leave them."""

import hashlib
import json
from pathlib import Path

import numpy as np

from polychrome.engagement.judge import Judge, Thresholds
from polychrome.evaluation.settings import EvaluationSettings
from polychrome.files import write_json
from polychrome.params import load_params

EXPERIMENT = load_params(Path(__file__).parents[2] / "params.yaml").experiment
MODELS = ("zero_shot", "baseline_warmstart", "polychromic_warmstart", *EXPERIMENT.compared)


class WordEncoder:
    """Embeds a text as the normalised sum of a fixed random vector a word; counts the texts it computes."""

    def __init__(self, width=12):
        self.width, self.known, self.computed = width, {}, []

    def embed(self, texts):
        for text in texts:
            if text not in self.known:
                self.computed.append(text)
                total = sum(map(self._word, text.lower().split()), start=self._word(""))
                self.known[text] = (total / np.linalg.norm(total)).astype(np.float32)
        return np.stack([self.known[text] for text in texts])

    def _word(self, word):
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")
        return np.random.default_rng(seed).normal(size=self.width)


def settings(bootstrap=200, ks=(1, 5, 10), confidence=0.95):
    return EvaluationSettings(ks=ks, pass_quantile=0.75, bootstrap=bootstrap, confidence=confidence, alpha=0.05)


KNOWN = (
    "a ah day did does go hiking hm it kind like lovely me nice of oh ok same soup sounds that then too well where "
    "which yes you"
)


def length_judge(on_topic=-1.0):
    """A judge that predicts the square root of how many different known words a reply has, and passes at five."""
    words = tuple(KNOWN.split())  # each present word weighs 1 / sqrt(k), and there are k
    return Judge((), words, np.ones(len(words)), 0.0, Thresholds(on_topic, float(np.sqrt(5) - 1e-9), 0.9))


def write_engagement(folder, engagement, human=()):
    """The evaluation of a model of which engagement alone matters, as per_post.json holds it."""
    posts = [f"t{i}" for i in range(len(engagement))]
    value = {
        "posts": posts,
        "samples": 2,
        "pass_curve": [[0, 0]] * len(posts),
        "metrics": {"engagement": list(engagement)},
    }
    write_json(folder / "per_post.json", value | {"human": {"engagement": list(human)} if len(human) else {}})
    return folder


def write_rows(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
