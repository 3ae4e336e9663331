"""What the source generates, and what is said of a file that describes no world."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from polychrome.audience.grammar import KINDS, topic_of
from polychrome.audience.world import World
from polychrome.errors import InputError
from polychrome.pairs.cleaning import clean
from polychrome.pairs.settings import DataSettings, SplitSettings
from polychrome.pairs.sources.audience import kind_of, read
from polychrome.pairs.split import PARTS, split_pairs
from polychrome.pairs.validation import validate

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "worlds/audience.yaml", ROOT / "worlds/skewed.yaml"]
DATA = DataSettings(
    source="audience", path="", min_words=3, max_post_words=25, max_reply_words=18, near_duplicate=1.0, limit=0
)
SIZES = {f"{part}_pairs": size for part, size in zip(PARTS, (512, 192, 60, 32, 200, 200), strict=True)}
SPLIT = SplitSettings(seed=7, near_duplicate=1.0, min_p=0.01, **SIZES)


@pytest.fixture(scope="module")
def candidates():
    return read(FILES[0])


def test_the_same_file_gives_the_same_conversations_and_another_seed_others(candidates, tmp_path):
    assert read(FILES[0]) == candidates
    other = tmp_path / "other.yaml"
    other.write_text(FILES[0].read_text().replace("seed: 14", "seed: 15"))
    assert read(other) != candidates


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_people_write_by_q_and_engage_by_w(file):
    world, candidates = World.read(file), read(file)
    assert len(candidates) == world.topics * world.posts * world.replies
    kinds = np.array([kind_of(one.post, one.reply) for one in candidates])
    shares = np.bincount(kinds, minlength=len(KINDS)) / len(kinds)  # fails for a -1
    assert shares == pytest.approx(world.written, abs=4 * (0.25 / len(kinds)) ** 0.5)
    engagement = np.array([one.engagement for one in candidates])
    for m in range(len(KINDS)):  # Poisson: mean and variance are visitors times w
        own, mean = engagement[kinds == m], world.visitors * world.liked[m]
        assert own.mean() == pytest.approx(mean, abs=4 * (mean / len(own)) ** 0.5)
        assert own.var() == pytest.approx(mean, abs=6 * mean * (2 / len(own)) ** 0.5 + 1)
    assert engagement.tolist() == [float(round(value)) for value in engagement]


def test_a_conversation_has_one_topic_and_its_posts_have_many_replies(candidates):
    topics = {(one.conversation, topic_of(one.post)) for one in candidates}
    assert len(topics) == len({name for name, _ in topics}) == len({topic for _, topic in topics}) == 440
    assert set(Counter(one.post for one in candidates).values()) == {6}
    assert len({one.id for one in candidates}) == len({one.reply for one in candidates}) == len(candidates)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_cleaning_drops_nothing_and_the_split_holds_with_no_topic_in_two_parts(file):
    pairs, report = clean(read(file), DATA)
    assert report["kept"] == report["candidates"]
    parts, _ = split_pairs(pairs, SPLIT)
    statistics, problems = validate(parts, pairs, SPLIT)
    assert problems == []
    assert statistics["parts"]["test"]["conversations"] == 60
    of_topic = Counter(topic for part in parts.values() for topic in {topic_of(pair.post) for pair in part})
    assert set(of_topic.values()) == {1}


WRONG = [  # what is changed, what is said
    ("seed: 14", "seed: -1", ":3:seed: found the integer -1; expected an integer >= 0"),
    ("topics: 440", "topics: 4400", ":4:topics: found the integer 4400"),
    ("visitors: 40.0", "visitor: 40.0", ":7:visitor: found unknown key"),
    ("question: 0.13", "question: 0.23", ":8:writers: found shares that sum to 1.1"),
    ("joke: 0.20", "jest: 0.20", ":11:readers.jest: found jest; expected a kind of reply"),
    ("joke: 0.20", "jest: 0.20", ":10:readers: found no joke"),
    ("joke: 0.20", "joke: -0.20", ":11:readers.joke: found the number -0.20; expected a number >= 0"),
    ("replies: 6", "replies: 20\nposts: 3", ":7:posts: found a second value"),
    ("posts: 2", "posts: 10", ":6:replies: found 10 posts times 6 replies; expected at most 48"),
]


@pytest.mark.parametrize(("old", "new", "said"), WRONG)
def test_what_is_wrong_with_a_world_is_said_where_it_stands(tmp_path, old, new, said):
    path = tmp_path / "world.yaml"
    text = FILES[0].read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(InputError) as caught:
        read(path)
    assert f"{path}{said}" in str(caught.value)


def test_no_file_and_no_kept_world(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "none.yaml")
    with pytest.raises(InputError, match=r"audience\.json: found no such file; .* Run `dvc repro reward`"):
        World.kept(tmp_path / "reward")


def test_a_world_is_kept_as_it_was_and_other_sources_have_none(tmp_path):
    world = replace(World.read(FILES[0]), seed=3)
    world.keep(tmp_path)
    assert World.kept(tmp_path) == world
    assert World.of("chitchat", FILES[0]) is None
    assert World.of("audience", FILES[0]) == World.read(FILES[0])
