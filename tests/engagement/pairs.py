"""Pairs whose engagement is known to depend on the reply, or not, and what is fitted on them."""

from dataclasses import replace

import numpy as np

from polychrome.engagement import fitting, judge
from polychrome.engagement.learned import LearnedReward
from polychrome.engagement.ranks import ranked
from polychrome.engagement.settings import FitSettings
from polychrome.pairs.schema import Pair
from tests.encoders import Letters

WORDS = ("bread", "cheese", "music", "rain", "lunch", "work", "dogs", "sleep", "chess", "snow", "good", "fine")
SETTINGS = FitSettings(learning_rate=1e-3, penalty=0.01, epochs=60, patience=6)


def some_pairs(count, conversations, *, asking=0.0, length=0.0, noise=1.0, seed=0, prefix="c"):
    """Pairs dealt to conversations in turn; a question is worth ``asking``, the log of a reply's words ``length``."""
    generator = np.random.default_rng(seed)
    pairs = []
    for i in range(count):
        post, reply = (" ".join(generator.choice(WORDS, size=generator.integers(3, 13))) for _ in range(2))
        asks = bool(generator.integers(2)) and asking > 0
        worth = asking * asks + length * np.log1p(len(reply.split())) + noise * generator.normal()
        name = f"{prefix}{i % conversations}"
        pairs.append(Pair(f"{name}:{i}", name, post, reply + "?" * asks, float(np.exp(worth)), "someone"))
    return pairs


def texts(pairs):
    return [pair.post for pair in pairs], [pair.reply for pair in pairs]


def fitted_to(pairs, name, phases=None, **changes):
    """The ``judge`` or the learned ``reward`` of ``pairs``, and its report."""
    own = ranked(pairs, name, 200, 0.95)
    if name == "judge":
        return judge.fit(own, phases or pairs, Letters(), changes.get("pass_quantile", 0.75))
    head, report = fitting.fit(own, Letters(), replace(SETTINGS, **changes))
    return LearnedReward(head, Letters()), report
