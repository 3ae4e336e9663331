"""Stand-ins for what is slow: an encoder of hashed words, and files as other stages leave them."""

import hashlib
import json

import numpy as np

from polychrome.evaluation.judge import SURFACE, Judge, Thresholds

WIDTH = 12


class WordEncoder:
    """Embeds a text as the normalised sum of a fixed random vector a word; counts the texts it computes."""

    def __init__(self, width=WIDTH):
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


def length_judge(on_topic=-1.0):
    """A judge that predicts log(1 + words of the reply), and passes at five words."""
    weights = np.zeros(2 * WIDTH + len(SURFACE))
    weights[2 * WIDTH + SURFACE.index("log_reply_words")] = 1.0
    n = len(SURFACE)
    return Judge(
        weights,
        np.zeros(1),
        np.zeros(n),
        np.ones(n),
        np.full(n, -99.0),
        np.full(n, 99.0),
        Thresholds(on_topic, float(np.log1p(5))),
    )


def write_rows(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
