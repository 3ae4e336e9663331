"""Groups of completions packed behind their prompts, each prompt once, with a mask that keeps completions apart.

A group is one prompt and the completions that answer it. In a row of the pack stand whole groups one after another:
``prompt | completion 1 | completion 2 | ...``; every completion sees its prompt and itself, and its positions go on
from the prompt's end, so each scores exactly as if it stood alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch

ROW_TOKENS = 256  # rows are filled up to this many tokens: longer rows waste attention, shorter ones waste padding


@dataclass(frozen=True, slots=True)
class Group:
    """One prompt and the completions behind it, as token ids."""

    prompt: Sequence[int]
    completions: Sequence[Sequence[int]]

    def __len__(self) -> int:
        return len(self.prompt) + sum(map(len, self.completions))


@dataclass(frozen=True)
class Packed:
    """Groups as tensors: R rows of L tokens, N completions of at most T tokens, M = all completion tokens."""

    input_ids: torch.Tensor  # (R, L) int64
    position_ids: torch.Tensor  # (R, L) int64
    mask: torch.Tensor  # (R, 1, L, L) bool, True where a query (row) may see a key (column)
    rows: torch.Tensor  # (M,) row of the position that predicts each completion token
    columns: torch.Tensor  # (M,) its column: the token before, or the prompt's last
    targets: torch.Tensor  # (M,) the completion tokens themselves
    completion: torch.Tensor  # (M,) which completion each belongs to, in the order the groups were given
    offset: torch.Tensor  # (M,) its place in that completion
    completion_mask: torch.Tensor  # (N, T) float32, 1 where a completion has a token

    def to(self, device: torch.device) -> Packed:
        """The same pack on another device."""
        return Packed(*(getattr(self, field.name).to(device) for field in fields(self)))

    def spread(self, values: torch.Tensor) -> torch.Tensor:
        """(M,) values of completion tokens as (N, T), zero where there is no token."""
        return values.new_zeros(self.completion_mask.shape).index_put((self.completion, self.offset), values)


def pack(groups: Sequence[Group], pad_id: int, row_tokens: int = ROW_TOKENS) -> Packed:
    """Pack ``groups`` first-fit by falling length. Prompts and completions must not be empty (ValueError)."""
    if not groups or any(not g.prompt or not g.completions or not all(map(len, g.completions)) for g in groups):
        raise ValueError("every group needs a prompt and non-empty completions")
    rows = _rows(groups, row_tokens)
    length = max(sum(len(groups[i]) for i in row) for row in rows)
    first = [0]
    for group in groups:
        first.append(first[-1] + len(group.completions))
    input_ids = torch.full((len(rows), length), pad_id)
    position_ids = torch.zeros((len(rows), length), dtype=torch.long)
    segment = torch.full((len(rows), length), -1)  # which prompt or completion a token is of
    seen = torch.full((len(rows), length), -2)  # the prompt segment it may look back to
    where: list[tuple[int, int, int, int, int]] = []
    for r, row in enumerate(rows):
        column = part = 0
        for i in row:
            prompt, prompt_part = groups[i].prompt, part
            _place(input_ids, position_ids, segment, r, column, prompt, 0, part)
            last, column, part = column + len(prompt) - 1, column + len(prompt), part + 1
            for c, completion in enumerate(groups[i].completions):
                _place(input_ids, position_ids, segment, r, column, completion, len(prompt), part)
                seen[r, column : column + len(completion)] = prompt_part
                where.extend(
                    (r, last if t == 0 else column + t - 1, token, first[i] + c, t)
                    for t, token in enumerate(completion)
                )
                column, part = column + len(completion), part + 1
    order = torch.arange(length)
    same = segment[:, :, None] == segment[:, None, :]
    visible = (same | (seen[:, :, None] == segment[:, None, :])) & (order[:, None] >= order[None, :])
    index = torch.tensor(sorted(where, key=lambda w: w[3:]))
    completion_mask = torch.zeros(first[-1], int(index[:, 4].max()) + 1)
    completion_mask[index[:, 3], index[:, 4]] = 1.0
    parts = [input_ids, position_ids, visible[:, None], *index.unbind(1), completion_mask]
    return Packed(*parts)


def _place(input_ids, position_ids, segment, row: int, column: int, tokens: Sequence[int], position: int, part: int):
    span = slice(column, column + len(tokens))
    input_ids[row, span] = torch.as_tensor(tokens)
    position_ids[row, span] = torch.arange(position, position + len(tokens))
    segment[row, span] = part


def _rows(groups: Sequence[Group], row_tokens: int) -> list[list[int]]:
    capacity = max(row_tokens, max(map(len, groups)))
    rows: list[list[int]] = []
    room: list[int] = []
    for i in sorted(range(len(groups)), key=lambda i: (-len(groups[i]), i)):
        fits = next((r for r, left in enumerate(room) if left >= len(groups[i])), None)
        if fits is None:
            rows.append([])
            room.append(capacity)
            fits = len(rows) - 1
        rows[fits].append(i)
        room[fits] -= len(groups[i])
    return rows
