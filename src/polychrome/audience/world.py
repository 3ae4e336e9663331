"""A world as its file says it: how people write, what readers like, how much of it there is (worlds/*.yaml)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np

from polychrome.audience.grammar import FORMS, KINDS, POSTS, TOPICS, kind_of
from polychrome.declare import Rule, Section, nearest
from polychrome.errors import InputError, Problem, bad
from polychrome.files import read_json, write_json

KEPT = "audience.json"  # in a model's folder


@dataclass(frozen=True, kw_only=True)
class World(Section):
    """What posts and replies are generated from."""

    seed: Annotated[int, Rule("of the generated conversations", minimum=0)]
    topics: Annotated[int, Rule("conversations, each about a topic of its own", minimum=1, maximum=len(TOPICS))]
    posts: Annotated[int, Rule("about each topic", minimum=1, maximum=len(POSTS))]
    replies: Annotated[int, Rule("by people to each post", minimum=1, maximum=20)]
    visitors: Annotated[float, Rule("readers whom a reply meets on average", above=0)]
    writers: Annotated[Mapping[str, float], Rule("how often people write each kind; sums to 1", minimum=0)]
    readers: Annotated[Mapping[str, float], Rule("how many readers like each kind, and no other; sums to 1", minimum=0)]

    def disagreements(self) -> Iterator[Problem]:
        """Both distributions are over the kinds that there are, and nobody has to say the same twice of a topic."""
        if self.posts * self.replies > (most := min(map(len, FORMS.values()))):
            found = f"{self.posts} posts times {self.replies} replies"
            yield Problem("replies", found, f"at most {most} replies on a topic, no two alike", "Lower one of the two.")
        for key in ("writers", "readers"):
            shares: Mapping[str, float] = getattr(self, key)
            for name in shares.keys() - set(KINDS):
                yield Problem(f"{key}.{name}", name, "a kind of reply", nearest(name, KINDS))
            for name in [kind for kind in KINDS if kind not in shares]:
                yield Problem(key, f"no {name}", f"a share for each of {', '.join(KINDS)}", "Add it; 0 is allowed.")
            if abs(sum(shares.values()) - 1) > 1e-9:
                yield Problem(key, f"shares that sum to {sum(shares.values()):g}", "shares that sum to 1", "Fix them.")

    @property
    def written(self) -> np.ndarray:
        """q (8,): how often people write each of :data:`KINDS`."""
        return np.array([self.writers[kind] for kind in KINDS])

    @property
    def liked(self) -> np.ndarray:
        """w (8,): the share of readers who like each of :data:`KINDS`."""
        return np.array([self.readers[kind] for kind in KINDS])

    def worth(self, posts: Sequence[str], replies: Sequence[str]) -> np.ndarray:
        """The share of readers who like ``replies[i]`` to ``posts[i]``: (n,); 0 for a reply of no kind."""
        kinds = [kind_of(post, reply) for post, reply in zip(posts, replies, strict=True)]
        return np.array([*self.liked, 0.0])[np.array(kinds, dtype=int)]

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """The world of a YAML file. Raises InputError naming all that is wrong with it, as file:line:key."""
        from polychrome.reading import SettingsFile

        path = Path(path)
        if not path.is_file():
            raise bad(str(path), "no such file", "a world, such as worlds/audience.yaml", "Correct data.path.")
        file = SettingsFile(path.read_text(encoding="utf-8"), str(path))
        world: Self = file.read(cls, "", file.values)
        if file.problems:
            raise InputError([problem for _, problem in sorted(file.problems, key=lambda placed: placed[0])])
        return world

    @classmethod
    def of(cls, source: str, path: str | Path) -> Self | None:
        """The world in the file of source `audience`; None of any other source: nobody knows the truth of those."""
        return cls.read(path) if source == "audience" else None

    def keep(self, directory: Path) -> None:
        """Write what :meth:`kept` reads into ``directory``."""
        write_json(directory / KEPT, asdict(self))

    @classmethod
    def kept(cls, directory: str | Path) -> Self:
        """The world that was kept in ``directory``. Raises InputError when the folder has no world."""
        path = Path(directory) / KEPT
        expected, remedy = "the world of data.source audience", f"Run `dvc repro {path.parent.name}`."
        found: Any = read_json(path, expected, remedy)
        try:
            return cls(**found)
        except TypeError as error:
            raise bad(str(path), error, expected, remedy) from error
