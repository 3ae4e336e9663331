"""The decoder stack on flat tokens: what transformers computes, without padding and without keeping what is not needed.

Llama's layer and those that differ from it by a bias or by normalised queries and keys: see FAMILIES. It reads the
weights and adapters of the model that transformers and PEFT opened; it holds none of its own, but norms in the dtype of
its activations. How tokens attend to each other is the caller's: one stack serves packed training, prefill and
decoding. transformers' own forward pass is what the tests hold it against, and what other architectures run on.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from polychrome.engine.backend import Backend, Projection

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")  # config.model_type

QKV, OUT, GATE_UP, DOWN = range(4)  # the parts of a layer: projections of one input
TRUNK = -1  # in place of a layer's number: the output of all layers below the adapters

Attend = Callable[[int, Tensor, Tensor, Tensor, float], Tensor]
"""(layer, queries (T, heads, d), keys (T, kv heads, d), values (T, kv heads, d), scale) -> (T, heads * d)"""


def bare(model: Any) -> Any:
    """The transformers model inside ``model``, which may be PEFT's."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def in_shards(model: Any) -> bool:
    """Whether each process holds a part of the layers of ``model``, which only their own forward passes gather."""
    return getattr(bare(model), "in_shards", False)


def has_stack(model: Any) -> bool:
    """Whether :class:`Stack` computes ``model``: a family it knows, whole, without sliding windows or unusual parts."""
    config = bare(model).config
    return (
        config.model_type in FAMILIES
        and not in_shards(model)
        and config.hidden_act == "silu"
        and not getattr(config, "attention_dropout", 0.0)
        and set(getattr(config, "layer_types", None) or ["full_attention"]) == {"full_attention"}
        and (getattr(config, "sliding_window", None) is None or getattr(config, "use_sliding_window", True) is False)
        and config.rope_parameters.get("rope_type") not in ("dynamic", "longrope")  # these depend on the whole batch
    )


def mask_for(model: Any, seen: Tensor) -> Tensor:
    """``seen``, bool, as transformers' attention of ``model`` takes it: "eager" adds it to the scores."""
    if model.config._attn_implementation != "eager":
        return seen
    return torch.zeros(seen.shape, dtype=model.dtype, device=seen.device).masked_fill_(
        ~seen, torch.finfo(model.dtype).min
    )


def head_of(model: Any) -> nn.Module:
    """What makes logits of the last hidden states: the head, and what the model does to what comes out of it."""
    inner = bare(model)
    head, config = inner.get_output_embeddings(), inner.config
    if has_stack(inner):
        return head
    scale = getattr(config, "logit_scale", None) or 1.0  # Cohere's
    scale /= getattr(config, "logits_scaling", None) or 1.0  # Granite's
    cap = getattr(config, "final_logit_softcapping", None)  # Gemma's
    return head if scale == 1.0 and cap is None else _Head(head, scale, cap)


class _Head(nn.Module):
    """A head whose logits z become scale * z, and with a cap c, c tanh(scale * z / c)."""

    def __init__(self, head: nn.Module, scale: float, cap: float | None):
        super().__init__()
        self.head, self.scale, self.cap = head, scale, cap

    def forward(self, states: Tensor) -> Tensor:
        logits = self.head(states) * self.scale
        return logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap


def stack_of(model: Any, backend: Backend) -> "Stack | None":
    """The stack of ``model``, None where there is none."""
    return Stack(model, backend) if has_stack(model) else None


class Stack:
    """A view of ``model`` as it is now: its active adapters are looked up once, when the view is made."""

    def __init__(self, model: Any, backend: Backend):
        inner = bare(model)
        decoder = inner.get_decoder()
        self.backend = backend
        self.embed, self.rotary, self.head = decoder.embed_tokens, decoder.rotary_emb, inner.get_output_embeddings()
        self.hidden_size: int = inner.config.hidden_size
        self.layers = [_Layer(layer, backend) for layer in decoder.layers]
        head = self.head.weight if type(self.head) is nn.Linear else None
        # What is multiplied; None for what is not a plain matrix.
        self.weights = [head, *(p.weight for layer in self.layers for part in layer.parts for p in part)]
        self.dtype = backend.activation_dtype(inner.dtype, self.weights)
        for layer in self.layers:
            layer.keep_norms(self.dtype)
        self.norm = decoder.norm.weight.to(self.dtype), decoder.norm.variance_epsilon
        self.trunk_depth = next((i for i, layer in enumerate(self.layers) if layer.adapted), 0)

    def __call__(
        self,
        ids: Tensor,
        positions: Tensor,
        attend: Attend,
        trunk: Tensor | None = None,
        *,
        recording: Any = None,
        replay: Any = None,
    ) -> tuple[Tensor, Tensor | None]:
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
        return self.backend.rms_norm(x, *self.norm), trunk


class _Layer:
    """One decoder layer."""

    def __init__(self, layer: nn.Module, backend: Backend):
        attention, mlp = layer.self_attn, layer.mlp
        self.backend, self.dimension, self.scale = backend, attention.head_dim, attention.scaling
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
    def widths(self) -> list[list[int]]:
        """Features that each projection gives, by part."""
        return [[p.linear.out_features for p in part] for part in self.parts]

    def __call__(
        self, i: int, x: Tensor, cos: Tensor, sin: Tensor, attend: Attend, recording: Any, replay: Any
    ) -> Tensor:
        def projected(part: int, y: Tensor) -> list[Tensor]:
            outputs = backend.project(y, self.parts[part], None if replay is None else replay.read(i, part))
            if recording is not None:
                recording.write(i, part, outputs)
            return outputs

        backend = self.backend
        q, k, v = (y.view(len(x), -1, self.dimension) for y in projected(QKV, backend.rms_norm(x, *self.norms[0])))
        if self.head_norms:
            q, k = (backend.rms_norm(y, *norm) for y, norm in zip((q, k), self.head_norms, strict=True))
        attended = attend(i, backend.rotate(q, cos, sin), backend.rotate(k, cos, sin), v, self.scale)
        x = projected(OUT, attended)[0].add_(x)
        gate, up = projected(GATE_UP, backend.rms_norm(x, *self.norms[1]))
        return projected(DOWN, backend.swiglu(gate, up))[0].add_(x)


def _norms(*modules: Any) -> list[tuple[Tensor, float]]:
    return [(module.weight, module.variance_epsilon) for module in modules if module is not None]


def _projection(module: Any) -> Projection:
    """What ``module``, a linear layer with PEFT's adapters or without, computes now."""
    base = module.get_base_layer() if hasattr(module, "get_base_layer") else module
    frozen = (base, base.weight if type(base) is nn.Linear else None, base.bias)  # 4-bit layers are no plain matrix
    names = [] if base is module or module._disable_adapters else module.active_adapters
    if not names:
        return Projection(*frozen)
    (name,) = names
    dropout = module.lora_dropout[name]
    return Projection(
        *frozen, module.lora_A[name].weight, module.lora_B[name].weight, module.scaling[name],
        dropout.p if isinstance(dropout, nn.Dropout) and dropout.training else 0.0,
    )  # fmt: skip
