"""What stands where in a pack, and who sees whom."""

import pytest
import torch

from polychrome.engine.attention import PackedAttention
from polychrome.engine.backend import Backend
from polychrome.engine.packing import Group, pack, pack_prompts

from .naive import PACKS, SHARING, random_groups, sharing_groups

TWO = [Group([10, 11], [[20], [30, 31, 32]]), Group([12], [[40, 41]])]
ALIKE = [Group([10, 11, 12], [[20], [30, 31, 32]]), Group([10, 11], [[40, 41]]), Group([10, 11, 13], [[50, 51]])]


def seen_by(packed):
    """By the place of each query, the tokens that it sees."""
    ids = packed.input_ids.tolist()
    return [[ids[key] for key in row.nonzero().flatten().tolist()] for row in packed.mask()[0, 0]]


def test_a_prompt_stands_once_before_its_completions_and_groups_follow_each_other():
    """But for their last tokens, which predict nothing: of one token nothing is left. Positions of every completion
    go on from its prompt's end; its first token is predicted by the last of its prompt.
    """
    packed = pack(TWO)
    assert packed.input_ids.tolist() == [10, 11, 30, 31, 12, 40]
    assert packed.position_ids.tolist() == [0, 1, 2, 3, 0, 1]
    assert packed.prompts.tolist() == [[0, 1], [4, 0]]
    assert packed.is_prompt.tolist() == [[True, True], [True, False]]
    assert packed.completions.tolist() == [[0, 0], [2, 3], [5, 0]]
    assert packed.is_completion.tolist() == [[False, False], [True, True], [True, False]]
    assert packed.owner.tolist() == [0, 0, 1]
    assert seen_by(packed) == [[10], [10, 11], [10, 11, 30], [10, 11, 30, 31], [12], [12, 40]]
    assert packed.input_ids[packed.predictors].tolist() == [11, 11, 30, 31, 12, 40]
    assert packed.targets.tolist() == [20, 30, 31, 32, 40, 41]
    assert packed.spread(packed.targets).tolist() == [[20, 0, 0], [30, 31, 32], [40, 41, 0]]  # zero beyond an end
    assert packed.completion_mask.tolist() == [[1, 0, 0], [1, 1, 1], [1, 1, 0]]


def test_what_all_prompts_begin_with_stands_once_at_the_beginning_and_is_seen_by_all():
    packed = pack(ALIKE)
    assert packed.input_ids.tolist() == [10, 11, 12, 30, 31, 40, 13, 50]
    assert packed.position_ids.tolist() == [0, 1, 2, 3, 4, 2, 2, 3]
    assert packed.prompts.tolist() == [[0, 1, 2], [0, 1, 0], [0, 1, 6]]
    assert packed.prompt_lengths.tolist() == [3, 2, 3]
    # Of the places where attention has a shared token the first is taken: prompts are 3 x 3, behind them stand
    # completions, 4 x 2.
    assert PackedAttention(packed, torch.float32, Backend()).back.tolist() == [0, 1, 2, 11, 12, 13, 8, 15]


GROUPS = {name: (sharing_groups(prompts), shared) for name, (prompts, shared) in SHARING.items()}


@pytest.mark.parametrize(("groups", "shared"), [*GROUPS.values(), (ALIKE, 2), (random_groups([1, 4, 2, 6, 3]), 0)])
def test_a_pack_has_the_shared_tokens_once_and_everyone_sees_in_company_what_it_sees_alone(groups, shared):
    """Completions are listed one after another: what is known of each can be laid end to end and spread."""
    packed, alone, prompts = pack(groups), [pack([group]) for group in groups], [list(g.prompt) for g in groups]
    assert len(packed.input_ids) == sum(len(one.input_ids) for one in alone) - shared * (len(groups) - 1)
    for values, expected in ((packed.input_ids, prompts), (packed.position_ids, [range(len(p)) for p in prompts])):
        rows = zip(packed.prompts, packed.prompt_lengths, strict=True)
        assert [values[row[:length]].tolist() for row, length in rows] == [list(own) for own in expected]
    assert packed.targets.tolist() == [token for group in groups for c in group.completions for token in c]
    for name in ("input_ids", "position_ids"):
        before = torch.cat([getattr(one, name)[one.predictors] for one in alone])
        assert torch.equal(getattr(packed, name)[packed.predictors], before)
    expected = [seen_by(one)[place] for one in alone for place in one.predictors.tolist()]
    assert [seen_by(packed)[place] for place in packed.predictors.tolist()] == expected
    of_prompts = pack_prompts(prompts)
    assert len(of_prompts.input_ids) == sum(map(len, prompts)) - shared * (len(prompts) - 1)
    assert (of_prompts.completions.shape, len(of_prompts.targets)) == ((0, 0), 0)


@pytest.mark.parametrize(
    "groups", [[], [Group([], [[1]])], [Group([1], [])], [Group([1], [[2], []])], [Group([1], [[2]]), Group([], [[3]])]]
)
def test_empty_prompts_and_completions_are_refused(groups):
    with pytest.raises(ValueError, match="non-empty"):
        pack(groups)
    with pytest.raises(ValueError, match="non-empty"):
        pack_prompts([[5], []])


@pytest.mark.parametrize("packed", PACKS.values(), ids=PACKS)
def test_in_spans_every_token_is_a_query_exactly_once_and_sees_what_the_mask_says(packed):
    seen, asked = torch.zeros_like(packed.mask()[0, 0]), []
    lengths = packed.span_starts.diff().tolist()
    for tokens, queries in zip(packed.span_tokens.split(lengths), packed.span_queries.tolist(), strict=True):
        assert queries > 0
        asked += tokens[len(tokens) - queries :].tolist()
        for place in range(len(tokens) - queries, len(tokens)):
            seen[tokens[place], tokens[: place + 1]] = True
    assert torch.equal(seen, packed.mask()[0, 0])
    assert sorted(asked) == list(range(len(packed.input_ids)))
    assert packed.span_starts[-1] == len(packed.span_tokens)
