"""Before anything is trained a base model is tried: it is scored and sampled as transformers does, or refused."""

import shutil
from types import SimpleNamespace

import pytest
import torch
from tokenizers import AddedToken
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    FalconConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GptOssConfig,
    GraniteConfig,
    HyperCLOVAXConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    OPTConfig,
    Phi3Config,
    PhiConfig,
)

from polychrome.engine.packing import Group, pack
from polychrome.engine.scoring import CompletionScorer
from polychrome.engine.trial import try_base
from polychrome.errors import InputError
from polychrome.models.policy import add_adapter, open_base, open_tokenizer
from tests.tiny import LORA

from .families import SIZES

WIDE = SIZES | {"vocab_size": 300, "head_dim": 8}  # as many tokens as the tokenizer of the tests has, and some more
ATTENTION = ["q_proj", "v_proj"]
PROMPT = SimpleNamespace(max_prompt_tokens=24, max_reply_tokens=6)
GPT2 = {"vocab_size": 300, "n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 64, "initializer_range": 0.3}
OPT = {"vocab_size": 300, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 40}
OPT |= {"word_embed_proj_dim": 16, "init_std": 0.3, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
TRIED = {
    "llama": (LlamaConfig(**WIDE), ATTENTION),
    "granite divides logits": (GraniteConfig(**WIDE, logits_scaling=8.0), ATTENTION),
    "cohere multiplies logits": (CohereConfig(**WIDE, logit_scale=0.2), ATTENTION),
    "gemma 2 caps logits and has no SDPA": (Gemma2Config(**WIDE, final_logit_softcapping=2.0), ATTENTION),
    "gemma 3 caps logits": (Gemma3TextConfig(**WIDE, final_logit_softcapping=2.0), ATTENTION),
    "gpt-oss has sinks and no SDPA": (GptOssConfig(**WIDE, num_local_experts=4, num_experts_per_tok=2), ATTENTION),
    "phi 3 joins projections": (Phi3Config(**WIDE), ["qkv_proj", "gate_up_proj"]),
    "phi has a bias at the head": (PhiConfig(**WIDE), ["q_proj", "fc1"]),
    "gpt-2 has no linear layers but Conv1D": (GPT2Config(**GPT2, bos_token_id=0, eos_token_id=1), ["c_attn", "c_fc"]),
    "opt learns positions and narrows embeddings": (OPTConfig(**OPT, max_position_embeddings=64), ["q_proj", "fc1"]),
}


@pytest.fixture
def made(tiny_base, tmp_path):
    """A function: a random model of a configuration beside the tiny tokenizer."""

    def make(config):
        base = shutil.copytree(tiny_base, tmp_path / "base")
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(base)
        return base

    return make


def tried(base, targets=ATTENTION, prompt=PROMPT, **lora):
    settings = SimpleNamespace(**(vars(LORA) | {"targets": targets} | lora))
    try_base(base, "my/base", settings, prompt, torch.float32, False)


@pytest.mark.parametrize(("config", "targets"), TRIED.values(), ids=TRIED)
def test_what_opens_is_scored_and_drawn_as_transformers_does(made, config, targets):
    """The trial passes, and so does the same comparison made here by hand, over prompts of several lengths."""
    base = made(config)
    tried(base, targets)
    policy = add_adapter(open_base(base, torch.float32), SimpleNamespace(**vars(LORA) | {"targets": targets}), 1).eval()
    groups = [Group([5, 6, 7, 8], [[9, 10, 11], [12]]), Group([5, 6, 30], [[31, 32]])]
    scored, _, _ = CompletionScorer(policy)(pack(groups))
    behind = [(group.prompt, completion) for group in groups for completion in group.completions]
    for (prompt, completion), logps in zip(behind, scored, strict=True):
        whole = policy.get_base_model()(input_ids=torch.tensor([[*prompt, *completion]])).logits[0]
        exact = whole[len(prompt) - 1 : -1].log_softmax(-1)[range(len(completion)), completion]
        torch.testing.assert_close(logps[: len(completion)], exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("config", "targets", "message"),
    [
        (HyperCLOVAXConfig(**WIDE, logits_scaling=8.0), ATTENTION, "hyperclovax, scored differently than by tran"),
        (MistralConfig(**WIDE, sliding_window=16), ATTENTION, "mistral, scored differently than by transformers"),
        (FalconConfig(vocab_size=300, hidden_size=24, num_hidden_layers=2, num_attention_heads=4, alibi=True),
         ["query_key_value"], "falcon, "),
        (MambaConfig(vocab_size=300, hidden_size=24, num_hidden_layers=2), ["in_proj"], "mamba, which fails"),
        (OPTConfig(**OPT, max_position_embeddings=16), ["q_proj"], "opt, which fails .*Index"),
        (GPT2Config(**GPT2 | {"vocab_size": 200}, bos_token_id=0, eos_token_id=1), ["c_attn"],
         "tokenizer.json: found 258 tokens; expected at most the 200 of the embedding"),
    ],
    ids=["unknown scale", "short window", "alibi", "no attention", "few positions", "few embeddings"],
)  # fmt: skip
def test_what_is_not_is_refused_with_one_error_that_says_what_is_missing(made, config, targets, message):
    with pytest.raises(InputError, match=rf"(?s)^my/base/.*{message}"):
        tried(made(config), targets)


def test_a_model_that_does_not_open_is_one_error(made):
    base = made(LlamaConfig(**WIDE))
    (base / "model.safetensors").write_bytes((base / "model.safetensors").read_bytes()[:120])
    with pytest.raises(InputError, match=r"my/base: found a model that does not open"):
        tried(base)


def test_a_token_added_beyond_the_embedding_is_seen(tiny_base, tmp_path):
    base = shutil.copytree(tiny_base, tmp_path / "base")
    tried(base)
    tokenizer = open_tokenizer(base)
    tokenizer.add_tokens([AddedToken("<new>")])
    tokenizer.save_pretrained(base)
    with pytest.raises(InputError, match="259 tokens; expected at most the 258"):
        tried(base)


def test_targets_are_tried_too(made):
    with pytest.raises(InputError, match=r"lora\.targets: found q_prj, which no linear layer"):
        tried(made(LlamaConfig(**WIDE)), ["q_prj", "v_proj"])
