"""The least time that a GRPO step can take on this machine: counted arithmetic and bytes over measured rates.

Let the decoder layers have ``body`` weights in their linear layers and the head ``head`` = vocabulary x hidden; let
``lora`` be rank x (inputs + outputs) summed over the adapted layers. A multiplication and an addition are 2 FLOPs. For
P prompts of L_p tokens of which the first S are the same in all, G completions of T tokens each, R = P G:

    Q = S + sum_p (L_p - S)          tokens of prompts: what all begin with once, each prompt's own once
    N = Q + R (T - 1)                tokens that must be read to score: a last token predicts nothing
    M = R T                          positions at which the head is needed

    prefill    max( (Q 2 body + P 2 head) / rate,           b (body + head) / bandwidth )
    decoding   (T - 1) x max( R 2 (body + head) / rate,     b (body + head) / bandwidth )
    reference  (N 2 body + M 2 head) / rate                                  once, forward only
    training   (N 2 body + M 2 head + N (2 + 2) lora) / rate

b is the bytes of a weight. Decoding and reference use merged weights. Training goes backward only: the policy's forward
pass over its own samples has been computed while they were drawn. It goes to the inputs alone, since the base is
frozen; its adapters go back to their inputs and to their own weights. Attention scores, norms, softmax, sampling,
rewards and the optimiser are left out, so the true least time is a little longer.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from types import SimpleNamespace
from typing import Any

import torch

from polychrome.engine.backend import Projection
from polychrome.engine.compute import chosen

SHAPES = ((1024, 1024, 1024), (2048, 2048, 2048), (1152, 576, 1536), (1152, 1536, 576))  # (m, k, n)
READ_ELEMENTS = 2**28  # float32: 1 GiB, more than any cache holds
FLOAT = 4  # bytes of a float32


@dataclass(frozen=True)
class Rates:
    """What the machine does at best, measured."""

    flops: float  # multiplications and additions a second, in matrix products of the dtype
    bandwidth: float  # bytes read from memory a second
    weight: int = FLOAT  # bytes of a weight in the dtype

    def best(self, other: "Rates") -> "Rates":
        """The better of two measurements, each by itself."""
        return Rates(max(self.flops, other.flops), max(self.bandwidth, other.bandwidth), self.weight)


@dataclass(frozen=True)
class Shape:
    """Weights by their use."""

    body: int  # in the linear layers of the decoder
    head: int
    lora: int  # in the adapters of all linear layers

    @classmethod
    def of(cls, config: Any, rank: int) -> "Shape":
        """Of a Llama-like configuration with adapters of ``rank`` on every linear layer."""
        hidden, size = config.hidden_size, getattr(config, "head_dim", None)
        size = size or hidden // config.num_attention_heads
        queries, keys = config.num_attention_heads * size, config.num_key_value_heads * size
        linear = [(hidden, queries), (hidden, keys), (hidden, keys), (queries, hidden)]
        linear += [(hidden, config.intermediate_size)] * 2 + [(config.intermediate_size, hidden)]
        layers = config.num_hidden_layers
        return cls(
            body=layers * sum(inputs * outputs for inputs, outputs in linear),
            head=config.vocab_size * hidden,
            lora=layers * sum(rank * (inputs + outputs) for inputs, outputs in linear),
        )


@dataclass(frozen=True)
class Parts:
    """Seconds of the parts of a step."""

    prefill: float
    decoding: float
    reference: float
    training: float

    @property
    def total(self) -> float:
        """Seconds of the step."""
        return sum(asdict(self).values())


def grpo_step(shape: Shape, rates: Rates, prompts: Sequence[int], group: int, tokens: int, shared: int = 0) -> Parts:
    """The least time of a step on prompts of so many tokens each, of which the first ``shared`` are the same in all.

    The formula stands at the top of this module.
    """
    completions = len(prompts) * group
    of_prompts = shared + sum(length - shared for length in prompts)
    read = of_prompts + completions * (tokens - 1)
    scored = completions * tokens
    weights = rates.weight * (shape.body + shape.head) / rates.bandwidth
    prefill = (2 * shape.body * of_prompts + 2 * shape.head * len(prompts)) / rates.flops
    decode = 2 * completions * (shape.body + shape.head) / rates.flops
    forward = 2 * (read * shape.body + scored * shape.head)
    return Parts(
        prefill=max(prefill, weights),
        decoding=(tokens - 1) * max(decode, weights),
        reference=forward / rates.flops,
        training=(forward + 4 * read * shape.lora) / rates.flops,
    )


def measure(
    dtype: torch.dtype = torch.float32,
    shapes: Sequence[tuple[int, int, int]] = SHAPES,
    elements: int = READ_ELEMENTS,
    times: int = 10,
) -> Rates:
    """The best rates seen, at PyTorch's present number of threads: of its products and of ours, if there are such."""
    flops = max(_matmul(*shape, dtype, times) for shape in shapes)
    return Rates(flops, _read(elements, times), dtype.itemsize)


def _matmul(m: int, k: int, n: int, dtype: torch.dtype, times: int) -> float:
    a, b, out = torch.randn(m, k).to(dtype), torch.randn(k, n).to(dtype), torch.empty(m, n, dtype=dtype)
    least = _least(lambda: torch.mm(a, b, out=out), times)
    weight = b.t().contiguous()
    if dtype != torch.float32 and chosen().activation_dtype(dtype, [weight]) == torch.float32:
        x, linear = a.float(), [Projection(SimpleNamespace(out_features=n), weight, None)]
        least = min(least, _least(lambda: chosen().project(x, linear), times))
    return 2 * m * k * n / least


def _read(elements: int, times: int) -> float:
    values = torch.ones(elements)
    return FLOAT * elements / _least(values.sum, times)


def _least(work: Callable[[], Any], times: int) -> float:
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
