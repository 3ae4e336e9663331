"""Conversations of the audience world (:mod:`polychrome.audience`), generated from the seed and sizes in its file.

Each conversation has a topic of its own. People answer a post in kinds drawn from how they write, no text twice, and
a reply's engagement is how many of the readers it meets like its kind: Poisson with mean visitors times their share.
"""

from collections.abc import Iterator
from pathlib import Path

from polychrome.audience.grammar import FORMS, KINDS, POSTS, TOPICS, kind_of
from polychrome.audience.world import World
from polychrome.pairs.sources import Candidate
from polychrome.randomness import numpy_generator

__all__ = ["kind_of", "read"]


def read(path: Path) -> list[Candidate]:
    """The candidates of the world in the YAML file ``path``. Raises InputError naming all that is wrong with it."""
    world = World.read(path)
    order = numpy_generator(world.seed, "audience", "topics").permutation(len(TOPICS))[: world.topics]
    return [candidate for place in order for candidate in _conversation(world, TOPICS[place])]


def _conversation(world: World, topic: str) -> Iterator[Candidate]:
    generator, name = numpy_generator(world.seed, "audience", topic), topic.replace(" ", "-")
    left = {kind: generator.permutation(forms).tolist() for kind, forms in FORMS.items()}
    for number, place in enumerate(generator.permutation(len(POSTS))[: world.posts]):
        post = POSTS[place].format(topic)
        for reply, m in enumerate(generator.choice(len(KINDS), world.replies, p=world.written)):
            liked = generator.poisson(world.visitors * world.liked[m])
            text = left[KINDS[m]].pop().format(topic)
            yield Candidate(f"{name}-{number}-{reply}", name, post, text, float(liked), "", "")
