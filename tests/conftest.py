"""What every test may ask for: the tiny models of tests/tiny.py, pairs, and a scratch repository."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.update({"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"})

import pytest
import torch

from polychrome.models.chat import Chat
from polychrome.models.policy import add_adapter, open_base, open_tokenizer
from polychrome.pairs.schema import Pair, write_pairs
from tests.tiny import LORA, make_pairs, make_tiny_base, make_tiny_encoder


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory) -> Path:
    return make_tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory) -> Path:
    return make_tiny_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def chat(tiny_base) -> Chat:
    return Chat(open_tokenizer(tiny_base), "Reply.", 128, 64)


@pytest.fixture
def policy(tiny_base):
    """A tiny policy whose adapter is not at zero, so that every LoRA tensor matters."""
    policy = add_adapter(open_base(tiny_base, torch.float32), LORA, seed=3)
    torch.manual_seed(5)
    with torch.no_grad():
        for name, tensor in policy.named_parameters():
            if "lora_B" in name:
                tensor.normal_(0, 0.3)
    return policy


@pytest.fixture
def pairs() -> list[Pair]:
    return make_pairs(12)


@pytest.fixture
def workspace(tmp_path, monkeypatch, tiny_base, tiny_encoder) -> Path:
    """A scratch repository with tiny assets and small phases, as the stages find them; it is the current directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets/base").symlink_to(tiny_base)
    (tmp_path / "assets/encoder").symlink_to(tiny_encoder)
    phases = tmp_path / "data/phases"
    both = make_pairs(24)
    for name, part in (("phase1_sft", both[:12]), ("phase2_grpo", both[12:]), ("full", both)):
        write_pairs(phases / f"{name}.jsonl", part)
    write_pairs(phases / "validation.jsonl", make_pairs(4, "v"))
    write_pairs(phases / "test.jsonl", make_pairs(5, "t"))
    write_pairs(phases / "judge.jsonl", make_pairs(60, "j"))
    (tmp_path / "params.yaml").write_text((Path(__file__).parents[1] / "params.yaml").read_text())
    return tmp_path
