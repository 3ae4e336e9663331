"""The decoder stack on flat tokens: what transformers computes, without padding and without keeping what is not needed.

Llama's layer and those that differ from it by a bias or by normalised queries and keys: see FAMILIES. It reads the
weights and adapters of the model that transformers and PEFT opened; it holds none of its own, but norms in the dtype of
its activations. How tokens attend to each other is the caller's: one stack serves packed training, prefill and
decoding. transformers' own forward pass is what the tests hold it against, and what other architectures run on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from polychrome.engine.kernels import Projection, project, rms_norm, rotate, swiglu
from polychrome.engine.native import products

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")  # config.model_type

QKV, OUT, GATE_UP, DOWN = range(4)  # the parts of a layer: projections of one input
TRUNK = -1  # in place of a layer's number: the output of all layers below the adapters

Attend = Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor, float], torch.Tensor]
"""(layer, queries (T, heads, d), keys (T, kv heads, d), values (T, kv heads, d), scale) -> (T, heads * d)"""


def bare(model: Any) -> Any:
    """The transformers model inside ``model``, which may be PEFT's."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def has_stack(model: Any) -> bool:
    """Whether :class:`Stack` computes ``model``: a family it knows, without sliding windows or unusual parts."""
    config = bare(model).config
    return (
        config.model_type in FAMILIES
        and config.hidden_act == "silu"
        and not getattr(config, "attention_dropout", 0.0)
        and set(getattr(config, "layer_types", None) or ["full_attention"]) == {"full_attention"}
        and (getattr(config, "sliding_window", None) is None or getattr(config, "use_sliding_window", True) is False)
        and config.rope_parameters.get("rope_type") not in ("dynamic", "longrope")  # these depend on the whole batch
    )


def stack_of(model: Any) -> Stack | None:
    """The stack of ``model``, None where there is none."""
    return Stack(model) if has_stack(model) else None


class Stack:
    """A view of ``model`` as it is now: its active adapters are looked up once, when the view is made."""

    def __init__(self, model: Any):
        decoder = bare(model).get_decoder()
        self.embed, self.rotary = decoder.embed_tokens, decoder.rotary_emb
        self.hidden_size: int = bare(model).config.hidden_size
        self.layers = [_Layer(layer) for layer in decoder.layers]
        self.dtype = _activation_dtype(model, self.layers)
        for layer in self.layers:
            layer.keep_norms(self.dtype)
        self.norm = decoder.norm.weight.to(self.dtype), decoder.norm.variance_epsilon
        self.trunk_depth = next((i for i, layer in enumerate(self.layers) if layer.adapted), 0)

    def __call__(
        self,
        ids: torch.Tensor,
        positions: torch.Tensor,
        attend: Attend,
        trunk: torch.Tensor | None = None,
        *,
        recording: Any = None,
        replay: Any = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Final hidden states (T, hidden) of tokens ``ids`` (T,) at ``positions`` (T,), and the trunk's output.

        The trunk is the layers below the first adapter, the same for every adapter: given as ``trunk`` (T, hidden), it
        is not computed again. None where there is none. ``recording`` is given every projection's output, ``replay``
        gives those of the adapted layers; see :mod:`polychrome.engine.recording`.
        """
        depth = 0 if trunk is None else self.trunk_depth
        x = self.embed(ids).to(self.dtype) if trunk is None else trunk
        cos, sin = (part[0].chunk(2, dim=-1)[0][:, None].contiguous() for part in self.rotary(x, positions[None]))
        for i, layer in enumerate(self.layers[depth:], start=depth):
            if i == self.trunk_depth > 0:
                trunk = x
                if recording is not None:
                    recording.write(TRUNK, 0, [trunk])
            x = layer(i, x, cos, sin, attend, recording, replay if i >= self.trunk_depth else None)
        return rms_norm(x, *self.norm), trunk


class _Layer:
    """One decoder layer."""

    def __init__(self, layer: nn.Module):
        attention, mlp = layer.self_attn, layer.mlp
        self.dimension, self.scale = attention.head_dim, attention.scaling
        self.norms = _norms(layer.input_layernorm, layer.post_attention_layernorm)
        self.head_norms = _norms(*(getattr(attention, f"{part}_norm", None) for part in "qk"))
        parts = [  # QKV, OUT, GATE_UP, DOWN
            [attention.q_proj, attention.k_proj, attention.v_proj],
            [attention.o_proj],
            [mlp.gate_proj, mlp.up_proj],
            [mlp.down_proj],
        ]
        self.parts = [[_projection(module) for module in modules] for modules in parts]
        # By the modules, not by what is active: the trunk is the same for policy, reference and merged weights.
        self.adapted = any(hasattr(module, "lora_A") for modules in parts for module in modules)

    def keep_norms(self, dtype: torch.dtype) -> None:
        """Have the norms' weights in ``dtype``."""
        self.norms, self.head_norms = ([(w.to(dtype), eps) for w, eps in n] for n in (self.norms, self.head_norms))

    @property
    def by_hand(self) -> bool:
        """Whether every projection is a plain matrix, whose gradients are made by hand."""
        return all(p.weight is not None for part in self.parts for p in part)

    @property
    def widths(self) -> list[list[int]]:
        """Features that each projection gives, by part."""
        return [[p.linear.out_features for p in part] for part in self.parts]

    def __call__(
        self,
        i: int,
        x: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        attend: Attend,
        recording: Any,
        replay: Any,
    ) -> torch.Tensor:
        def projected(part: int, y: torch.Tensor) -> list[torch.Tensor]:
            outputs = project(y, self.parts[part], None if replay is None else replay.read(i, part))
            if recording is not None:
                recording.write(i, part, outputs)
            return outputs

        q, k, v = (y.view(len(x), -1, self.dimension) for y in projected(QKV, rms_norm(x, *self.norms[0])))
        if self.head_norms:
            q, k = (rms_norm(y, *norm) for y, norm in zip((q, k), self.head_norms, strict=True))
        attended = attend(i, rotate(q, cos, sin), rotate(k, cos, sin), v, self.scale)
        x = projected(OUT, attended)[0].add_(x)
        gate, up = projected(GATE_UP, rms_norm(x, *self.norms[1]))
        return projected(DOWN, swiglu(gate, up))[0].add_(x)


def _norms(*modules: Any) -> list[tuple[torch.Tensor, float]]:
    return [(module.weight, module.variance_epsilon) for module in modules if module is not None]


def _activation_dtype(model: Any, layers: list[_Layer]) -> torch.dtype:
    """That of the weights; float32 where only what is multiplied is coarser (:mod:`.native.products`)."""
    head = bare(model).get_output_embeddings()
    weights = [p.weight for layer in layers for part in layer.parts for p in part]
    plain = type(head) is nn.Linear and all(weight is not None for weight in weights)
    return torch.float32 if plain and products.usable(head.weight, *weights) else bare(model).dtype


def _projection(module: Any) -> Projection:
    """What ``module``, a linear layer with PEFT's adapters or without, computes now."""
    base = module.get_base_layer() if hasattr(module, "get_base_layer") else module
    # Prepacked layers have a forward of their own, 4-bit ones no plain matrix.
    plain = type(base) is nn.Linear and "forward" not in base.__dict__
    frozen = (base, base.weight if plain else None, base.bias)
    names = [] if base is module or module._disable_adapters else module.active_adapters
    if not names:
        return Projection(*frozen)
    (name,) = names
    dropout = module.lora_dropout[name]
    return Projection(
        *frozen, module.lora_A[name].weight, module.lora_B[name].weight, module.scaling[name],
        dropout.p if isinstance(dropout, nn.Dropout) and dropout.training else 0.0,
    )  # fmt: skip
