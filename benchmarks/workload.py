"""What both sides are given: posts, pairs, the system prompt, the adapter, the reward. Nothing here is timed."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from polychrome.pairs.schema import Pair
from polychrome.pairs.sources import reader_of
from polychrome.randomness import numpy_generator

SYSTEM = "Reply to the message."
CONVERSATIONS = Path("assets/chitchat/dataset.json")
LEARNING_RATE = 1e-5
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LORA = SimpleNamespace(rank=16, alpha=32, dropout=0.0, layers=0, targets=TARGETS)  # all linear layers of all layers
GOODS = "apples pears bread cheese tea rice fish salt books shoes lamps chairs soap seeds honey nuts".split(" ")  # noqa: SIM905
MIN_WORDS, MAX_POST_WORDS, MAX_REPLY_WORDS = 3, 25, 18  # as params.yaml has them by default


def market_pairs(count: int) -> list[Pair]:
    """Short posts of nearly one length, about 40 tokens as a chat prompt: no side gains from how it pads."""
    posts = [
        f"I went to the {place} today and bought some {goods}, what did you do this weekend?"
        for place in ("market", "shop", "store", "fair", "village", "city", "mall", "station")
        for goods in GOODS
    ]
    return [_pair(f"m{i}", posts[i % len(posts)], "nothing much, I stayed in") for i in range(count)]


def chat_pairs(count: int, conversations: Path = CONVERSATIONS) -> list[Pair]:
    """A fixed sample of (message, answer) pairs of varied length from the chit-chat conversations.

    Raises InputError without the file, ValueError when it holds fewer.
    """
    kept = [
        _pair(c.id, " ".join(c.post.split()), " ".join(c.reply.split()))
        for c in reader_of("chitchat")(conversations)
        if c.post and c.reply and c.author != c.post_author and _fits(c.post, c.reply)
    ]
    order = numpy_generator(0, "benchmark pairs").permutation(len(kept))
    if len(kept) < count:
        raise ValueError(f"{conversations} holds {len(kept)} fitting pairs, {count} are needed")
    return [kept[i] for i in order[:count]]


def distinct_letters(replies: Sequence[str]) -> list[float]:
    """The reward of both sides: how many different characters a reply has. It costs next to nothing."""
    return [float(len(set(reply))) for reply in replies]


def reward(posts: Sequence[str], replies: Sequence[str]) -> np.ndarray:
    """:func:`distinct_letters` as our trainer wants it."""
    return np.array(distinct_letters(replies), dtype=np.float64)


def _fits(post: str, reply: str) -> bool:
    return MIN_WORDS <= len(post.split()) <= MAX_POST_WORDS and MIN_WORDS <= len(reply.split()) <= MAX_REPLY_WORDS


def _pair(name: str, post: str, reply: str) -> Pair:
    return Pair(id=name, conversation=name, post=post, reply=reply, engagement=1.0, author="")
