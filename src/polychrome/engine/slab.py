"""The key-value cache of the rows being decoded: one block of memory a layer, written in place.

transformers' DynamicCache copies all it holds at every token and whenever a row leaves. Here a token writes one
column, a row that ends is filled by the last one, and new rows join those that are under way.
"""

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin


class Slab(Cache):
    """Keys and values of at most ``rows`` rows and ``columns`` columns.

    All rows end at the same column; row r begins at column ``starts[r]``, and what stands before is another's leavings,
    which :meth:`mask` hides. ``columns`` must exceed the longest row that will be held.

    Rows that were admitted as a group hold the same prompt, each of them whole; who reads many may read the prompt of
    their leader, ``leaders[r]``, instead of row r's: the first ``admitted[r]`` tokens are the same bits in the same
    columns.
    """

    def __init__(self, layers: int, rows: int, columns: int, device: torch.device):
        self.rows, self.columns = rows, columns
        self.starts = torch.zeros(0, dtype=torch.long, device=device)
        self.admitted = self.leaders = self.groups = self.starts  # (n,) each
        self.used = self.groups_seen = 0
        super().__init__(layers=[_Block(self) for _ in range(layers)])

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def lengths(self) -> Tensor:
        """Tokens each row holds, (n,)."""
        return self.used - self.starts

    def mask(self) -> Tensor:
        """(n, 1, 1, used) bool, True where a row's newest token may look."""
        columns = torch.arange(self.used, device=self.starts.device)
        return (columns >= self.starts[:, None])[:, None, None, :]

    def admit(self, lengths: Tensor, groups: Tensor) -> None:
        """Add rows that hold ``lengths`` (r,) tokens each; every layer's block is then to be given them by `place`.

        None may be longer than the longest row held, unless none is held. Rows of the same number in ``groups`` (r,)
        will be given the same tokens.
        """
        width, n = int(lengths.max()), len(self)
        if n == 0:
            self.used = width
        if width > self.used or n + len(lengths) > self.rows:
            raise ValueError(f"{len(lengths)} rows of {width} columns do not fit beside {n} of {self.used}")
        self.starts = torch.cat([self.starts, self.used - lengths])
        self.admitted = torch.cat([self.admitted, lengths])
        self.groups = torch.cat([self.groups, self.groups_seen + groups])
        self.groups_seen += int(groups.max()) + 1
        self._lead()

    def advance(self) -> None:
        """Open the column that the next forward pass writes, moving all rows to the left when there is none."""
        if self.used == self.columns:
            shift = int(self.starts.min())
            for block in self.layers:
                block.shift(shift)
            self.used -= shift
            self.starts = self.starts - shift
        self.used += 1

    def drop(self, gone: Tensor) -> Tensor:
        """Let the rows go that ``gone`` (n,) marks. Returns (kept,): the old index of each row that is left."""
        kept = int((~gone).sum())
        order = torch.arange(kept, device=gone.device)
        holes = gone[:kept].nonzero().squeeze(-1)
        order[holes] = kept + (~gone[kept:]).nonzero().squeeze(-1)  # the last rows move into the holes
        moves = list(zip(order[holes].tolist(), holes.tolist(), strict=True))
        for block in self.layers:
            for source, target in moves:  # few: one by one is faster than by lists of indices
                block.move(source, target)
        self.starts, self.admitted, self.groups = self.starts[order], self.admitted[order], self.groups[order]
        self._lead()
        return order

    def _lead(self) -> None:
        """The first row of every group leads it."""
        groups, own = self.groups.unique(return_inverse=True)
        rows = torch.arange(len(own), device=own.device)
        self.leaders = torch.full_like(groups, len(own)).scatter_reduce(0, own, rows, "amin")[own]


class _Block(CacheLayerMixin):
    """One layer of a slab: keys and values (rows, heads, columns, head size)."""

    is_sliding = False

    def __init__(self, slab: Slab):
        super().__init__()
        self.slab = slab

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        # Zeros: what is masked takes no part in attention, but a NaN that happens to lie there would.
        shape = self.slab.rows, key_states.shape[1], self.slab.columns, key_states.shape[3]
        self.keys, self.values = key_states.new_zeros(shape), value_states.new_zeros(shape)
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any):
        n, used = len(self.slab), self.slab.used
        self.keys[:n, :, used - 1 : used] = key_states
        self.values[:n, :, used - 1 : used] = value_states
        return self.keys[:n, :, :used], self.values[:n, :, :used]

    def place(self, keys: Tensor, values: Tensor) -> None:
        """Give the newest rows their tokens: (r, heads, columns, head size), padded on the left."""
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
        rows = slice(len(self.slab) - len(keys), len(self.slab))
        columns = slice(self.slab.used - keys.shape[2], self.slab.used)
        self.keys[rows, :, columns] = keys
        self.values[rows, :, columns] = values

    def move(self, source: int, target: int) -> None:
        for tensor in (self.keys, self.values):
            tensor[target, :, : self.slab.used] = tensor[source, :, : self.slab.used]

    def shift(self, columns: int) -> None:
        n, used = len(self.slab), self.slab.used
        for tensor in (self.keys, self.values):
            tensor[:n, :, : used - columns] = tensor[:n, :, columns:used].clone()

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.slab.used, 0

    def get_seq_length(self) -> int:
        return self.slab.used

    def get_max_length(self) -> int:
        return self.slab.columns
