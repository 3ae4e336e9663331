"""The slab against plain lists: what each row holds, what its newest token may see, whose prompt it may read."""

from random import Random
from typing import NamedTuple

import pytest
import torch

from polychrome.engine.slab import Slab

CPU = torch.device("cpu")


class Row(NamedTuple):
    group: tuple[int, int]
    admitted: int
    held: list[float]


def admit(slab: Slab, *prompts: list[float]) -> None:
    """A row for each prompt, padded on the left with nines; keys are the numbers, values their negatives."""
    width = max(map(len, prompts))
    keys = torch.tensor([[9.0] * (width - len(prompt)) + prompt for prompt in prompts])[:, None, :, None]
    slab.layers[0].place(keys, -keys)


def step(slab: Slab, numbers: list[float]) -> list[list[float]]:
    """Write one token a row; returns what each row may look at, oldest first."""
    slab.advance()
    new = torch.tensor(numbers)[:, None, None, None]
    keys, values = slab.layers[0].update(new, -new)
    assert torch.equal(keys, -values)
    mask = slab.mask()
    assert mask.shape == (len(slab), 1, 1, keys.shape[2])
    return [row[keep].tolist() for row, keep in zip(keys[:, 0, :, 0], mask[:, 0, 0], strict=True)]


def test_whatever_joins_and_goes_every_row_holds_its_own_and_its_leader_is_the_first_of_its_group():
    """Numbers are few, so that prompts come again; columns are few, so that rows have to move to the left."""
    random, slab, rows = Random(0), Slab(1, 6, 12, CPU), []
    moved = 0
    for i in range(1000):
        room, longest = slab.rows - len(rows), max((len(row.held) for row in rows), default=5)
        kind = random.choice(["join", "step", "step", "go"])
        if kind == "join" and room:
            prompts = [[float(random.randint(1, 3)) for _ in range(random.randint(1, longest))] for _ in range(2)]
            spread = random.choices(range(2), k=random.randint(1, room))
            rows += [Row((i, each), len(prompts[each]), prompts[each]) for each in spread]
            slab.admit(torch.tensor([len(prompts[each]) for each in spread]), torch.tensor(spread))
            admit(slab, *(prompts[each] for each in spread))
        elif kind == "step" and rows:
            used, numbers = slab.used, [float(random.randint(1, 9)) for _ in rows]
            rows = [row._replace(held=[*row.held, number]) for row, number in zip(rows, numbers, strict=True)]
            assert step(slab, numbers) == [row.held for row in rows]
            moved += slab.used <= used
        gone = [len(row.held) == 11 or (kind == "go" and random.random() < 0.4) for row in rows]
        order = slab.drop(torch.tensor(gone, dtype=torch.bool)).tolist()
        assert sorted(order) == [place for place, goes in enumerate(gone) if not goes]
        assert all(old == place or gone[place] for place, old in enumerate(order))  # the others stay where they are
        rows = [rows[old] for old in order]
        assert slab.lengths.tolist() == [len(row.held) for row in rows]
        groups = [row.group for row in rows]
        assert slab.leaders.tolist() == [groups.index(group) for group in groups]
        assert slab.admitted.tolist() == [row.admitted for row in rows]
        assert torch.equal(slab.starts[slab.leaders], slab.starts)
    assert moved > 10


@pytest.mark.parametrize("lengths", [[3], [1, 1]], ids=["too long", "too many"])
def test_what_does_not_fit_is_an_error(lengths):
    slab = Slab(1, 2, 10, CPU)
    slab.admit(torch.tensor([2]), torch.tensor([0]))
    with pytest.raises(ValueError, match="do not fit"):
        slab.admit(torch.tensor(lengths), torch.zeros(len(lengths), dtype=torch.long))
