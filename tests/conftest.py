"""What every test may ask for: the tiny models of tests/tiny.py, pairs, and a scratch repository."""

import os
import platform
from pathlib import Path

os.environ.update({"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"})

import pytest
import torch

from polychrome.engine import compute
from polychrome.engine.backend import Backend
from polychrome.engine.native import library
from polychrome.engine.native.compiled import Compiled
from polychrome.models.chat import Chat
from polychrome.models.policy import (
    adapter_tensors,
    add_adapter,
    open_adapter,
    open_base,
    open_tokenizer,
    save_adapter,
)
from polychrome.pairs.schema import Pair, write_pairs
from tests.compilers import what_the_compiler_lacks
from tests.tiny import LORA, make_pairs, make_tiny_base, make_tiny_encoder


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _backend_as_before(monkeypatch):
    """No test runs compiled code or asks a server unless it says so, and none leaves that to the next."""
    monkeypatch.setattr(compute, "_chosen", Backend())
    monkeypatch.setattr(compute, "_server", None)


@pytest.fixture(scope="session")
def compiled(tmp_path_factory) -> Compiled:
    """Compiled code, made for this test run; skips only where there is nothing to make it with."""
    return _built(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def widening(tmp_path_factory) -> Compiled:
    """The same for a processor that multiplies no bfloat16: it widens them first."""
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("other processors than x86-64 are compiled for in this way anyhow")
    return _built(tmp_path_factory.mktemp("cache"), "-mno-avx512bf16", "-mno-amx-bf16")


def _built(cache: Path, *flags: str) -> Compiled:
    lacking = what_the_compiler_lacks()
    if lacking:
        pytest.skip(f"compiled kernels need a C compiler with OpenMP: {lacking}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        patch.setattr(library, "FLAGS", (*library.FLAGS, *flags))
        return Compiled(library.opened())


@pytest.fixture(params=["torch", "compiled"])
def backend(request) -> Backend:
    """The test twice: on PyTorch's operators, and with what can be computed by compiled code so computed."""
    return request.getfixturevalue("compiled") if request.param == "compiled" else Backend()


@pytest.fixture
def both_kernels(backend, monkeypatch) -> None:
    """As ``backend``, for what takes the one that its process has chosen."""
    monkeypatch.setattr(compute, "_chosen", backend)


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
def saved(policy, tmp_path) -> Path:
    """The policy's adapter on disk."""
    save_adapter(policy, tmp_path / "adapter", {"arm": "baseline", "seed": 42})
    return tmp_path / "adapter"


@pytest.fixture
def both(tiny_base, saved):
    """A policy opened with its reference, and since then moved away from it."""
    policy = open_adapter(open_base(tiny_base, torch.float32), saved, trainable=True, with_reference=True)
    with torch.no_grad():
        for tensor in adapter_tensors(policy).values():
            tensor.mul_(-2)
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


# What `make test-fast` leaves out (files, or single tests): real processes, dvc, a browser, simulations, peers.
SLOW = (
    "audit/controls/test_aa.py",
    "audit/test_gaming.py::test_clean_runs_are_seldom_accused",
    "benchmarks/test_commands.py",
    "benchmarks/test_gpu.py",
    "benchmarks/test_sides.py",
    "commands/test_compare.py",
    "commands/test_rate_in_browser.py",
    "engine/test_compute.py::test_two_processes_that_compile_at_once_both_end_well",
    "objectives/test_grpo_against_trl.py",
    "pipeline/test_disjoint.py",
    "pipeline/test_formats.py",
    "pipeline/test_from_scratch.py",
    "pipeline/test_pipeline.py",
    "pipeline/test_run_cache.py",
    "reporting/page/test_browser.py",
    "test_extending.py",
    "training/test_fast_equals_slow.py::test_twenty_grpo_steps_have_the_losses_of_the_naive_path",
    "training/test_killed.py",
    "training/test_processes.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is slow, and run it first: with several processes a long file must not be the last to start."""
    absent = [name for name in SLOW if not (Path(__file__).parent / name.split("::")[0]).is_file()]
    assert not absent, f"no such files: {absent}"
    for item in items:
        name = item.nodeid.removeprefix("tests/").split("[")[0]
        if name in SLOW or name.split("::")[0] in SLOW:
            item.add_marker("slow")
    items.sort(key=lambda item: "slow" not in item.keywords)
