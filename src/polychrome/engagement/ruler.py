"""What measures replies: the fitted judge of engagement, people's own ratings, or in the audience world the truth.

All say of each reply what replies.jsonl holds, of replies to one post which are of one class, and of a set the chance
that k of it hold something for its reader.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from polychrome.audience.exact import ideals, pass_curve
from polychrome.audience.grammar import KINDS, kind_of
from polychrome.audience.world import KEPT, World
from polychrome.engagement import people
from polychrome.engagement.judge import Judge
from polychrome.engagement.people import People
from polychrome.files import Row
from polychrome.measures.encoder import TextEncoder, relevance
from polychrome.measures.failures import failures_of
from polychrome.measures.partition import components, similar
from polychrome.measures.passk import pass_at_k
from polychrome.measures.validity import problems_of


class Ruler(Protocol):
    """What :func:`open_ruler` opens."""

    def rate(
        self, posts: Sequence[str], replies: Sequence[str], ended: Sequence[bool], encoder: TextEncoder
    ) -> list[Row]:
        """Each of n replies to ``posts[i]`` with all that was measured of it, as replies.jsonl holds it.

        ``relevance`` is None where it is not defined for the language.
        """
        ...

    def predict(self, posts: Sequence[str], replies: Sequence[str]) -> np.ndarray:
        """How much each reply engages (n,), in the unit of the ruler."""
        ...

    def contributions(self, posts: Sequence[str], replies: Sequence[str]) -> dict[str, float]:
        """Feature of a reply -> what it adds to the mean prediction of n >= 1 replies."""
        ...

    def classes(self, post: str, replies: Sequence[str], vectors: np.ndarray | None) -> list[int]:
        """The class of each of n replies to one post, which have unit ``vectors`` (n, d); -1 makes no class.

        Empty where that rests on vectors and there are none: the encoder does not know the language.
        """
        ...

    def alike(self, post: str, replies: Sequence[str], vectors: np.ndarray | None) -> np.ndarray | None:
        """Which of n replies to one post say the same: bool (n, n), symmetric; one without a class is like none.

        None where that rests on vectors and there are none.
        """
        ...

    def pass_curve(self, rows: Sequence[Row]) -> np.ndarray:
        """Pass@1 to Pass@n of a set of n rated replies to one post: float64 (n,), each without bias."""
        ...

    def ideals(self, samples: int) -> Mapping[str, np.ndarray]:
        """Name -> Pass@1 to Pass@n of policies that are known to be ideal, n = ``samples``; none where none is."""
        ...


@dataclass(frozen=True, slots=True)
class FittedRuler:
    """The fitted judge, with the thresholds that human replies calibrated."""

    judge: Judge | People

    def rate(
        self, posts: Sequence[str], replies: Sequence[str], ended: Sequence[bool], encoder: TextEncoder
    ) -> list[Row]:
        """A reply passes if it ended, is well-formed, near enough to its post, and predicted to engage enough.

        Where relevance is undefined, how near it is is not asked.
        """
        cosine, engagement = self.relevance(posts, replies, encoder), self.predict(posts, replies)
        thresholds = self.judge.thresholds
        rows: list[Row] = []
        for i, reply in enumerate(replies):
            near = None if thresholds.on_topic is None or np.isnan(cosine[i]) else float(cosine[i])
            well_formed, on_topic = not problems_of(reply), near is None or near >= thresholds.on_topic
            engages = bool(engagement[i] >= thresholds.engagement)
            rows.append(
                {
                    "text": reply,
                    "engagement": float(engagement[i]),
                    "relevance": near,
                    "well_formed": well_formed,
                    "passes": ended[i] and well_formed and on_topic and engages,
                    "failures": failures_of(
                        posts[i], reply, relevance=near, on_topic=thresholds.on_topic, ended=ended[i]
                    ),
                }
            )
        return rows

    def relevance(self, posts: Sequence[str], replies: Sequence[str], encoder: TextEncoder) -> np.ndarray:
        """Cosine (n,) of each post and its reply; NaN where the encoder does not know the script of either."""
        return relevance(posts, replies, encoder)

    def predict(self, posts: Sequence[str], replies: Sequence[str]) -> np.ndarray:
        """The judge's prediction: a rank among human replies."""
        return self.judge.predict(posts, replies)

    def contributions(self, posts: Sequence[str], replies: Sequence[str]) -> dict[str, float]:
        """Of every n-gram of the reply."""
        return self.judge.contributions(replies) if isinstance(self.judge, Judge) else {}

    def classes(self, post: str, replies: Sequence[str], vectors: np.ndarray | None) -> list[int]:
        """Those that are joined by :meth:`alike`."""
        alike = self.alike(post, replies, vectors)
        return [] if alike is None else components(alike).tolist()

    def alike(self, post: str, replies: Sequence[str], vectors: np.ndarray | None) -> np.ndarray | None:
        """A cosine above all but 1% of those of human replies to different posts; the malformed are like none."""
        threshold = self.judge.thresholds.same_class
        if vectors is None or threshold is None:
            return None
        return similar(vectors, threshold, np.array([not problems_of(reply) for reply in replies], dtype=bool))

    def pass_curve(self, rows: Sequence[Row]) -> np.ndarray:
        """The chance that one of k passes."""
        passing, n = sum(row["passes"] for row in rows), len(rows)
        return np.array([pass_at_k(n, [passing], k)[0] for k in range(1, n + 1)])

    def ideals(self, samples: int) -> Mapping[str, np.ndarray]:
        """None: nobody knows the truth."""
        return {}


@dataclass(frozen=True, slots=True)
class PeopleRuler(FittedRuler):
    """The rated human replies to the same post: no judge is fitted, and on topic is what is near enough to one."""

    judge: People

    def relevance(self, posts: Sequence[str], replies: Sequence[str], encoder: TextEncoder) -> np.ndarray:
        """Cosine (n,) of each reply and the human reply to its post that is nearest to it."""
        return self.judge.nearest(posts, replies)[1]


@dataclass(frozen=True, slots=True)
class AudienceRuler:
    """The audience world's own truth: no judge is fitted, no encoder asked."""

    world: World

    def rate(
        self, posts: Sequence[str], replies: Sequence[str], ended: Sequence[bool], encoder: TextEncoder
    ) -> list[Row]:
        """Engagement is the share of readers who like a reply; it passes if any do and it ended.

        It is relevant (1 or 0) if it has a kind; ``kind`` is the name of that, null for one off topic or without form.
        """
        rows: list[Row] = []
        for post, reply, end, liked in zip(posts, replies, ended, self.predict(posts, replies).tolist(), strict=True):
            kind = kind_of(post, reply)
            about = {"relevance": float(kind >= 0), "on_topic": 1.0, "ended": end}
            rows.append(
                {
                    "text": reply,
                    "engagement": liked,
                    "relevance": float(kind >= 0),
                    "well_formed": not problems_of(reply),
                    "passes": liked > 0 and end,
                    "failures": failures_of(post, reply, **about),
                    "kind": KINDS[kind] if kind >= 0 else None,
                }
            )
        return rows

    def predict(self, posts: Sequence[str], replies: Sequence[str]) -> np.ndarray:
        """The share of readers who like each reply."""
        return self.world.worth(posts, replies)

    def contributions(self, posts: Sequence[str], replies: Sequence[str]) -> dict[str, float]:
        """Of every kind: the share of replies that are of it, times that of readers who like it."""
        kinds, worth = [kind_of(*pair) for pair in zip(posts, replies, strict=True)], self.predict(posts, replies)
        return {name: float(worth[np.array(kinds) == kind].sum()) / len(kinds) for kind, name in enumerate(KINDS)}

    def classes(self, post: str, replies: Sequence[str], vectors: np.ndarray | None) -> list[int]:
        """Their kinds, as places in :data:`~polychrome.audience.grammar.KINDS`."""
        return [kind_of(post, reply) for reply in replies]

    def alike(self, post: str, replies: Sequence[str], vectors: np.ndarray | None) -> np.ndarray:
        """Those of one kind."""
        kinds = np.array(self.classes(post, replies, vectors))
        return (kinds[:, None] == kinds) & (kinds >= 0)

    def pass_curve(self, rows: Sequence[Row]) -> np.ndarray:
        """The chance that a visiting reader likes one of k."""
        kinds = [KINDS.index(row["kind"]) if row["passes"] else -1 for row in rows]  # no one likes the others
        return pass_curve(kinds, self.world.liked)

    def ideals(self, samples: int) -> Mapping[str, np.ndarray]:
        """What policies reach that know both distributions."""
        return ideals(self.world.written, self.world.liked, samples)


def open_ruler(directory: str | Path, encoder: TextEncoder | None = None) -> Ruler:
    """What stage `judge` left in ``directory``; ``encoder`` for the ruler that asks one, which else opens its own.

    Raises InputError when it is missing or damaged.
    """
    if (Path(directory) / KEPT).is_file():
        return AudienceRuler(World.kept(directory))
    if (Path(directory) / people.KEPT).is_file():
        return PeopleRuler(People.open(directory, encoder))
    return FittedRuler(Judge.open(directory))
