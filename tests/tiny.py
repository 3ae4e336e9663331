"""Tiny random models with real formats: a base model that chats in bytes and a sentence encoder, made in a second."""

import hashlib
import zipfile
from pathlib import Path
from types import SimpleNamespace

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizerFast,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from polychrome.pairs.schema import Pair
from polychrome.wheels import Wheel

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LORA = SimpleNamespace(rank=2, alpha=4, dropout=0.0, layers=0, targets=["q_proj", "v_proj", "down_proj"])
WORDS = tuple("cats dogs rain sun tea books music games work home love hate really maybe often never".split(" "))  # noqa: SIM905


def make_tiny_base(directory: Path, **sizes: int) -> Path:
    """A two-layer Llama over bytes with a chat template, saved as transformers saves; ``sizes`` change it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<|im_start|>", "<|im_end|>"]
    vocabulary = {token: i for i, token in enumerate([*special, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        additional_special_tokens=special,
    )
    fast.chat_template = TEMPLATE
    fast.save_pretrained(directory)
    torch.manual_seed(0)
    named = {"hidden_size": 16, "num_attention_heads": 4, "num_key_value_heads": 2} | sizes
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        intermediate_size=32,
        num_hidden_layers=2,
        max_position_embeddings=512,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        tie_word_embeddings=True,
        initializer_range=0.2,
        **named,
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    return directory


def make_tiny_encoder(directory: Path) -> Path:
    """A one-layer BERT over letters and a few words."""
    directory.mkdir(parents=True, exist_ok=True)
    letters = [chr(c) for c in range(33, 127)]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters), *WORDS]
    (directory / "vocab.txt").write_text("\n".join(vocabulary))
    BertTokenizerFast(vocab={token: i for i, token in enumerate(vocabulary)}).save_pretrained(directory)
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    BertModel(config).save_pretrained(directory)
    return directory


def make_pairs(count: int, prefix: str = "p") -> list[Pair]:
    """``count`` different short pairs, a conversation each."""
    n = len(WORDS)
    return [
        Pair(
            id=f"{prefix}{i}",
            conversation=f"{prefix}c{i}",
            post=f"do you like {WORDS[i % n]} {i}",
            reply=f"i {WORDS[(i + 11) % n]} like {WORDS[(i * 7) % n]}",
            engagement=float(i % 5),
            author=f"a{i}",
        )
        for i in range(count)
    ]


def make_wheel(folder: Path, name: str, part: str, files: dict[str, bytes]) -> tuple[Path, Wheel]:
    """A wheel that pip accepts, with ``files`` in its folder ``part``; returns its path and what pins it."""
    stem = f"{name.replace('-', '_')}-1.0"
    path = folder / f"{stem}-py3-none-any.whl"
    folder.mkdir(parents=True, exist_ok=True)
    about = {"METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", "LICENSE": "Do as you like."}
    about |= {"WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n", "RECORD": ""}
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in files.items():
            archive.writestr(f"{part}/{member}", content)
        for member, text in about.items():
            archive.writestr(f"{stem}.dist-info/{member}", text)
    return path, Wheel(name, "1.0", hashlib.sha256(path.read_bytes()).hexdigest(), part)
