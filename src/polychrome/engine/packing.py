"""Groups of completions packed behind their prompts: every token that predicts another once, none of them padding.

A group is one prompt and the completions that answer it. A pack begins with what all its prompts begin with, such as
the system message; then stand the groups one after another::

    prefix | rest of prompt 1 | its completions | rest of prompt 2 | its completions | ...

Every completion sees its prompt and itself, and its positions go on from the prompt's end, so each scores exactly as if
it stood alone. The last token of a completion predicts none and is left out. Only attention, a small part of the
arithmetic, looks at the tokens as rectangles, one of prompts and one of completions: there every prompt is whole, and
several places of the rectangle are one token of the prefix.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import accumulate, takewhile

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


@dataclass(frozen=True, slots=True)
class Group:
    """One prompt and the completions behind it, as token ids."""

    prompt: Sequence[int]
    completions: Sequence[Sequence[int]]

    def __len__(self) -> int:
        return len(self.prompt) + sum(map(len, self.completions))


@dataclass(frozen=True)
class Packed:
    """Groups as tensors: T tokens, P prompts of at most Lp, N completions of at most Lc, M = all completion tokens.

    T counts the prefix that the prompts share once, the rest of each prompt, and completions without their last tokens.
    """

    input_ids: Tensor  # (T,) int64
    position_ids: Tensor  # (T,) int64
    prompts: Tensor  # (P, Lp) where each whole prompt's tokens stand among the T, padded on the right with 0
    prompt_lengths: Tensor  # (P,)
    completions: Tensor  # (N, Lc - 1) likewise for completions, in the order the groups were given
    completion_lengths: Tensor  # (N,) with the last tokens
    completion_mask: Tensor  # (N, Lc) float32, 1 where a completion has a token
    owner: Tensor  # (N,) the prompt of each completion
    predictors: Tensor  # (M,) where the token stands that predicts each: the one before, or the prompt's last
    targets: Tensor  # (M,) the completion tokens themselves
    completion: Tensor  # (M,) which completion each belongs to
    offset: Tensor  # (M,) its place in that completion
    # What attends to what, once more, as lists of tokens of which the last so many are queries: the common beginning,
    # each prompt's rest behind it, each completion behind its prompt.
    span_tokens: Tensor  # those of all spans, one after another
    span_starts: Tensor  # (spans + 1,) where each begins among them, and the end
    span_queries: Tensor  # (spans,) queries of each, at least one

    def to(self, device: torch.device) -> "Packed":
        """The same pack on another device."""
        return Packed(*(getattr(self, field.name).to(device) for field in fields(self)))

    def spread(self, values: Tensor) -> Tensor:
        """(M,) values of completion tokens as (N, Lc), zero where there is no token."""
        return values.new_zeros(self.completion_mask.shape).index_put((self.completion, self.offset), values)

    @property
    def is_prompt(self) -> Tensor:
        """(P, Lp) where :attr:`prompts` is no padding."""
        return _below(self.prompt_lengths, self.prompts.shape[1])

    @property
    def is_completion(self) -> Tensor:
        """(N, Lc - 1) where :attr:`completions` is no padding."""
        return _below(self.completion_lengths - 1, self.completions.shape[1])

    def mask(self) -> Tensor:
        """(1, 1, T, T) bool, True where a query (row) may see a key (column), for whoever wants one flat row."""
        prompts = self._members(self.prompts, self.is_prompt)
        own = self._members(self.completions, self.is_completion)
        seen = torch.cat([prompts, prompts[self.owner] | own])  # (P + N, T), by the last token of each
        # Where each token stands. One of the prefix stands in every prompt, and whatever comes before it is prefix.
        of = torch.cat([prompts, own]).int().argmax(0)
        order = torch.arange(len(of), device=of.device)
        return (seen[of] & (order[:, None] >= order[None]))[None, None]

    def _members(self, places: Tensor, real: Tensor) -> Tensor:
        """(rows, T) bool, which tokens ``places`` (rows, length) names in each row, where ``real``."""
        members = torch.zeros(len(places), len(self.input_ids), dtype=torch.bool, device=places.device)
        members[real.nonzero()[:, 0], places[real]] = True
        return members


def _below(lengths: Tensor, width: int) -> Tensor:
    return torch.arange(width, device=lengths.device) < lengths[:, None]


def pack(groups: Sequence[Group]) -> Packed:
    """Pack ``groups``. Prompts and completions must not be empty (ValueError)."""
    if not groups or any(not g.prompt or not g.completions or not all(map(len, g.completions)) for g in groups):
        raise ValueError("every group needs a prompt and non-empty completions")
    return _packed(groups)


def pack_prompts(prompts: Sequence[Sequence[int]]) -> Packed:
    """A pack of prompts alone, as for a prefill. They must not be empty (ValueError)."""
    if not prompts or not all(map(len, prompts)):
        raise ValueError("prompts must be non-empty")
    return _packed([Group(prompt, []) for prompt in prompts])


def _shared(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens all ``prompts`` begin with: all of the only one."""
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*prompts, strict=False)))


def _packed(groups: Sequence[Group]) -> Packed:
    shared = _shared([group.prompt for group in groups])
    prefix = torch.arange(shared)
    ids, positions, spans = list(groups[0].prompt[:shared]), [prefix], [(prefix, shared)]
    targets: list[int] = []
    prompts: list[Tensor] = []
    completions: list[Tensor] = []
    predictors: list[Tensor] = []

    def placed(tokens: Sequence[int], behind: int) -> Tensor:
        """Where ``tokens``, whose positions go on from ``behind``, come to stand."""
        positions.append(torch.arange(behind, behind + len(tokens)))
        ids.extend(tokens)
        return torch.arange(len(ids) - len(tokens), len(ids))

    for group in groups:
        own = placed(group.prompt[shared:], shared)
        prompts.append(torch.cat([prefix, own]))
        spans.append((prompts[-1], len(own)))
        for completion in group.completions:
            own = placed(completion[:-1], len(group.prompt))
            completions.append(own)
            spans.append((torch.cat([prompts[-1], own]), len(own)))
            predictors.append(torch.cat([prompts[-1][-1:], own]))
            targets.extend(completion)
    spans = [(span, queries) for span, queries in spans if queries]
    lengths = torch.tensor([len(span) + 1 for span in completions], dtype=torch.long)
    mask = _below(lengths, int(lengths.max()) if completions else 0)
    completion, offset = mask.nonzero().unbind(1)
    return Packed(
        input_ids=torch.tensor(ids),
        position_ids=torch.cat(positions),
        prompts=pad_sequence(prompts, batch_first=True),
        prompt_lengths=torch.tensor([len(span) for span in prompts]),
        completions=pad_sequence(completions, batch_first=True) if completions else mask.long(),
        completion_lengths=lengths,
        completion_mask=mask.float(),
        owner=torch.arange(len(groups)).repeat_interleave(torch.tensor([len(g.completions) for g in groups])),
        predictors=torch.cat(predictors) if predictors else completion,
        targets=torch.tensor(targets, dtype=torch.long),
        completion=completion,
        offset=offset,
        span_tokens=torch.cat([span for span, _ in spans]),
        span_starts=torch.tensor([0, *accumulate(len(span) for span, _ in spans)]),
        span_queries=torch.tensor([queries for _, queries in spans]),
    )
