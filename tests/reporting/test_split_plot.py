import numpy as np
import pytest

from polychrome.errors import InputError
from polychrome.files import read_json
from polychrome.pairs.schema import Pair, write_pairs
from polychrome.pairs.settings import SplitSettings
from polychrome.pairs.split import split_file
from polychrome.reporting.split_plot import split_figure
from tests.reporting.page.tree import edit

PAIRS = {"phase1_pairs": 30, "phase2_pairs": 30, "test_pairs": 16, "validation_pairs": 8, "judge_pairs": 50}
SETTINGS = SplitSettings(seed=7, **PAIRS, reward_pairs=24, near_duplicate=0.8, min_p=0.0)


@pytest.fixture(params=[0.0, 0.75])
def phases(request, tmp_path):
    """A split pool in which this share of the engagement is zero."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghijkl"), 6)) for _ in range(3000)]
    pool = []
    for number in range(190):
        post, reply = (" ".join(rng.choice(words, count)) for count in (5, int(rng.integers(3, 12))))
        engagement = 0.0 if rng.random() < request.param else float(rng.lognormal())
        pool.append(Pair(str(number), str(number), post, reply, engagement, author=""))
    write_pairs(tmp_path / "pairs.jsonl", pool)
    split_file(tmp_path / "pairs.jsonl", SETTINGS, tmp_path / "phases")
    return tmp_path / "phases"


def test_the_figure_is_drawn_and_the_same_files_give_the_same_bytes(phases):
    for name in ("one/plot.svg", "two/plot.svg"):
        split_figure(phases, phases / name)
    text = (phases / "one/plot.svg").read_text()
    assert (phases / "two/plot.svg").read_text() == text
    chi_square = read_json(phases / "phase_split_statistics.json")["chi_square"]["p"]
    for words in ("phase 1 (SFT), 30 pairs", "test, 16 pairs", "words in the reply", f"chi-square p {chi_square:.2f}"):
        assert words in text


def test_statistics_without_what_it_needs_are_reported(phases):
    edit(phases / "phase_split_statistics.json", lambda statistics: statistics["chi_square"].pop("table"))
    with pytest.raises(InputError, match=r"phase_split_statistics\.json:chi_square:table: found no such field"):
        split_figure(phases, phases / "plot.svg")
    assert not (phases / "plot.svg").exists()
