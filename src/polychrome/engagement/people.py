"""Rated human replies to the very post, in the judge's place, where a post has many of them.

A reply is worth what the :data:`NEAREST` human replies to its post, by the encoder, were rated: their mean engagement.
Nothing is fitted. A text is not its own neighbour, so people are rated as models are, each by the others.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np

from polychrome import paths
from polychrome.engagement import ranks
from polychrome.engagement.judge import Thresholds, calibrated
from polychrome.engagement.ranks import Ranked
from polychrome.errors import bad
from polychrome.files import read_json, shown, whole_directory, write_json
from polychrome.measures.encoder import Encoder, TextEncoder, calibrating, known
from polychrome.pairs.schema import Pair

KEPT = "people.json"  # in a model's folder
NEAREST = 5  # human replies to the post that a reply is rated by


@dataclass(frozen=True, slots=True)
class People:
    """What people replied to each post, how it was rated, and what their own replies reach."""

    replies: Mapping[str, Sequence[str]]  # post -> texts
    engagement: Mapping[str, Sequence[float]]  # post -> of each text
    thresholds: Thresholds
    encoder: TextEncoder | None = None  # opened when it is needed, if left out

    def predict(self, posts: Sequence[str], replies: Sequence[str]) -> np.ndarray:
        """What each reply is worth (n,), in the unit of the engagement."""
        return self.nearest(posts, replies)[0]

    def nearest(self, posts: Sequence[str], replies: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """What each reply is worth (n,), and its cosine (n,) with the human reply that is nearest to it.

        The cosine is NaN where the encoder does not know the script of the post or of the reply.
        Raises InputError for a post that nobody replied to.
        """
        encoder = self.encoder or _encoder()
        rated, cosine = np.empty(len(replies)), np.empty(len(replies))
        for post in dict.fromkeys(posts):
            if post not in self.replies:
                expected = "a post of the data, whose human replies are known"
                raise bad(KEPT, shown(post), expected, "Ask about posts of the data alone.")
            rows = [row for row, of in enumerate(posts) if of == post]
            ours, theirs = [replies[row] for row in rows], self.replies[post]
            people, models = (encoder.embed(texts).astype(np.float64) for texts in (theirs, ours))
            alike = models @ people.T
            alike[np.array(ours, dtype=object)[:, None] == np.array(theirs, dtype=object)] = -np.inf
            order = np.argsort(-alike, axis=1, kind="stable")[:, :NEAREST]
            rated[rows] = np.asarray(self.engagement[post])[order].mean(axis=1)
            cosine[rows] = alike.max(axis=1)
        return rated, np.where(known(encoder, posts, replies), cosine, np.nan)

    @classmethod
    def of(cls, pairs: Sequence[Pair]) -> Self:
        """Everybody's replies in ``pairs``, not calibrated yet. Raises InputError for a post with too few of them."""
        replies, engagement = defaultdict(list), defaultdict(list)
        for pair in pairs:
            replies[pair.post].append(pair.reply)
            engagement[pair.post].append(pair.engagement)
        few = [post for post, texts in replies.items() if len(texts) <= NEAREST]
        if few:
            found = f"{len(few)} posts with {NEAREST} replies or fewer ({shown(few[0])})"
            remedy = "Take them out of the data, or set split.per_conversation: 0, with which a judge is fitted."
            raise bad("the prepared pairs", found, f"more than {NEAREST} human replies to every post", remedy)
        return cls(replies, engagement, Thresholds(-1.0, -1.0, 1.0))

    def save(self, directory: Path) -> None:
        """Write what :meth:`open` reads into ``directory``."""
        about = {"thresholds": asdict(self.thresholds), "replies": self.replies, "engagement": self.engagement}
        write_json(directory / KEPT, about)

    @classmethod
    def open(cls, directory: str | Path, encoder: TextEncoder | None = None) -> Self:
        """Open what :meth:`save` wrote. Raises InputError when it is missing or damaged."""
        path = Path(directory) / KEPT
        expected, remedy = "people's replies and their ratings", "Run `dvc repro --force judge`."
        about: Any = read_json(path, expected, remedy)
        try:
            return cls(about["replies"], about["engagement"], Thresholds(**about["thresholds"]), encoder)
        except (KeyError, TypeError) as error:
            raise bad(str(path), error, expected, remedy) from error


@cache
def _encoder() -> TextEncoder:
    return Encoder.open(paths.ENCODER, remember=True)


def make_people(
    own: Ranked,
    phases: Sequence[Pair],
    encoder: TextEncoder,
    directory: str | Path,
    report_path: str | Path,
    pass_quantile: float,
) -> dict[str, Any]:
    """Keep everybody's replies, ``own``, in the judge's place, calibrated on ``phases``; write and return the report.

    Reported is how well they are put in order, each rated by the others to its post. Raises InputError where a post
    has too few replies, and where the encoder does not know their script.
    """
    people = replace(People.of(own.pairs), encoder=encoder)
    posts, replies = [pair.post for pair in phases], [pair.reply for pair in phases]
    if not len(calibrating(encoder, posts, replies)):
        expected = "an encoder that knows their script, since replies are rated by those near them"
        remedy = "Take a multilingual one (assets.encoder), or set split.per_conversation: 0: then a judge is fitted."
        raise bad("the prepared pairs", f"texts like {shown(replies[0])}", expected, remedy)
    rated, cosine = people.nearest(posts, replies)
    thresholds, calibration = calibrated(phases, encoder, cosine, rated, pass_quantile)
    with whole_directory(directory) as beside:
        replace(people, thresholds=thresholds).save(beside)
    measured, _ = own.measured(people.predict(own.posts, own.replies))
    meaning = f"nothing is fitted or predicted; a reply is rated as the {NEAREST} human ones to its post nearest to it"
    if (right := measured.get("pairwise_accuracy_within_post")) is not None:
        meaning += f", which puts {right:.0%} of two replies to one post in the right order (chance: 50%)"
    report = {
        "pairs": len(own.pairs),
        "conversations": len(np.unique(own.conversations)),
        "calibration_pairs": len(phases),
        "nearest": NEAREST,
        **calibration,
        **measured,
        "verdict": own.verdict(measured, meaning),
    }
    return ranks.write_report(report_path, report, own.where)
