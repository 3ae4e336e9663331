"""What stands where in a pack, and who sees whom."""

import pytest

from polychrome.rollouts.packing import Group, pack, pack_prompts

from .naive import random_groups

TWO = [Group([10, 11], [[20], [30, 31, 32]]), Group([12], [[40, 41]])]


def test_a_prompt_stands_once_before_its_completions_and_groups_follow_each_other():
    """But for their last tokens, which predict nothing: of a completion of one token nothing is left."""
    assert pack(TWO).input_ids.tolist() == [10, 11, 30, 31, 12, 40]


def test_positions_of_every_completion_go_on_from_its_prompts_end():
    assert pack(TWO).position_ids.tolist() == [0, 1, 2, 3, 0, 1]


def test_a_token_sees_its_prompt_and_its_own_completion_up_to_itself_and_nothing_else():
    packed = pack(TWO)
    ids = packed.input_ids.tolist()
    seen = {
        ids[query]: {ids[key] for key in row.nonzero().flatten().tolist()}
        for query, row in enumerate(packed.mask()[0, 0])
    }
    assert seen == {
        10: {10}, 11: {10, 11},
        30: {10, 11, 30}, 31: {10, 11, 30, 31},
        12: {12}, 40: {12, 40},
    }  # fmt: skip


def test_the_first_token_of_a_completion_is_predicted_by_the_last_of_its_prompt():
    packed = pack(TWO)
    by = packed.input_ids[packed.predictors]
    assert list(zip(by.tolist(), packed.targets.tolist(), strict=True)) == [
        (11, 20), (11, 30), (30, 31), (31, 32), (12, 40), (40, 41),
    ]  # fmt: skip


def test_the_rectangles_say_where_prompts_and_completions_stand_and_whose_they_are():
    packed = pack(TWO)
    assert packed.prompts.tolist() == [[0, 1], [4, 0]]
    assert packed.is_prompt.tolist() == [[True, True], [True, False]]
    assert packed.completions.tolist() == [[0, 0], [2, 3], [5, 0]]
    assert packed.is_completion.tolist() == [[False, False], [True, True], [True, False]]
    assert packed.owner.tolist() == [0, 0, 1]


def test_spread_puts_values_back_by_completion_in_the_order_given_and_zero_beyond_an_end():
    packed = pack(TWO)
    assert packed.spread(packed.targets).tolist() == [[20, 0, 0], [30, 31, 32], [40, 41, 0]]
    assert packed.completion_mask.tolist() == [[1, 0, 0], [1, 1, 1], [1, 1, 0]]


def test_no_token_is_lost_none_is_padding_and_completions_are_listed_one_after_another():
    """So that values known a completion, such as the sampler's log-probabilities, can be laid end to end and spread."""
    groups = random_groups([1, 4, 2, 6, 3, 1, 5])
    packed = pack(groups)
    assert len(packed.input_ids) == sum(len(group) - len(group.completions) for group in groups)
    assert packed.targets.tolist() == [token for group in groups for c in group.completions for token in c]


def test_prompts_alone_are_a_pack_without_completions():
    packed = pack_prompts([[5, 6], [7]])
    assert packed.input_ids.tolist() == [5, 6, 7]
    assert packed.completions.shape == (0, 0)
    assert len(packed.targets) == 0
    with pytest.raises(ValueError, match="non-empty"):
        pack_prompts([[5], []])


@pytest.mark.parametrize(
    "groups", [[], [Group([], [[1]])], [Group([1], [])], [Group([1], [[2], []])], [Group([1], [[2]]), Group([], [[3]])]]
)
def test_empty_prompts_and_completions_are_refused(groups):
    with pytest.raises(ValueError, match="non-empty"):
        pack(groups)
