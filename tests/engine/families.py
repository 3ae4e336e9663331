"""A tiny model of every family that the stack computes, with biases, norms and adapters that matter."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

from polychrome.models.policy import adapter_tensors, add_adapter, open_base
from tests.tiny import LORA

SIZES = {
    "vocab_size": 97, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "initializer_range": 0.3, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 1,
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8,
}  # fmt: skip
FAMILIES = {
    "llama": LlamaConfig(**SIZES),
    "llama with scaled positions": LlamaConfig(**SIZES, rope_parameters=LLAMA3),
    "llama with biases": LlamaConfig(**SIZES, attention_bias=True),
    "mistral": MistralConfig(**SIZES, sliding_window=None),
    "qwen2": Qwen2Config(**SIZES),
    "qwen3": Qwen3Config(**SIZES, head_dim=8),
}
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def opened(
    config: Any, *, adapted: bool = True, layers: list[int] | None = None, targets: Sequence[str] = TARGETS
) -> Any:
    """A random model of ``config``, with adapters in ``targets`` of ``layers``, by default of all."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(deepcopy(config), attn_implementation="sdpa").eval()  # tests share it
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if "bias" in name or "norm" in name:
                tensor.add_(0.3 * torch.randn_like(tensor))
    if not adapted:
        return model.requires_grad_(False)
    settings = LoraConfig(
        r=3, lora_alpha=6, target_modules=list(targets), init_lora_weights=False, layers_to_transform=layers
    )
    return get_peft_model(model, settings).eval()


def coarse(model: Any) -> Any:
    """``model`` with bfloat16 where it is frozen, as open_base opens it."""
    for name, tensor in model.named_parameters():
        if "lora_" not in name:
            tensor.data = tensor.data.bfloat16()
    return model


def causal(i: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float) -> torch.Tensor:
    """Attention of one sequence, every token to those before it."""
    q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=True)
    return out[0].transpose(0, 1).flatten(1)


def adapted_in(tiny_base: Path, **changed: Any) -> Any:
    """A policy over the tiny base with an adapter that is not at zero."""
    policy = add_adapter(open_base(tiny_base, torch.float32), SimpleNamespace(**vars(LORA) | changed), seed=1)
    with torch.no_grad():
        for i, tensor in enumerate(adapter_tensors(policy).values()):
            tensor.add_(0.2 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(i)))
    return policy
