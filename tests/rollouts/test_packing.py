"""What stands where in a pack, and who sees whom."""

import pytest
import torch

from polychrome.rollouts.packing import Group, pack

from .naive import random_groups

PAD = 0
TWO = [Group([10, 11], [[20], [30, 31, 32]]), Group([12], [[40, 41]])]


def test_a_prompt_stands_once_before_its_completions_and_groups_follow_each_other_in_a_row():
    packed = pack(TWO, PAD, row_tokens=64)
    assert packed.input_ids.tolist() == [[10, 11, 20, 30, 31, 32, 12, 40, 41]]


def test_positions_of_every_completion_go_on_from_its_prompts_end():
    packed = pack(TWO, PAD, row_tokens=64)
    assert packed.position_ids.tolist() == [[0, 1, 2, 2, 3, 4, 0, 1, 2]]


def test_a_token_sees_its_prompt_and_its_own_completion_up_to_itself_and_nothing_else():
    packed = pack(TWO, PAD, row_tokens=64)
    ids = packed.input_ids[0].tolist()
    seen = {
        ids[query]: {ids[key] for key in row.nonzero().flatten().tolist()}
        for query, row in enumerate(packed.mask[0, 0])
    }
    assert seen == {
        10: {10}, 11: {10, 11},
        20: {10, 11, 20},
        30: {10, 11, 30}, 31: {10, 11, 30, 31}, 32: {10, 11, 30, 31, 32},
        12: {12}, 40: {12, 40}, 41: {12, 40, 41},
    }  # fmt: skip


def test_the_first_token_of_a_completion_is_predicted_by_the_last_of_its_prompt():
    packed = pack(TWO, PAD, row_tokens=64)
    by = packed.input_ids[packed.rows, packed.columns].tolist()
    assert list(zip(by, packed.targets.tolist(), strict=True)) == [
        (11, 20), (11, 30), (30, 31), (31, 32), (12, 40), (40, 41),
    ]  # fmt: skip


def test_spread_puts_values_back_by_completion_in_the_order_given_and_zero_beyond_an_end():
    packed = pack(TWO, PAD, row_tokens=64)
    assert packed.spread(packed.targets).tolist() == [[20, 0, 0], [30, 31, 32], [40, 41, 0]]
    assert packed.completion_mask.tolist() == [[1, 0, 0], [1, 1, 1], [1, 1, 0]]


@pytest.mark.parametrize("row_tokens", [1, 30, 60, 1000])
def test_however_rows_are_filled_no_token_is_lost_and_the_order_of_completions_is_that_given(row_tokens):
    groups = random_groups([1, 4, 2, 6, 3, 1, 5])
    packed = pack(groups, PAD, row_tokens)
    expected = [completion for group in groups for completion in group.completions]
    lengths = packed.completion_mask.sum(-1).int().tolist()
    tokens = [row[:n].tolist() for row, n in zip(packed.spread(packed.targets), lengths, strict=True)]
    assert tokens == expected
    assert packed.input_ids.shape[1] <= max(row_tokens, *map(len, groups))


@pytest.mark.parametrize("row_tokens", [1, 60])
def test_completion_tokens_are_listed_completion_by_completion_however_rows_are_filled(row_tokens):
    """So that values known a completion, such as the sampler's log-probabilities, can be laid end to end and spread."""
    groups = random_groups([1, 4, 2, 6, 3, 1, 5])
    packed = pack(groups, PAD, row_tokens)
    assert packed.targets.tolist() == [token for group in groups for c in group.completions for token in c]


def test_every_position_sees_at_least_itself_so_that_attention_is_defined_on_padding_too():
    packed = pack(random_groups([2, 1, 3]), PAD, row_tokens=20)
    assert torch.diagonal(packed.mask[:, 0], dim1=-2, dim2=-1).all()
    assert len(packed.input_ids) > 1


@pytest.mark.parametrize(
    "groups", [[], [Group([], [[1]])], [Group([1], [])], [Group([1], [[2], []])], [Group([1], [[2]]), Group([], [[3]])]]
)
def test_empty_prompts_and_completions_are_refused(groups):
    with pytest.raises(ValueError, match="non-empty"):
        pack(groups, PAD)
