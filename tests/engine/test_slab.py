"""The slab against the definition: what each row holds, and what attention over it may see."""

import pytest
import torch

from polychrome.engine.slab import Slab

CPU = torch.device("cpu")


def admit(slab: Slab, *prompts: list[float], spread: list[int]) -> None:
    """Rows that hold prompts padded on the left with nines; keys are the numbers, values their negatives."""
    width = max(map(len, prompts))
    keys = torch.tensor([[9.0] * (width - len(prompts[i])) + prompts[i] for i in spread])[:, None, :, None]
    slab.admit(torch.tensor([len(prompts[i]) for i in spread]), torch.tensor(spread))
    slab.layers[0].place(keys, -keys)


def step(slab: Slab, *numbers: float) -> list[list[float]]:
    """Write one token a row; returns what each row may look at, oldest first."""
    slab.advance()
    new = torch.tensor(numbers)[:, None, None, None]
    keys, values = slab.layers[0].update(new, -new)
    assert torch.equal(keys, -values)
    mask = slab.mask()
    assert mask.shape == (len(slab), 1, 1, keys.shape[2])
    return [row[keep].tolist() for row, keep in zip(keys[:, 0, :, 0], mask[:, 0, 0], strict=True)]


def test_a_row_holds_its_prompt_and_what_it_has_drawn():
    slab = Slab(1, 4, 10, CPU)
    admit(slab, [1, 2, 3], [4], spread=[0, 0, 1])
    assert slab.lengths.tolist() == [3, 3, 1]
    assert step(slab, 5, 6, 7) == [[1, 2, 3, 5], [1, 2, 3, 6], [4, 7]]
    assert slab.lengths.tolist() == [4, 4, 2]


def test_a_row_that_goes_is_filled_by_the_last_and_the_others_do_not_notice():
    slab = Slab(1, 4, 10, CPU)
    admit(slab, [1, 2], [3], [4, 5], [6], spread=[0, 1, 2, 3])
    order = slab.drop(torch.tensor([True, False, True, False]))
    assert order.tolist() == [3, 1]
    assert step(slab, 7, 8) == [[6, 7], [3, 8]]
    assert slab.drop(torch.tensor([False, False])).tolist() == [0, 1]
    assert slab.drop(torch.tensor([True, True])).tolist() == []
    assert len(slab) == 0


def test_rows_that_join_stand_behind_those_under_way_and_see_nothing_of_who_was_there_before():
    slab = Slab(1, 3, 10, CPU)
    admit(slab, [1, 2, 3], [4, 5, 6], spread=[0, 1])
    step(slab, 7, 8)
    slab.drop(torch.tensor([False, True]))
    admit(slab, [10, 11], [12], spread=[0, 1])
    assert step(slab, 13, 14, 15) == [[1, 2, 3, 7, 13], [10, 11, 14], [12, 15]]


def test_the_first_row_of_a_group_leads_it_and_when_it_goes_the_next():
    slab = Slab(1, 6, 10, CPU)
    admit(slab, [1, 2, 3], [4, 5], spread=[0, 0, 0, 1, 1])
    assert slab.leaders.tolist() == [0, 0, 0, 3, 3]
    assert slab.admitted.tolist() == [3, 3, 3, 2, 2]
    step(slab, 6, 7, 8, 9, 10)
    slab.drop(torch.tensor([True, False, False, False, False]))  # the last row takes the place of the first
    assert slab.leaders.tolist() == [0, 1, 1, 0]
    assert slab.admitted.tolist() == [2, 3, 3, 2]
    admit(slab, [1, 2, 3], spread=[0, 0])  # a group of their own, though its number and its prompt were there before
    assert slab.leaders.tolist() == [0, 1, 1, 0, 4, 4]
    slab.drop(torch.ones(6, dtype=torch.bool))
    assert slab.leaders.tolist() == []


def test_when_the_columns_are_full_the_rows_move_to_the_left_and_hold_what_they_held():
    slab = Slab(1, 2, 4, CPU)
    admit(slab, [1, 2, 3], [4], spread=[0, 1])
    step(slab, 5, 6)
    slab.drop(torch.tensor([True, False]))
    assert slab.used == 4
    assert step(slab, 7) == [[4, 6, 7]]
    assert slab.used == 3
    admit(slab, [8, 9], spread=[0])
    assert step(slab, 10, 11) == [[4, 6, 7, 10], [8, 9, 11]]


@pytest.mark.parametrize(("prompts", "spread"), [([[1, 2, 3]], [0]), ([[1]], [0, 0])])
def test_what_does_not_fit_is_an_error(prompts, spread):
    slab = Slab(1, 2, 10, CPU)
    admit(slab, [1, 2], spread=[0])
    with pytest.raises(ValueError, match="do not fit"):
        admit(slab, *prompts, spread=spread)
