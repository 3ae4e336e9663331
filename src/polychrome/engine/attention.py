"""How tokens attend to each other in a pack and while decoding: what :class:`~polychrome.engine.stack.Stack` asks for.

Where several query heads share a key head (grouped-query attention, arXiv 2305.13245), they are laid side by side as
more queries of that head, so that keys and values are never repeated.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch.nn.functional import scaled_dot_product_attention

from polychrome.engine.native import activations
from polychrome.engine.native import attention as native
from polychrome.engine.packing import Packed
from polychrome.engine.slab import Slab


class PackedAttention:
    """Prompts attend to themselves, completions to their prompt and themselves; no key is made twice."""

    def __init__(self, packed: Packed, dtype: torch.dtype):
        self.packed, self.dtype = packed, dtype
        self.biases: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # by query heads a key head
        self.spans = (packed.span_tokens, packed.span_starts, packed.span_queries)

    @cached_property
    def back(self) -> torch.Tensor:
        """(T,) where each token's output stands in the two rectangles, laid end to end."""
        packed = self.packed
        # A token of the prefix stands in every prompt, with the same output: the first is taken, by a reduction, for a
        # plain write would leave it to chance.
        tokens = torch.cat([packed.prompts.flatten(), packed.completions.flatten()])
        real = torch.cat([packed.is_prompt.flatten(), packed.is_completion.flatten()])
        places = real.nonzero().squeeze(-1)
        none = torch.full_like(packed.input_ids, len(tokens))
        return none.scatter_reduce(0, tokens[places], places, "amin")

    @cached_property
    def keys(self) -> torch.Tensor:
        """(N, Lp + Lc - 1) tokens that each completion's may see."""
        return torch.cat([self.packed.prompts[self.packed.owner], self.packed.completions], dim=1)

    def __call__(self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float) -> torch.Tensor:
        """(T, heads, d) queries, (T, kv heads, d) keys and values -> (T, heads * d)."""
        if activations.usable(q, k, v):
            return native.attention(q, k, v, self.spans, scale)
        return self._of_rectangles(q, k, v, scale)

    def _of_rectangles(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float) -> torch.Tensor:
        share = q.shape[1] // k.shape[1]
        if share not in self.biases:
            self.biases[share] = self._biases(share)
        of_prompts, of_completions = self.biases[share]
        packed = self.packed
        parts = [_rectangle(q, k, v, packed.prompts, packed.prompts, of_prompts, scale)]
        if packed.completions.numel():
            parts.append(_rectangle(q, k, v, packed.completions, self.keys, of_completions, scale))
        return torch.cat(parts).index_select(0, self.back)

    def _biases(self, share: int) -> tuple[torch.Tensor, torch.Tensor]:
        """0 where a query sees a key, else -inf; c = Lc - 1: (1, 1, share * Lp, Lp) and (N, 1, share * c, Lp + c)."""
        packed, device = self.packed, self.back.device
        p, c = packed.prompts.shape[1], packed.completions.shape[1]
        causal = torch.ones(p, p, dtype=torch.bool, device=device).tril()
        of_prompt = packed.is_prompt[packed.owner]  # (N, Lp)
        own = torch.ones(c, c, dtype=torch.bool, device=device).tril().expand(len(packed.owner), c, c)
        both = torch.cat([of_prompt[:, None].expand(-1, c, -1), own], dim=-1)
        return self._bias(causal[None], share), self._bias(both, share)

    def _bias(self, visible: torch.Tensor, share: int) -> torch.Tensor:
        bias = torch.zeros(visible.shape, dtype=self.dtype, device=visible.device).masked_fill_(~visible, -torch.inf)
        return bias.repeat(1, share, 1)[:, None]


def _rectangle(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    queries: torch.Tensor,
    keys: torch.Tensor,
    bias: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    """Attention of tokens ``queries`` (B, Q) over tokens ``keys`` (B, K): (B * Q, heads * d)."""
    rows, length = queries.shape
    heads, d = k.shape[1], k.shape[2]

    def gathered(x: torch.Tensor) -> torch.Tensor:
        return x.index_select(0, keys.flatten()).view(rows, keys.shape[1], heads, d).transpose(1, 2)

    shared = q.index_select(0, queries.flatten()).view(rows, length, heads, -1, d)
    shared = shared.permute(0, 2, 3, 1, 4).reshape(rows, heads, -1, d)
    out = scaled_dot_product_attention(shared, gathered(k), gathered(v), attn_mask=bias, scale=scale)
    return out.view(rows, heads, -1, length, d).permute(0, 3, 1, 2, 4).reshape(rows * length, -1)


class PrefillAttention(PackedAttention):
    """As packed, and every layer's keys and values are handed to a slab for the rows that wait for them."""

    def __init__(self, packed: Packed, dtype: torch.dtype, slab: Slab, spread: torch.Tensor):
        super().__init__(packed, dtype)
        lengths, width = packed.prompt_lengths[spread], packed.prompts.shape[1]
        column = torch.arange(width, device=spread.device) - (width - lengths[:, None])  # padded on the left
        self.slab, self.tokens = slab, packed.prompts[spread].gather(1, column.clamp(min=0))  # (rows, Lp)

    def __call__(self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float) -> torch.Tensor:
        """As :class:`PackedAttention`."""
        shape = (*self.tokens.shape, *k.shape[1:])
        keys, values = (x.index_select(0, self.tokens.flatten()).view(shape).transpose(1, 2) for x in (k, v))
        self.slab.layers[layer].place(keys, values)
        return super().__call__(layer, q, k, v, scale)


class SlabAttention:
    """The newest token of every row attends to what the slab holds of that row."""

    def __init__(self, slab: Slab, dtype: torch.dtype):
        self.slab = slab
        hidden = ~slab.mask()
        self.bias = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(hidden, -torch.inf)

    def __call__(self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float) -> torch.Tensor:
        """(n, heads, d) queries, (n, kv heads, d) keys and values of the newest tokens -> (n, heads * d)."""
        keys, values = self.slab.layers[layer].update(k[:, :, None], v[:, :, None])
        shared = q.view(len(q), k.shape[1], -1, q.shape[-1])
        out = scaled_dot_product_attention(shared, keys, values, attn_mask=self.bias, scale=scale)
        return out.reshape(len(q), -1)
