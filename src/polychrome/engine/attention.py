"""How tokens attend to each other in a pack and while decoding: what :class:`~polychrome.engine.stack.Stack` asks for.

Where several query heads share a key head (grouped-query attention, arXiv 2305.13245), they are laid side by side as
more queries of that head, so that keys and values are never repeated.
"""

from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from polychrome.engine.backend import Backend
from polychrome.engine.packing import Packed
from polychrome.engine.slab import Slab


class PackedAttention:
    """Prompts attend to themselves, completions to their prompt and themselves; no key is made twice."""

    def __init__(self, packed: Packed, dtype: torch.dtype, backend: Backend):
        self.packed, self.dtype, self.backend = packed, dtype, backend
        self.biases: dict[int, tuple[Tensor, Tensor]] = {}  # by query heads a key head

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """(T, heads, d) queries, (T, kv heads, d) keys and values -> (T, heads * d)."""
        return self.backend.attention(self, q, k, v, scale)

    @cached_property
    def longest_span(self) -> int:
        """Tokens of the longest span."""
        return int(self.packed.span_starts.diff().max())

    def of_rectangles(self, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """The same by PyTorch's operators, which want rectangles: one of prompts and one of completions."""
        share, packed = q.shape[1] // k.shape[1], self.packed
        if share not in self.biases:
            self.biases[share] = self._biases(share)
        of_prompts, of_completions = self.biases[share]
        parts = [_rectangle(q, k, v, packed.prompts, packed.prompts, of_prompts, scale)]
        if packed.completions.numel():
            parts.append(_rectangle(q, k, v, packed.completions, self.keys, of_completions, scale))
        return torch.cat(parts).index_select(0, self.back)

    @cached_property
    def back(self) -> Tensor:
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
    def keys(self) -> Tensor:
        """(N, Lp + Lc - 1) tokens that each completion's may see."""
        return torch.cat([self.packed.prompts[self.packed.owner], self.packed.completions], dim=1)

    def _biases(self, share: int) -> tuple[Tensor, Tensor]:
        """0 where a query sees a key, else -inf; c = Lc - 1: (1, 1, share * Lp, Lp) and (N, 1, share * c, Lp + c)."""
        packed, device = self.packed, self.back.device
        p, c = packed.prompts.shape[1], packed.completions.shape[1]
        causal = torch.ones(p, p, dtype=torch.bool, device=device).tril()
        of_prompt = packed.is_prompt[packed.owner]  # (N, Lp)
        own = torch.ones(c, c, dtype=torch.bool, device=device).tril().expand(len(packed.owner), c, c)
        both = torch.cat([of_prompt[:, None].expand(-1, c, -1), own], dim=-1)
        alone, behind = (_bias(seen, self.dtype).repeat(1, share, 1)[:, None] for seen in (causal[None], both))
        return alone, behind


def _bias(visible: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill_(~visible, -torch.inf)


def _rectangle(q: Tensor, k: Tensor, v: Tensor, queries: Tensor, keys: Tensor, bias: Tensor, scale: float) -> Tensor:
    """Attention of tokens ``queries`` (B, Q) over tokens ``keys`` (B, K): (B * Q, heads * d)."""
    rows, length = queries.shape
    heads, d = k.shape[1], k.shape[2]

    def gathered(x: Tensor) -> Tensor:
        return x.index_select(0, keys.flatten()).view(rows, keys.shape[1], heads, d).transpose(1, 2)

    shared = q.index_select(0, queries.flatten()).view(rows, length, heads, -1, d)
    shared = shared.permute(0, 2, 3, 1, 4).reshape(rows, heads, -1, d)
    out = scaled_dot_product_attention(shared, gathered(k), gathered(v), attn_mask=bias, scale=scale)
    return out.view(rows, heads, -1, length, d).permute(0, 3, 1, 2, 4).reshape(rows * length, -1)


class PrefillAttention(PackedAttention):
    """As packed, and every layer's keys and values are handed to a slab for the rows that wait for them."""

    def __init__(self, packed: Packed, dtype: torch.dtype, backend: Backend, slab: Slab, spread: Tensor):
        super().__init__(packed, dtype, backend)
        lengths, width = packed.prompt_lengths[spread], packed.prompts.shape[1]
        column = torch.arange(width, device=spread.device) - (width - lengths[:, None])  # padded on the left
        self.slab, self.tokens = slab, packed.prompts[spread].gather(1, column.clamp(min=0))  # (rows, Lp)

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """As :class:`PackedAttention`."""
        shape = (*self.tokens.shape, *k.shape[1:])
        keys, values = (x.index_select(0, self.tokens.flatten()).view(shape).transpose(1, 2) for x in (k, v))
        self.slab.layers[layer].place(keys, values)
        return super().__call__(layer, q, k, v, scale)


class SlabAttention:
    """The newest token of every row attends to what the slab holds of that row."""

    def __init__(self, slab: Slab, dtype: torch.dtype):
        self.slab, self.bias = slab, _bias(slab.mask(), dtype)

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """(n, heads, d) queries, (n, kv heads, d) keys and values of the newest tokens -> (n, heads * d)."""
        keys, values = self.slab.layers[layer].update(k[:, :, None], v[:, :, None])
        shared = q.view(len(q), k.shape[1], -1, q.shape[-1])
        out = scaled_dot_product_attention(shared, keys, values, attn_mask=self.bias, scale=scale)
        return out.reshape(len(q), -1)
