"""A model of the families that the engine knows, as one GGUF file for llama.cpp.

Names and order of tensors, and the rotation of Llama's queries and keys, are those of llama.cpp's own converter; what
this one does not know it refuses, naming that converter.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from polychrome.errors import bad
from polychrome.models.chat import ends_of

ARCHITECTURES = {"llama": "LLAMA", "mistral": "LLAMA", "qwen2": "QWEN2", "qwen3": "QWEN3"}  # of transformers: of GGUF
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5  # kinds of token in GGUF
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPLITS = {_WORDS % "{1,3}": "llama-bpe", _WORDS % "": "qwen2"}  # regular expression: what llama.cpp calls it
_REMEDY = "Export without --gguf, then run llama.cpp's convert_hf_to_gguf.py on the folder."


def write_gguf(model: Any, tokenizer: Any, path: Path, kind: str, name: str) -> None:
    """Write ``model`` (float32) and ``tokenizer`` to ``path``; ``kind`` is F32, F16, BF16 or Q8_0.

    Matrices are of that kind (F16 where a row is no multiple of its block), norms and biases float32. Raises InputError
    for an architecture, rotary scaling or tokenizer that is not known here.
    """
    import gguf
    from tqdm import tqdm

    config = model.config
    if config.model_type not in ARCHITECTURES:
        raise bad("--gguf", config.model_type, f"one of {', '.join(ARCHITECTURES)}", _REMEDY)
    architecture = gguf.MODEL_ARCH[ARCHITECTURES[config.model_type]]
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[architecture])
    writer.add_name(name)
    _add_shape(writer, config)
    writer.add_file_type(gguf.LlamaFileType["ALL_F32" if kind == "F32" else f"MOSTLY_{kind}"])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    _add_tokenizer(writer, tokenizer, config.vocab_size)
    names = gguf.get_tensor_name_map(architecture, config.num_hidden_layers)
    tensors = dict(model.named_parameters())  # a head that is tied to the embeddings is not among them
    for key, tensor in tqdm(tensors.items(), desc="tensors", unit="tensor", delay=3, disable=None):
        values = tensor.detach().float().cpu().numpy()
        called = names.get_name(key, try_suffixes=(".weight", ".bias"))
        if called is None:
            raise bad("--gguf", f"a tensor {key}", "the tensors of the architecture", _REMEDY)
        if architecture == gguf.MODEL_ARCH.LLAMA and ".q_proj." in key:
            values = _rotated(values, config.num_attention_heads)
        elif architecture == gguf.MODEL_ARCH.LLAMA and ".k_proj." in key:
            values = _rotated(values, config.num_key_value_heads)
        to = gguf.GGMLQuantizationType[kind if values.ndim > 1 else "F32"]
        if values.shape[-1] % gguf.GGML_QUANT_SIZES[to][0]:
            to = gguf.GGMLQuantizationType.F16
        writer.add_tensor(called, gguf.quantize(values, to), raw_dtype=to)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_shape(writer: Any, config: Any) -> None:
    rotary = config.rope_parameters
    if rotary.get("rope_type", "default") != "default":
        raise bad("--gguf", f"rotary embeddings of type {rotary['rope_type']}", "the default", _REMEDY)
    if getattr(config, "sliding_window", None):
        raise bad("--gguf", "sliding windows", "full attention", _REMEDY)
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    for key, value in {
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "head_count": config.num_attention_heads,
        "head_count_kv": config.num_key_value_heads,
        "key_length": size,
        "value_length": size,
        "rope_dimension_count": size,
        "rope_freq_base": float(rotary["rope_theta"]),
        "layer_norm_rms_eps": config.rms_norm_eps,
        "vocab_size": config.vocab_size,
    }.items():
        getattr(writer, f"add_{key}")(value)


def _rotated(values: np.ndarray, heads: int) -> np.ndarray:
    """Rows of each head in the order that ggml rotates them in: halves become pairs."""
    return values.reshape(heads, 2, -1, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)


def _add_tokenizer(writer: Any, tokenizer: Any, size: int) -> None:
    about = json.loads(tokenizer.backend_tokenizer.to_str())
    before = split_of(about)
    tokens = [f"[PAD{i}]" for i in range(size)]
    kinds = [UNUSED] * size
    for token, place in about["model"]["vocab"].items():
        tokens[place], kinds[place] = token, NORMAL
    for added in about["added_tokens"]:
        tokens[added["id"]], kinds[added["id"]] = added["content"], CONTROL if added["special"] else USER_DEFINED
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in about["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(before)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    if merges:
        writer.add_token_merges(merges)
    for kind in ("bos", "eos", "pad", "unk"):
        if (place := getattr(tokenizer, f"{kind}_token_id")) is not None:
            getattr(writer, f"add_{kind}_token_id")(place)
    if (own := ends_of(tokenizer)[0]) != tokenizer.eos_token_id:
        writer.add_eot_token_id(own)  # what the template closes a turn with
    writer.add_add_bos_token(False)  # the chat template writes all there is before a reply, as in training
    writer.add_chat_template(tokenizer.chat_template)


def split_of(about: dict[str, Any]) -> str:
    """What llama.cpp calls the way in which a byte-level BPE, read from tokenizer.json, splits text before merging.

    Raises InputError for another kind of tokenizer: llama.cpp would cut texts otherwise than training did.
    """
    before = about["pre_tokenizer"] or {}
    steps = before.get("pretokenizers", [before])
    plain = about["model"]["type"] == "BPE" and (about["normalizer"] or {"type": "NFC"})["type"] == "NFC"
    kinds = [step.get("type") for step in steps]
    if plain and kinds and kinds[-1] == "ByteLevel" and not steps[-1]["add_prefix_space"]:
        by_itself = steps[-1].get("use_regex", True)
        if kinds == ["ByteLevel"] and by_itself:
            return "gpt-2"
        if kinds == ["Digits", "ByteLevel"] and by_itself and steps[0]["individual_digits"]:
            return "smollm"
        regex = steps[0].get("pattern", {}).get("Regex") if kinds == ["Split", "ByteLevel"] else None
        if regex in SPLITS and not by_itself and steps[0]["behavior"] == "Isolated":
            return SPLITS[regex]
    found = f"a tokenizer of another kind ({about['model']['type']} after {', '.join(map(str, kinds))})"
    raise bad("--gguf", found, "byte-level BPE as GPT-2, SmolLM, Llama 3 or Qwen 2 have it", _REMEDY)
